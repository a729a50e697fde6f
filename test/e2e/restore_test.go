package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRestoreAsItWas: what came to exist after the time that is asked for stays away, however old it says it is; what was changed or
// deleted since comes back as it was.
func TestRestoreAsItWas(t *testing.T) {
	c := newCluster(t, "origin", "a")
	origin := c.host("origin")
	old := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	file := func(name, content string) {
		t.Helper()
		path := filepath.Join(origin.source(), name)
		write(t, path, []byte(content))
		must(t, os.Chtimes(path, old, old))
	}
	file("changed", "before")
	file("deleted", "was here")
	file("mode", "the same")
	c.locations("1Gi", "a")
	origin.apply(fmt.Sprintf(`
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: photos}
spec: {host: origin, path: %q, minReplicas: 1, scanInterval: 300ms}
`, origin.source()))
	origin.waitProtected("photos")
	manifest := filepath.Join(c.host("a").location(), ".clusterbackup/manifests/photos.jsonl.zst")
	origin.eventually("listing is at the holder", func() error { _, err := os.Stat(manifest); return err })

	then := time.Now().Truncate(time.Second).Add(2 * time.Second)
	origin.eventually("another second has begun", func() error { // versions are told apart by the second
		if time.Now().Before(then.Add(time.Second)) {
			return errors.New("not yet")
		}
		return nil
	})
	file("changed", "after!")
	file("brought", "from elsewhere, with its old time")
	must(t, os.Chmod(filepath.Join(origin.source(), "mode"), 0o600))
	must(t, os.Remove(filepath.Join(origin.source(), "deleted")))
	origin.eventually("changes are replicated", func() error {
		files := origin.files("photos")
		for _, name := range []string{"changed", "brought", "mode"} {
			if f, ok := files[name]; !ok || confirmed(f) != 1 {
				return fmt.Errorf("%s is %+v", name, f.Status)
			}
		}
		if _, ok := files["deleted"]; ok || files["mode"].Spec.Mode != "0600" {
			return errors.New("not scanned yet")
		}
		if _, err := os.Stat(filepath.Join(c.host("a").location(), "photos/deleted")); err == nil {
			return errors.New("deleted is still there")
		}
		return nil
	})

	to := filepath.Join(t.TempDir(), "then")
	origin.ctl("restore", "photos", "--to", to, "--at", then.Format(time.RFC3339))
	want := map[string]string{"changed": "before", "deleted": "was here", "mode": "the same"}
	entries, err := os.ReadDir(to)
	must(t, err)
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(to, e.Name()))
		must(t, err)
		if string(content) != want[e.Name()] {
			t.Errorf("%s is %q, want %q", e.Name(), content, want[e.Name()])
		}
		delete(want, e.Name())
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}

	_, errs, exit := origin.run("", "cbctl", "--state", origin.state(), "restore", "photos", "--to", to, "--at", "2010-01-01")
	if exit != 3 || !strings.HasPrefix(errs, "error: photos: no host has anything of it as it was at 2010-01-01") {
		t.Errorf("exit %d: %s", exit, errs)
	}
}

// TestRestoreFromAnywhere: through the holder's own daemon, through another host's, and by an administrator from elsewhere, on a machine
// without rsync and with the source's host gone.
func TestRestoreFromAnywhere(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin, a, b := c.host("origin"), c.host("a"), c.host("b")
	for _, name := range []string{"d/small", "not UTF-8 \xff", "empty"} {
		write(t, filepath.Join(origin.source(), name), content(name, 100*len(name)%1300))
	}
	write(t, filepath.Join(origin.source(), "large"), content("large", 5<<20))
	c.locations("1Gi", "a")
	origin.ctl("create", "source", "photos", "--host", "origin", "--path", origin.source(), "--replicas", "1")
	origin.waitProtected("photos")
	identity := filepath.Join(c.dir, "ada.identity")
	origin.ctl("create", "identity", "ada", "--out", identity)
	origin.kill()
	path := os.Getenv("PATH")
	for name, from := range map[string][]string{
		"the holder":       {"--state", a.state()},
		"another host":     {"--state", b.state()},
		"an administrator": {"--server", b.address, "--identity", identity},
	} {
		to := filepath.Join(t.TempDir(), "restored")
		t.Setenv("PATH", "/nonexistent")
		a.mustRun("cbctl", append(from, "restore", "photos", "--to", to)...)
		t.Setenv("PATH", path)
		sameTree(t, origin.source(), to)
		if t.Failed() {
			t.Fatalf("restored through %s", name)
		}
	}
}
