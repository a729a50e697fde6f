package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
)

// TestSourceHostDies: while the host of a source is silent for good, the others make up for a holder that dies too; when the host is
// back, it takes the copies for its own and drops what is too much.
func TestSourceHostDies(t *testing.T) {
	withoutSourceHost(t, (*host).kill, (*host).start)
}

// TestSourceHostFreezes: the same, with a host that goes on where it was. It has to be told of what came meanwhile.
func TestSourceHostFreezes(t *testing.T) {
	signal := func(s os.Signal) func(*host) {
		return func(h *host) { must(h.t, h.process.Process.Signal(s)) }
	}
	withoutSourceHost(t, signal(syscall.SIGSTOP), signal(syscall.SIGCONT))
}

func withoutSourceHost(t *testing.T, end, begin func(*host)) {
	c := newCluster(t, "a", "b", "c", "d")
	a, b, d := c.host("a"), c.host("b"), c.host("d")
	a.apply(`
apiVersion: clusterbackup/v1
kind: Cluster
metadata: {name: cluster}
spec: {pollInterval: 300ms, hostTimeout: 2s, repairAfter: 3s}
`)
	a.fill(30, 20_000)
	before := filepath.Join(c.dir, "before")
	must(t, os.CopyFS(before, os.DirFS(a.source())))
	c.locations("1Gi", "b", "c")
	a.ctl("create", "source", "photos", "--host", "a", "--path", a.source(), "--replicas", "2")
	a.waitProtected("photos")
	replicas := func(h *host) string { return filepath.Join(h.location(), "photos") }

	end(a)
	b.eventually("somebody acts for a", func() error {
		if out, err := b.tryCtl("events", "source/photos"); err != nil || !strings.Contains(out, "Acting") {
			return fmt.Errorf("%s, %v", out, err)
		}
		return nil
	})
	b.apply(fmt.Sprintf(`
apiVersion: clusterbackup/v1
kind: Location
metadata: {name: d-disk}
spec: {host: d, path: %q, capacity: 1Gi}
`, d.location()))
	b.ctl("wait", "source/photos", "--for=condition=Available=False", "--timeout", patience.String())
	b.waitProtected("photos")
	b.ctl("wait", "location/d-disk", "--for=condition=Available", "--timeout", patience.String())
	if n := filesIn(t, replicas(d)); n != 0 {
		t.Errorf("%d files were copied while there were two replicas", n)
	}
	c.host("c").kill()
	b.eventually("d has all files", func() error {
		if n := filesIn(t, replicas(d)); n != 30 {
			return fmt.Errorf("%d files", n)
		}
		return nil
	})
	d.waitProtected("photos")
	if out := d.ctl("describe", "source", "photos"); !strings.Contains(out, "acts for it") {
		t.Errorf("it is not said that somebody acts for a:\n%s", out)
	}
	if listed := d.files("photos"); len(listed) != 30 {
		t.Errorf("%d files are listed without a", len(listed))
	}
	d.ctl("describe", "file", "photos/d0/f0")
	if n := b.metric(`clusterbackup_source_files{replicas="2",source="photos"}`) + d.metric(`clusterbackup_source_files{replicas="2",source="photos"}`); n != 30 {
		t.Errorf("of %v files it is told that they have two replicas", n)
	}
	sameTree(t, before, replicas(b))
	sameTree(t, before, replicas(d))
	b.eventually("d has the listing, from which it could act in its turn", func() error {
		if listing := filepath.Join(d.location(), ".clusterbackup", "manifests", "photos.jsonl.zst"); !exists(listing) {
			return fmt.Errorf("%s is not there", listing)
		}
		return nil
	})
	made := inodes(t, replicas(d))

	begin(a)
	a.ctl("wait", "host/c", "--for=condition=Ready=False", "--timeout", patience.String())
	a.eventually("a knows what d holds", func() error {
		n := 0
		for _, f := range a.files("photos") {
			if slices.ContainsFunc(f.Status.Replicas, func(r v1.ReplicaStatus) bool { return r.Host == "d" && r.State == v1.ReplicaConfirmed }) {
				n++
			}
		}
		if n != 30 {
			return fmt.Errorf("%d files", n)
		}
		return nil
	})
	a.waitProtected("photos")
	if again := inodes(t, replicas(d)); !slices.Equal(made, again) {
		t.Error("files were copied to d again")
	}
	c.host("c").start()
	a.exactly("photos", 30, 2)
	a.eventually("the surplus is gone from the disks", func() error {
		if n := filesIn(t, replicas(b)) + filesIn(t, replicas(c.host("c"))) + filesIn(t, replicas(d)); n != 60 {
			return fmt.Errorf("%d replicas", n)
		}
		return nil
	})
	for _, h := range []*host{b, c.host("c"), d} {
		if n := filesBelow(t, filepath.Join(h.location(), ".clusterbackup", "versions")); n != 0 {
			t.Errorf("%d replicas were set aside at %s", n, h.name)
		}
	}
}

// filesIn is filesBelow of a folder that need not be there.
func filesIn(t *testing.T, root string) int {
	t.Helper()
	if !exists(root) {
		return 0
	}
	return filesBelow(t, root)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// inodes tells the files below a folder apart from any that replace them.
func inodes(t *testing.T, root string) (list []string) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		var stat unix.Stat_t
		list = append(list, fmt.Sprintf("%s %v", path, unix.Lstat(path, &stat)), fmt.Sprint(stat.Ino))
		return nil
	}))
	return list
}
