package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// strange makes a tree of everything that names and kinds of files can do.
func strange(t *testing.T, root string) {
	t.Helper()
	for _, name := range []string{"plain", "with space", "new\nline", "\xff\xfe not utf-8", "-rf", "back\\slash", "quote\"'", "*?[x]",
		"# hash", "; semicolon", "deep/er/and/deeper", strings.Repeat("n", 255), "ünïcödé", ":colon", " leading", "trailing ", "~tilde"} {
		write(t, filepath.Join(root, name), content(name, 1000))
	}
	write(t, filepath.Join(root, "empty"), nil)
	os.MkdirAll(filepath.Join(root, "empty folder", "inside"), 0o700)
	must(t, os.Symlink("plain", filepath.Join(root, "link")))
	must(t, os.Symlink("/nonexistent", filepath.Join(root, "dangling")))
	must(t, os.Link(filepath.Join(root, "plain"), filepath.Join(root, "hard link")))
	must(t, syscall.Mkfifo(filepath.Join(root, "fifo"), 0o644))
	must(t, os.Chmod(filepath.Join(root, "plain"), 0o600))
	must(t, os.Chtimes(filepath.Join(root, "plain"), time.Time{}, time.Unix(1, 123456789)))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestStrangeNames: every name comes back, byte for byte, with mode and time; what is no file is listed as skipped.
func TestStrangeNames(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin := c.host("origin")
	strange(t, origin.source())
	c.locations("1Gi", "a", "b")
	origin.ctl("create", "source", "odd", "--host", "origin", "--path", origin.source(), "--replicas", "2")
	origin.waitProtected("odd")

	origin.kill() // the restore works without the source's host
	to := filepath.Join(c.dir, "restored")
	c.host("a").eventually("restore without the source's host", func() error {
		os.RemoveAll(to)
		_, err := c.host("a").tryCtl("restore", "odd", "--to", to)
		return err
	})
	must(t, os.Remove(filepath.Join(origin.source(), "fifo")))
	sameTree(t, origin.source(), to)
	info, err := os.Stat(filepath.Join(to, "plain"))
	must(t, err)
	if info.Mode().Perm() != 0o600 || !info.ModTime().Equal(time.Unix(1, 123456789)) {
		t.Errorf("plain came back with mode %v, time %v", info.Mode(), info.ModTime())
	}
}

// TestKilledAnywhere: daemons are killed again and again while they copy; in the end every file has its replicas, and no
// location ever showed a file that is not whole.
func TestKilledAnywhere(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin := c.host("origin")
	for i := range 400 {
		name := fmt.Sprintf("d%d/f%d", i%7, i)
		write(t, filepath.Join(origin.source(), name), content(name, 20_000))
	}
	write(t, filepath.Join(origin.source(), "big"), content("big", 64<<20))
	c.locations("1Gi", "a", "b")
	origin.ctl("create", "source", "photos", "--host", "origin", "--path", origin.source(), "--replicas", "2")
	for i := range 9 {
		victim := c.hosts[i%3]
		// The moment is arbitrary on purpose: wherever the host is now.
		time.Sleep(time.Duration(i*37%200) * time.Millisecond)
		victim.kill()
		for _, holder := range c.hosts[1:] {
			wholeOrAbsent(t, origin.source(), filepath.Join(holder.location(), "photos"))
		}
		victim.start()
	}
	origin.waitProtected("photos")
	for _, holder := range c.hosts[1:] {
		sameTree(t, origin.source(), filepath.Join(holder.location(), "photos"))
	}
}

// wholeOrAbsent checks that whatever lies under a real name is the whole file.
func wholeOrAbsent(t *testing.T, source, replica string) {
	t.Helper()
	filepath.WalkDir(replica, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(replica, path)
		must(t, err)
		want, err := os.ReadFile(filepath.Join(source, rel))
		must(t, err)
		got, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		must(t, err)
		if string(got) != string(want) {
			t.Errorf("%s is there with %d of %d bytes, or others", path, len(got), len(want))
		}
		return nil
	})
}

// TestChangesAndDeletions: a changed file ends with its new version everywhere, a deleted one moves to versions, and a source
// whose folder vanishes loses nothing.
func TestChangesAndDeletions(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin, a := c.host("origin"), c.host("a")
	for _, name := range []string{"keep", "change", "delete"} {
		write(t, filepath.Join(origin.source(), name), content(name, 5000))
	}
	c.locations("1Gi", "a", "b")
	origin.apply(fmt.Sprintf(`
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: docs}
spec: {host: origin, path: %q, minReplicas: 2, scanInterval: 1s}
`, origin.source()))
	origin.waitProtected("docs")

	write(t, filepath.Join(origin.source(), "change"), []byte("new content"))
	must(t, os.Remove(filepath.Join(origin.source(), "delete")))
	a.eventually("the change and the deletion arrive", func() error {
		got, err := os.ReadFile(filepath.Join(a.location(), "docs", "change"))
		if err != nil || string(got) != "new content" {
			return fmt.Errorf("change holds %.20q, %w", got, err)
		}
		if _, err := os.Stat(filepath.Join(a.location(), "docs", "delete")); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("delete is still there: %w", err)
		}
		return nil
	})
	for _, name := range []string{"change", "delete"} {
		kept, err := filepath.Glob(filepath.Join(a.location(), ".clusterbackup/versions/docs", name+"~*"))
		must(t, err)
		if len(kept) != 1 {
			t.Fatalf("versions of %s: %v, want one", name, kept)
		}
		got, err := os.ReadFile(kept[0])
		must(t, err)
		if string(got) != string(content(name, 5000)) {
			t.Errorf("the kept version of %s is not what it was", name)
		}
	}

	must(t, os.Rename(origin.source(), origin.source()+".gone"))
	origin.ctl("wait", "source/docs", "--for=condition=Available=False", "--timeout", patience.String())
	sameTree(t, origin.source()+".gone", filepath.Join(a.location(), "docs"))
	must(t, os.Mkdir(origin.source(), 0o755)) // as an unmounted disk's mount point looks
	time.Sleep(2500 * time.Millisecond)       // two scans' time in which nothing may happen
	sameTree(t, origin.source()+".gone", filepath.Join(a.location(), "docs"))
}

