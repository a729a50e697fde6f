package coordinator

import (
	"testing"

	v1 "clusterbackup/api/v1"
)

// besides is a world where all eight files changed that b and c held: b's first location is full with the outdated replicas,
// its second one is empty, and c is full too.
func besides(t *testing.T) (w *world, first, second, c *peer) {
	w = newWorld(t, t, 2, "b", "c")
	first, c = w.peers["b"], w.peers["c"]
	second = w.second("b", "b2")
	w.room(8, "b", "c")
	w.many(8, mib)
	w.settle(0, "b", "b2", "c")
	w.served(2)
	w.room(20, "b2")
	for path := range w.tree.files {
		w.tree.put(string(path), mib)
	}
	w.scan()
	return w, first, second, c
}

// A file for which there was no room in the location that holds it outdated goes to the host's other location at once.
func TestFullBesideRoom(t *testing.T) {
	w, first, second, c := besides(t)
	defer w.stop()
	for _, p := range []*peer{first, c} {
		p.capacity += mib // it believes in room that is not there
		p.hello()
		claimed := p.claim(8)
		if len(claimed) != 1 || !claimed[0].Held {
			t.Fatalf("%s was given %+v", p.loc, claimed)
		}
		p.capacity -= mib
		p.reserved = 0
		p.release(claimed[0], ReasonNoRoom)
		p.hello()
	}
	if n := second.fill(8); n != 8 {
		t.Errorf("the location with room was given %d files of 8", n)
	}
	for path := range w.tree.files {
		if f := w.file(string(path)); countConfirmed(f, "") != 1 {
			t.Errorf("%s: %+v", path, f.Status.Replicas)
		}
	}
	if n := first.claim(8); len(n) > 0 {
		t.Errorf("the full location was given %+v of what its host holds in the other", n)
	}
}

// An outdated replica goes when its host holds the current one in another location, and enough hosts do; not before.
func TestOutdatedBesideCurrent(t *testing.T) {
	w, first, second, c := besides(t)
	defer w.stop()
	first.hello()
	if n := second.fill(8); n != 8 {
		t.Fatalf("the location with room was given %d files of 8", n)
	}
	if first.hello().Surplus || first.drop(ReasonStarving, 8*mib) > 0 {
		t.Fatal("dropped what two hosts are to hold and one does")
	}
	w.room(16, "c")
	c.hello()
	if n := c.fill(8); n != 8 {
		t.Fatalf("c was given %d files of 8", n)
	}
	if !first.hello().Surplus {
		t.Error("nothing is surplus")
	}
	if n := first.drop(ReasonSurplus, 1<<40); n != 8 {
		t.Errorf("%d outdated replicas dropped, want 8", n)
	}
	for _, p := range []*peer{first, second, c} {
		p.hello()
		for _, reason := range []string{ReasonSurplus, ReasonStarving, ReasonDraining} {
			if n := p.drop(reason, 1<<40); n > 0 {
				t.Errorf("%d replicas that are needed dropped from %s: %s", n, p.loc, reason)
			}
		}
	}
	w.served(2)
	for path := range w.tree.files {
		if f := w.file(string(path)); len(f.Status.Replicas) != 2 || f.Status.Replicas[0].Location != v1.LocationName("b2-disk") {
			t.Errorf("%s: %+v", path, f.Status.Replicas)
		}
	}
}

// What underserved files lack is told once, however many locations a host has.
func TestNeededIsOfTheSource(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b")
	defer w.stop()
	w.many(3, mib)
	w.second("a", "a2")
	w.room(40, "a", "a2", "b")
	if got := w.peers["a"].hello().Needed; got != 2*3*mib {
		t.Errorf("%d bytes are needed, want %d", got, 2*3*mib)
	}
}
