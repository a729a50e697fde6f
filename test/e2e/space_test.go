package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "clusterbackup/api/v1"
)

// fill writes n files of size bytes into a host's source.
func (h *host) fill(n, size int) {
	h.t.Helper()
	for i := range n {
		name := fmt.Sprintf("d%d/f%d", i%3, i)
		write(h.t, filepath.Join(h.source(), name), content(name, size))
	}
}

// exactly waits until every file of a source has n confirmed replicas and is Served.
func (h *host) exactly(source string, files, n int) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("%d files with %d replicas", files, n), func() error {
		listed := h.files(source)
		if len(listed) != files {
			return fmt.Errorf("%d files are listed", len(listed))
		}
		for path, f := range listed {
			if confirmed(f) != n || f.Status.Service != v1.Served {
				return fmt.Errorf("%s: %s with %d: %+v", path, f.Status.Service, confirmed(f), f.Status.Replicas)
			}
		}
		return nil
	})
}

// TestDrain: a location is emptied while every file keeps its replicas; before, it cannot be deleted by mistake.
func TestDrain(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin, a := c.host("origin"), c.host("a")
	origin.fill(30, 20_000)
	for i := range 3 { // they have to go as well, though they take no room
		write(t, filepath.Join(origin.source(), fmt.Sprint("empty", i)), nil)
	}
	c.locations("1Gi", "a", "b")
	origin.ctl("create", "source", "photos", "--host", "origin", "--path", origin.source(), "--replicas", "2")
	origin.waitProtected("photos")

	if _, err := origin.tryCtl("delete", "location", "a-disk"); err == nil || !strings.Contains(err.Error(), "exit 5") {
		t.Errorf("deleting a location in use: %v, want a conflict", err)
	}
	c.add("c")
	c.locations("1Gi", "c")
	origin.ctl("drain", "location/a-disk")
	origin.ctl("wait", "location/a-disk", "--for=condition=Drained", "--timeout", patience.String())
	origin.exactly("photos", 33, 2)
	filepath.WalkDir(filepath.Join(a.location(), "photos"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s is still there", path)
		}
		return nil
	})
	origin.ctl("delete", "location", "a-disk")
}

// TestHostDiesAndReturns: after repairAfter its files are copied elsewhere; when it returns, the surplus is dropped.
func TestHostDiesAndReturns(t *testing.T) {
	c := newCluster(t, "origin", "a", "b", "c")
	origin := c.host("origin")
	origin.apply(`
apiVersion: clusterbackup/v1
kind: Cluster
metadata: {name: cluster}
spec: {pollInterval: 300ms, hostTimeout: 2s, repairAfter: 4s}
`)
	origin.fill(30, 20_000)
	c.locations("1Gi", "a", "b", "c")
	origin.ctl("create", "source", "photos", "--host", "origin", "--path", origin.source(), "--replicas", "2")
	origin.waitProtected("photos")

	c.host("a").kill()
	origin.ctl("wait", "host/a", "--for=condition=Ready=False", "--timeout", patience.String())
	origin.eventually("all files have two replicas without a", func() error {
		for path, f := range origin.files("photos") {
			n := 0
			for _, r := range f.Status.Replicas {
				if r.State == v1.ReplicaConfirmed && r.Host != "a" {
					n++
				}
			}
			if n < 2 {
				return fmt.Errorf("%s has %d", path, n)
			}
		}
		return nil
	})
	c.host("a").start()
	origin.ctl("wait", "host/a", "--for=condition=Ready", "--timeout", patience.String())
	origin.exactly("photos", 30, 2)
}

// TestCorruptionIsFoundAndRepaired: bytes that changed on a holder's disk are found by verify, stop counting, and are copied anew.
func TestCorruptionIsFoundAndRepaired(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin, a := c.host("origin"), c.host("a")
	origin.fill(10, 20_000)
	c.locations("1Gi", "a", "b")
	origin.ctl("create", "source", "photos", "--host", "origin", "--path", origin.source(), "--replicas", "2")
	origin.waitProtected("photos")

	victim := filepath.Join(a.location(), "photos", "d1", "f1")
	info, err := os.Stat(victim)
	must(t, err)
	bytes, err := os.ReadFile(victim)
	must(t, err)
	bytes[1000] ^= 1
	must(t, os.WriteFile(victim, bytes, 0o644))
	must(t, os.Chtimes(victim, info.ModTime(), info.ModTime()))
	must(t, os.Remove(filepath.Join(a.location(), "photos", "d2", "f2")))

	if _, err := origin.tryCtl("verify", "photos", "--full"); err == nil {
		t.Error("verify found nothing wrong")
	}
	origin.exactly("photos", 10, 2)
	sameTree(t, origin.source(), filepath.Join(a.location(), "photos"))
}

// TestRestoreSaysWhatIsMissing: a file whose only holder is away is named, and the exit code says that the rest is there.
func TestRestoreSaysWhatIsMissing(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin := c.host("origin")
	origin.fill(20, 1000)
	c.locations("12000", "a", "b") // room for some on each
	origin.ctl("create", "source", "photos", "--host", "origin", "--path", origin.source(), "--replicas", "1")
	origin.waitProtected("photos")
	c.host("a").kill()
	to := filepath.Join(t.TempDir(), "restored")
	out, errs, exit := origin.run("", "cbctl", "--state", origin.state(), "restore", "photos", "--to", to)
	if exit != 6 {
		t.Fatalf("exit %d, want 6: %s", exit, errs)
	}
	missing := 0
	for path := range origin.files("photos") {
		if _, err := os.Stat(filepath.Join(to, path)); errors.Is(err, os.ErrNotExist) {
			missing++
			if !strings.Contains(out+errs, path) {
				t.Errorf("%s was not restored and is not named in %q", path, out+errs)
			}
		}
	}
	if missing == 0 || missing == 20 {
		t.Errorf("%d of 20 files are missing, want those of one holder", missing)
	}
}

// TestAppliedWhileOff: what was applied while a host was off reaches it when it returns.
func TestAppliedWhileOff(t *testing.T) {
	c := newCluster(t, "origin", "a")
	origin, a := c.host("origin"), c.host("a")
	origin.fill(5, 1000)
	a.stop()
	c.locations("1Gi", "a")
	origin.ctl("create", "source", "photos", "--host", "origin", "--path", origin.source(), "--replicas", "1")
	_, errs, exit := origin.run("", "cbctl", "--state", origin.state(), "wait", "source/photos", "--for=condition=Protected", "--timeout", "1s")
	if exit != 4 || !strings.Contains(errs, "error:") {
		t.Errorf("wait: exit %d, %q; want 4 and what is missing", exit, errs)
	}
	a.start()
	origin.waitProtected("photos")
	sameTree(t, origin.source(), filepath.Join(a.location(), "photos"))
}
