package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestForeignTree: from another tree under the source's path nothing is taken, neither what it lacks nor what it has, whatever is asked
// for meanwhile and whoever starts anew; the right one that comes back goes on; another one that is approved takes its place.
func TestForeignTree(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin, a, b := c.host("origin"), c.host("a"), c.host("b")
	origin.fill(30, 2000)
	c.locations("1Gi", "a")
	declare := func(replicas int) {
		origin.apply(fmt.Sprintf(`
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: photos}
spec: {host: origin, path: %q, minReplicas: %d, scanInterval: 1s}
`, origin.source(), replicas))
	}
	declare(1)
	origin.waitProtected("photos")
	replicas, versions := filepath.Join(a.location(), "photos"), filepath.Join(a.location(), ".clusterbackup", "versions")
	was, other := origin.source()+".was", filepath.Join(c.dir, "other")
	must(t, os.CopyFS(other, os.DirFS(origin.source())))
	must(t, os.RemoveAll(filepath.Join(other, "d0")))
	write(t, filepath.Join(other, "foreign"), content("foreign", 300))
	swap := func(to, from string) {
		t.Helper()
		must(t, os.Rename(origin.source(), to))
		must(t, os.Rename(from, origin.source()))
	}

	swap(was, other)
	origin.ctl("wait", "source/photos", "--for=condition=DeletionsHeld", "--timeout", patience.String())
	origin.ctl("wait", "source/photos", "--for=condition=Available=False", "--timeout", patience.String())
	a.stop() // what it says of its files when it is back is compared with what is known, not with what lies there
	origin.stop()
	origin.start()
	a.start()
	c.locations("1Gi", "b") // has nothing yet, and asks for all
	declare(2)
	time.Sleep(3 * time.Second) // several scans' time in which nothing may happen
	sameTree(t, was, replicas)
	if n := filesBelow(t, versions); n != 0 {
		t.Errorf("%d replicas were set aside", n)
	}
	if n := filesBelow(t, filepath.Join(b.location(), "photos")); n != 0 {
		t.Errorf("%d files were copied from another tree", n)
	}
	origin.ctl("wait", "source/photos", "--for=condition=Available=False", "--timeout", patience.String())

	swap(other, was)
	origin.ctl("wait", "source/photos", "--for=condition=DeletionsHeld=False", "--timeout", patience.String())
	origin.ctl("wait", "source/photos", "--for=condition=Available", "--timeout", patience.String())
	origin.waitProtected("photos")
	sameTree(t, origin.source(), replicas)
	sameTree(t, origin.source(), filepath.Join(b.location(), "photos"))

	swap(was, other)
	origin.ctl("wait", "source/photos", "--for=condition=DeletionsHeld", "--timeout", patience.String())
	origin.ctl("approve", "source/photos", "--deletions")
	origin.ctl("wait", "source/photos", "--for=condition=DeletionsHeld=False", "--timeout", patience.String())
	origin.eventually("the other tree takes its place", func() error {
		if n, kept := filesBelow(t, replicas), filesBelow(t, versions); n != filesBelow(t, origin.source()) || kept < 10 {
			return fmt.Errorf("%d replicas, %d versions", n, kept)
		}
		return nil
	})
	origin.waitProtected("photos")
	sameTree(t, origin.source(), replicas)
}
