package coordinator

import (
	"testing"
	"time"
)

// One folder that two hosts list at the same time, on a file system that they share, is one replica; when the host that has it falls
// silent, it is the other's.
func TestSharedLocationCountsOnce(t *testing.T) {
	w := newWorld(t, t, 2, "b", "c", "d")
	defer w.stop()
	b, c := w.peers["b"], w.peers["c"]
	c.uid = b.info().UID
	w.room(20, "b", "c", "d")
	w.many(4, mib)
	w.settle(0, "b", "d")
	w.served(2)
	c.disk = b.disk // it is the same folder
	if a := c.hello(); a.Claimable || len(a.Inventory) > 0 {
		t.Errorf("the second host that lists a folder is asked for it: %+v", a)
	}
	if err := c.inventory(); err == nil {
		t.Error("the second host that lists a folder may report it")
	}
	for path := range w.tree.files {
		if f := w.file(string(path)); countConfirmed(f, "") != 2 {
			t.Errorf("%s: %+v", path, f.Status.Replicas)
		}
	}

	w.pass(5*time.Minute, "c", "d") // b is silent
	c.meet()
	if l := w.c.hosts["c"].locations[c.loc]; l == nil || !l.listed {
		t.Error("the folder of a silent host is not taken over")
	}
	b.hello()
	if w.c.hosts["b"].locations[b.loc].listed {
		t.Error("both hosts list the folder")
	}
}
