package coordinator

import (
	"slices"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// removed is a world of thirty files at two of three hosts, and a.
func removed(t *testing.T) (*world, *peer) {
	w := newWorld(t, t, 2, "a", "b", "c")
	t.Cleanup(func() { w.stop() })
	w.room(40, "a", "b", "c")
	w.many(30, mib)
	w.settle(0, "a", "b", "c")
	return w, w.peers["a"]
}

// What lies in a location that was deleted counts no longer, at once, whether or not its host has heard of that.
func TestDeletedLocation(t *testing.T) {
	for _, unaware := range []bool{false, true} {
		w, a := removed(t)
		held := int64(len(a.disk))
		w.desire("a")
		w.deleted = map[v1.LocationName]bool{a.loc: true}
		if a.away = !unaware; a.away {
			a.hello()
		}
		if s := w.c.Status(); s.Underserved != held {
			t.Errorf("unaware %t: %d files are underserved, want %d", unaware, s.Underserved, held)
		}
		w.tick()
		w.settle(1, "b", "c")
		if s := w.c.Status(); s.Underserved != 0 {
			t.Errorf("unaware %t: not repaired: %+v", unaware, s)
		}
		a.away = true
		a.hello()
		w.pass(3*time.Hour, "a", "b", "c")
		for path := range w.tree.files {
			if f := w.file(string(path)); len(f.Status.Replicas) != 2 {
				t.Errorf("unaware %t: %s is said to be at %+v", unaware, path, f.Status.Replicas)
			}
		}
	}
}

// A disk that is not there for a moment starts no repair; one that stays away does.
func TestMissingLocation(t *testing.T) {
	w, a := removed(t)
	held := int64(len(a.disk))
	a.away = true
	w.pass(50*time.Minute, "a", "b", "c")
	if s := w.c.Status(); s.Underserved != 0 {
		t.Errorf("%d files are underserved after 50 minutes", s.Underserved)
	}
	w.pass(12*time.Minute, "a", "b", "c")
	if s := w.c.Status(); s.Underserved != held {
		t.Errorf("%d files are underserved after an hour, want %d", s.Underserved, held)
	}
}

// Desired state may come later than the hello of a host that it names a new location on: that one counts from the first.
func TestLocationNotKnownYet(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b")
	defer w.stop()
	w.room(40, "a", "b")
	w.many(30, mib)
	w.desire("a")
	w.settle(0, "a", "b")
	w.served(2)
	w.desire("a", w.peers["a"].loc)
	w.pass(3*time.Hour, "a", "b")
	w.served(2)
}

// A location that is made again under the name of a deleted one counts with what it still holds.
func TestDeletedLocationMadeAgain(t *testing.T) {
	for _, host := range []string{"aware", "unaware", "silent"} {
		w, a := removed(t)
		w.desire("a")
		w.deleted = map[v1.LocationName]bool{a.loc: true}
		a.away = host == "aware"
		if heard := []v1.HostName{"b", "c", "a"}; host == "silent" {
			w.pass(10*time.Minute, heard[:2]...)
		} else {
			w.pass(10*time.Minute, heard...)
		}
		w.desire("a", a.loc)
		w.deleted, a.away = nil, false
		a.meet()
		w.served(2)
		if copies := w.copies(); copies != 60 {
			t.Errorf("host %s: %d copies were made of what had been there all the time", host, copies-60)
		}
	}
}

// What is told of holders that come and go is true: of a host that it is silent only if it is, of what was removed nothing.
func TestLostIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		leave, back func(*world, *peer)
		want        []string
	}{
		"host": {func(w *world, _ *peer) { w.pass(3*time.Hour, "b", "c") }, func(w *world, _ *peer) { w.pass(time.Minute, "a", "b", "c") },
			[]string{"HostLost", "HostBack"}},
		"host, removed then": {func(w *world, _ *peer) { w.pass(3*time.Hour, "b", "c") },
			func(w *world, _ *peer) { w.infos = slices.Delete(w.infos, 1, 2); w.pass(time.Minute, "b", "c") }, []string{"HostLost"}},
		"location": {func(w *world, a *peer) { a.away = true; w.pass(3*time.Hour, "a", "b", "c") },
			func(w *world, a *peer) { a.away = false; w.pass(time.Minute, "a", "b", "c") }, []string{"LocationLost", "LocationBack"}},
		"location, and the host has no other": {func(w *world, _ *peer) { w.seen = map[v1.HostName]bool{"a": true}; w.pass(3*time.Hour, "b", "c") },
			func(w *world, _ *peer) { w.pass(time.Minute, "a", "b", "c") }, []string{"LocationLost", "LocationBack"}},
		"location, deleted": {func(w *world, a *peer) { w.desire("a"); a.away = true; w.pass(3*time.Hour, "a", "b", "c") },
			func(w *world, _ *peer) { w.pass(time.Minute, "a", "b", "c") }, nil},
		"location, then its host": {func(w *world, a *peer) { a.away = true; w.pass(90*time.Minute, "a", "b", "c") },
			func(w *world, _ *peer) { w.pass(3*time.Hour, "b", "c") }, []string{"LocationLost", "HostLost"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, a := removed(t)
			w.events = nil
			c.leave(w, a)
			c.back(w, a)
			if !slices.Equal(w.events, c.want) {
				t.Errorf("told %q, want %q", w.events, c.want)
			}
		})
	}
}
