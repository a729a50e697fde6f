package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestSourceMovesToAHolder: a host that holds replicas of a source becomes the source's own. They count no more, and stay until as many
// others hold the files; then they are set aside, and go when their retention ends.
func TestSourceMovesToAHolder(t *testing.T) {
	c := newCluster(t, "origin", "a", "b")
	origin, a, b := c.host("origin"), c.host("a"), c.host("b")
	origin.fill(30, 2000)
	c.locations("1Gi", "a")
	declare := func(at *host) {
		origin.apply(fmt.Sprintf(`
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: photos}
spec: {host: %s, path: %q, minReplicas: 1, scanInterval: 1s, retention: {deleted: 5s}}
`, at.name, at.source()))
	}
	declare(origin)
	origin.waitProtected("photos")
	if out, err := exec.Command("cp", "-a", origin.source(), a.source()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	replicas, versions := filepath.Join(a.location(), "photos"), filepath.Join(a.location(), ".clusterbackup", "versions")

	declare(a)
	origin.ctl("wait", "source/photos", "--for=condition=Protected=False", "--timeout", patience.String())
	time.Sleep(2 * time.Second) // several looks' time in which nothing may happen
	sameTree(t, a.source(), replicas)

	c.locations("1Gi", "b")
	origin.waitProtected("photos")
	origin.eventually("the replicas are set aside", func() error {
		if n := filesBelow(t, versions); n != 30 {
			return fmt.Errorf("%d versions", n)
		}
		return nil
	})
	origin.eventually("and go", func() error {
		if n := filesBelow(t, versions); n != 0 {
			return fmt.Errorf("%d versions", n)
		}
		return nil
	})
	if _, err := os.Stat(replicas); !os.IsNotExist(err) {
		t.Errorf("replicas: %v", err)
	}
	sameTree(t, a.source(), filepath.Join(b.location(), "photos"))
	origin.exactly("photos", 30, 1)
}