// TestFullLocation: a location too small for everything takes what fits, exceeds nothing, and the rest is underserved.
func TestFullLocation(t *testing.T) {
	c := newCluster(t, "origin", "a")
	origin, a := c.host("origin"), c.host("a")
	for i := range 10 {
		name := fmt.Sprintf("f%d", i)
		write(t, filepath.Join(origin.source(), name), content(name, 100_000))
	}
	c.locations("450000", "a")
	origin.ctl("create", "source", "big", "--host", "origin", "--path", origin.source(), "--replicas", "1")
	origin.ctl("wait", "source/big", "--for=condition=Scanned", "--timeout", patience.String())
	origin.eventually("four files are served", func() error {
		served := 0
		for _, f := range origin.files("big") {
			if f.Status.Service == v1.Served {
				served++
			}
		}
		if served != 4 {
			return fmt.Errorf("%d served", served)
		}
		return nil
	})
	if under := origin.files("big", "--underserved"); len(under) != 6 {
		t.Errorf("%d underserved, want 6", len(under))
	}
	entries, err := os.ReadDir(filepath.Join(a.location(), "big"))
	must(t, err)
	if len(entries) != 4 {
		t.Errorf("%d files in the location, want 4", len(entries))
	}
}

// TestForeignDisk: a location whose identity is missing or another's is left alone.
func TestForeignDisk(t *testing.T) {
	c := newCluster(t, "origin", "a")
	origin, a := c.host("origin"), c.host("a")
	write(t, filepath.Join(origin.source(), "one"), content("one", 1000))
	c.locations("1Gi", "a")
	origin.ctl("create", "source", "docs", "--host", "origin", "--path", origin.source(), "--replicas", "1")
	origin.waitProtected("docs")

	must(t, os.Rename(a.location(), a.location()+".gone"))
	must(t, os.Mkdir(a.location(), 0o755))
	write(t, filepath.Join(origin.source(), "two"), content("two", 1000))
	origin.ctl("wait", "location/a-disk", "--for=condition=Available=False", "--timeout", patience.String())
	entries, err := os.ReadDir(a.location())
	must(t, err)
	if len(entries) != 0 {
		t.Errorf("the wrong disk was written to: %v", entries)
	}
	must(t, os.Remove(a.location()))
	must(t, os.Rename(a.location()+".gone", a.location()))
	origin.ctl("wait", "location/a-disk", "--for=condition=Available", "--timeout", patience.String())
}

// TestSecondDaemon: one state directory, one daemon.
func TestSecondDaemon(t *testing.T) {
	c := newCluster(t, "only")
	h := c.host("only")
	_, errs, exit := h.run("", "cbd", "run", "--state", h.state(), "--http", "")
	if exit == 0 || !strings.Contains(errs, "error:") || !strings.Contains(errs, "running") {
		t.Errorf("a second daemon: exit %d, %q; want a refusal that says another one is running", exit, errs)
	}
	h.ctl("version")
	h.stop()
}

// TestResourcesLost: a host whose resources are gone gets them back from those that know it, and nobody has to let it in again.
func TestResourcesLost(t *testing.T) {
	c := newCluster(t, "origin", "a")
	origin, a := c.host("origin"), c.host("a")
	write(t, filepath.Join(origin.source(), "one"), content("one", 1000))
	c.locations("1Gi", "a")
	origin.apply("{apiVersion: clusterbackup/v1, kind: Source, metadata: {name: docs}, spec: {host: origin, path: " + origin.source() + ", minReplicas: 1, scanInterval: 500ms}}")
	origin.waitProtected("docs")

	resources := filepath.Join(a.state(), "resources")
	a.stop()
	must(t, os.Rename(resources, resources+".gone"))
	a.start()
	write(t, filepath.Join(origin.source(), "two"), content("two", 1000))
	origin.eventually("the second file is at a", func() error {
		_, err := os.Stat(filepath.Join(a.location(), "docs", "two"))
		return err
	})
	a.eventually("a knows both hosts", func() error {
		if out, err := a.tryCtl("get", "hosts", "-o", "name"); err != nil || len(strings.Fields(out)) != 2 {
			return fmt.Errorf("%q, %v", out, err)
		}
		return nil
	})

	// One that is only damaged is left as it is, and a daemon does not start with half of them.
	a.stop()
	damaged := filepath.Join(resources, "host.origin.yaml")
	must(t, os.WriteFile(damaged, []byte("kind: Ho"), 0o600))
	_, errs, exit := a.run("", "cbd", "run", "--state", a.state(), "--http", "")
	if exit == 0 || !strings.Contains(errs, damaged) || !strings.Contains(errs, "move the whole folder "+resources+" away") {
		t.Errorf("a damaged resource: exit %d, %q", exit, errs)
	}
	if left, err := os.ReadFile(damaged); err != nil || string(left) != "kind: Ho" {
		t.Errorf("the damaged file became %q, %v", left, err)
	}
	must(t, os.RemoveAll(resources)) // as it was told
	a.start()
	origin.ctl("wait", "location/a-disk", "--for=condition=Available", "--timeout", patience.String())
}
