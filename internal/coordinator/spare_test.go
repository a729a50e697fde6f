package coordinator

import (
	"context"
	"slices"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// What lies on the source's own host may go when as many others hold it as S1 asks for, and no sooner.
func TestSpare(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(20, "a", "b", "c")
	asked := []v1.RelPath{"d0/f00", "d1/f01", "unknown"}
	spare := func(what string, want ...v1.RelPath) {
		t.Helper()
		got, err := w.c.Spare(context.Background(), "own-disk", asked)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", what, got, err, want)
		}
	}
	spare("before a scan")
	w.many(2, mib)
	spare("nobody holds it")
	w.settle(0, "a")
	spare("one holds it")
	w.settle(0, "a", "b")
	spare("two hold it", "d0/f00", "d1/f01")

	w.pass(10*time.Minute, "a", "c")
	spare("one of the two is silent")
	w.settle(0, "a", "b")
	spare("and is back", "d0/f00", "d1/f01")

	w.tree.put("d1/f01", mib)
	w.scan()
	spare("they hold an earlier version", "d0/f00")
	delete(w.tree.files, "d1/f01")
	w.scan()
	spare("it is deleted", "d0/f00", "d1/f01")

	w.stop()
	w.start()
	spare("the coordinator starts anew")
	w.scan()
	spare("and nobody has said that he still holds it", "d1/f01")
	w.settle(0, "a", "b")
	spare("but now they have", "d0/f00", "d1/f01")
	if err := w.c.setAmnesic(true); err != nil {
		t.Fatal(err)
	}
	spare("the catalog is not whole")
}
