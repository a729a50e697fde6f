package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
