package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loseDisk ends the daemon, and takes the source and the catalogs away, as happens when they were on one disk. What is mounted
// instead is empty.
func (h *host) loseDisk() {
	h.t.Helper()
	h.kill()
	must(h.t, os.RemoveAll(filepath.Join(h.state(), "catalogs")))
	must(h.t, os.RemoveAll(h.source()))
	must(h.t, os.Mkdir(h.source(), 0o755))
	h.start()
}

// filesBelow counts regular files.
func filesBelow(t *testing.T, root string) (n int) {
	t.Helper()
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return nil
	})
	must(t, err)
	return n
}

// TestDiskLostWithItsCatalog: a new, empty disk under the source's path and a catalog that knows nothing are not taken for deletions:
// the replicas stay, a restore finds them all, and once they are back in the source they count again as they lie.
func TestDiskLostWithItsCatalog(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin, a := c.host("origin"), c.host("a")
	origin.fill(30, 2000)
	before := filepath.Join(c.dir, "before")
	must(t, os.CopyFS(before, os.DirFS(origin.source())))
	c.locations("1Gi", "a", "b")
	origin.apply(fmt.Sprintf(`
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: photos}
spec: {host: origin, path: %q, minReplicas: 2, scanInterval: 1s}
`, origin.source()))
	origin.waitProtected("photos")
	replicas, versions := filepath.Join(a.location(), "photos"), filepath.Join(a.location(), ".clusterbackup", "versions")

	origin.loseDisk()
	origin.ctl("wait", "source/photos", "--for=condition=DeletionsHeld", "--timeout", patience.String())
	sameTree(t, before, replicas)
	to := filepath.Join(c.dir, "restored")
	origin.ctl("restore", "photos", "--to", to)
	sameTree(t, before, to)

	origin.ctl("restore", "photos", "--to", origin.source())
	origin.exactly("photos", 30, 2)
	if n := filesBelow(t, versions); n != 0 {
		t.Errorf("%d replicas were set aside", n)
	}

	origin.loseDisk()
	origin.ctl("wait", "source/photos", "--for=condition=DeletionsHeld", "--timeout", patience.String())
	origin.ctl("approve", "source/photos", "--deletions")
	origin.eventually("what was approved is retired", func() error {
		if n, kept := filesBelow(t, replicas), filesBelow(t, versions); n != 0 || kept != 30 {
			return fmt.Errorf("%d replicas, %d versions", n, kept)
		}
		return nil
	})
	origin.ctl("wait", "source/photos", "--for=condition=DeletionsHeld=False", "--timeout", patience.String())
}

// TestDeletedFileAfterItsCatalog: what holders keep of a file that was deleted before the catalog was lost is told by them.
func TestDeletedFileAfterItsCatalog(t *testing.T) {
	c := newCluster(t, "origin", "a")
	origin, a := c.host("origin"), c.host("a")
	for _, name := range []string{"stays", "goes"} {
		write(t, filepath.Join(origin.source(), name), content(name, 100))
	}
	c.locations("1Gi", "a")
	origin.apply(fmt.Sprintf(`
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: photos}
spec: {host: origin, path: %q, minReplicas: 1, scanInterval: 1s}
`, origin.source()))
	origin.waitProtected("photos")
	must(t, os.Remove(filepath.Join(origin.source(), "goes")))
	origin.eventually("the deleted file is set aside", func() error {
		if n := filesBelow(t, filepath.Join(a.location(), ".clusterbackup", "versions")); n != 1 {
			return fmt.Errorf("%d versions", n)
		}
		return nil
	})
	origin.kill()
	must(t, os.RemoveAll(filepath.Join(origin.state(), "catalogs")))
	origin.start()
	origin.eventually("the deleted file is known", func() error {
		out, errs, exit := origin.run("", "cbctl", "--state", origin.state(), "describe", "file", "photos/goes")
		if exit != 0 || !strings.Contains(out, "Deleted") || !strings.Contains(out, "versions/photos/goes~") {
			return fmt.Errorf("exit %d: %s%s", exit, out, errs)
		}
		return nil
	})
	if _, errs, exit := origin.run("", "cbctl", "--state", origin.state(), "describe", "file", "photos/never"); exit != 3 {
		t.Errorf("of a file that never was: exit %d: %s", exit, errs)
	}
}
