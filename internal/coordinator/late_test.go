package coordinator

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Messages that arrive when what they say is no longer so.
func TestLateMessages(t *testing.T) {
	ctx := context.Background()
	begin := func(t *testing.T) (*world, *peer, *Confirm) {
		w, a := oneFileTwice(t)
		return w, a, &Confirm{Source: "photos", Location: a.loc, Life: a.life, Turn: a.nextTurn(), Files: []Record{a.disk["d0/f00"]}}
	}
	refused := func(t *testing.T, w *world, err error) {
		t.Helper()
		if !errors.Is(err, ErrHelloFirst) {
			t.Errorf("late message: %v", err)
		}
		if n := countConfirmed(w.file("d0/f00"), "a"); n != 0 {
			t.Error("what is gone counts")
		}
	}
	t.Run("confirm after drop", func(t *testing.T) {
		w, a, late := begin(t)
		if _, err := w.c.Confirm(ctx, "a", late); err != nil {
			t.Fatal(err)
		}
		if n := a.drop(ReasonOverCapacity, 0); n != 1 {
			t.Fatalf("%d drops", n)
		}
		_, err := w.c.Confirm(ctx, "a", late)
		refused(t, w, err)
	})
	t.Run("confirm of an earlier process", func(t *testing.T) {
		w, a, late := begin(t)
		late.Turn += 1000
		delete(a.disk, "d0/f00")
		a.session++
		a.meet()
		_, err := w.c.Confirm(ctx, "a", late)
		refused(t, w, err)
	})
	t.Run("confirm to an earlier coordinator", func(t *testing.T) {
		w, a, late := begin(t)
		late.Turn += 1000
		delete(a.disk, "d0/f00")
		w.stop()
		w.start()
		a.meet()
		_, err := w.c.Confirm(ctx, "a", late)
		refused(t, w, err)
	})
	t.Run("confirm after it was reported missing", func(t *testing.T) {
		w, a, late := begin(t)
		delete(a.disk, "d0/f00")
		if _, err := w.c.Report(ctx, "a", &Report{Source: "photos", Location: a.loc, Life: a.life, Turn: a.nextTurn(), Files: []Reported{{Path: "d0/f00", Kind: FoundMissing}}}); err != nil {
			t.Fatal(err)
		}
		_, err := w.c.Confirm(ctx, "a", late)
		refused(t, w, err)
	})
	t.Run("inventory, drop and retire out of turn", func(t *testing.T) {
		w, a, late := begin(t)
		if _, err := w.c.Confirm(ctx, "a", late); err != nil {
			t.Fatal(err)
		}
		_, err := w.c.Inventory(ctx, "a", &Inventory{Source: "photos", Location: a.loc, Session: a.session, Life: a.life, Turn: late.Turn, First: true, Last: true})
		if !errors.Is(err, ErrHelloFirst) {
			t.Errorf("inventory: %v", err)
		}
		_, err = w.c.Drop(ctx, "a", &Drop{Source: "photos", Location: a.loc, Life: a.life, Turn: late.Turn, MaxFiles: 1, Reason: ReasonOverCapacity})
		if !errors.Is(err, ErrHelloFirst) {
			t.Errorf("drop: %v", err)
		}
		_, err = w.c.Retire(ctx, "a", &Retire{Source: "photos", Location: a.loc, Life: a.life, Turn: late.Turn})
		if !errors.Is(err, ErrHelloFirst) {
			t.Errorf("retire: %v", err)
		}
		if n := countConfirmed(w.file("d0/f00"), "a"); n != 1 {
			t.Error("what is there does not count")
		}
	})
	t.Run("two at once", func(t *testing.T) {
		w, a, late := begin(t)
		if _, err := w.c.Confirm(ctx, "a", late); err != nil {
			t.Fatal(err)
		}
		b := w.peers["b"]
		if a.drop(ReasonDraining, 0)+b.drop(ReasonDraining, 0) != 1 {
			t.Error("both, or none, of two hosts that ask at once may drop")
		}
	})
}

// oneFileTwice is a world in which a file lies with two hosts: b has confirmed it, and a has not yet.
func oneFileTwice(t *testing.T) (w *world, a *peer) {
	w = newWorld(t, t, 1, "a", "b")
	t.Cleanup(w.stop)
	w.room(20, "a", "b")
	w.many(1, mib)
	a, b := w.peers["a"], w.peers["b"]
	a.meet()
	b.meet()
	f := w.tree.files["d0/f00"]
	for _, p := range []*peer{b, a} {
		p.publish(Record{Path: "d0/f00", Digest: f.digest(), Size: f.size, ModTime: f.mtime})
	}
	if err := b.confirm([]Record{b.disk["d0/f00"]}); err != nil {
		t.Fatal(err)
	}
	return w, a
}

// What lay in a buffer while the coordinator's process stood still, or its host slept, does not say that its sender lives.
func TestLateSignOfLife(t *testing.T) {
	stands := func(w *world) { w.now = w.now.Add(time.Hour) }
	for name, test := range map[string]struct {
		sleep func(*world)
		word  func(*world, *peer, Echo) error
	}{
		"hello after a stop":  {stands, (*world).heartbeat},
		"renew after a stop":  {stands, (*world).renewal},
		"hello after a sleep": {(*world).sleep, (*world).heartbeat},
		"nothing, in a sleep": {(*world).sleep, func(*world, *peer, Echo) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			w, a := oneFileTwice(t)
			b := w.peers["b"]
			if err := a.confirm([]Record{a.disk["d0/f00"]}); err != nil {
				t.Fatal(err)
			}
			heard := b.echo
			test.sleep(w)
			a.hello()
			if err := test.word(w, b, heard); err != nil {
				t.Fatal(err)
			}
			if n := a.drop(ReasonOverCapacity, 0); n != 0 {
				t.Error("a drop relied on a host that may be dead")
			}
			b.hello()
			b.hello()
			if n := a.drop(ReasonOverCapacity, 0); n != 1 {
				t.Errorf("%d drops when the other host lives", n)
			}
		})
	}
}

// A host that copies for long says no Hello, and lives.
func TestRenewIsSignOfLife(t *testing.T) {
	w := newWorld(t, t, 1, "a", "b")
	defer w.stop()
	w.room(20, "a", "b")
	w.many(1, mib)
	w.settle(0, "a", "b")
	a, b := w.peers["a"], w.peers["b"]
	for range 30 {
		w.now = w.now.Add(time.Minute)
		a.hello()
		if err := w.renewal(b, b.echo); err != nil {
			t.Fatal(err)
		}
	}
	if h := w.c.hosts["b"]; !w.c.lives(h) {
		t.Error("a host that is copying counts as dead")
	}
}

func (w *world) heartbeat(p *peer, heard Echo) error {
	_, err := w.c.Hello(context.Background(), p.name, &Hello{Source: "photos", Session: p.session, Highest: p.highest(),
		Locations: []LocationInfo{p.info()}, Holds: len(p.disk) > 0, Echo: heard})
	return err
}

func (w *world) renewal(p *peer, heard Echo) error {
	a, err := w.c.Renew(context.Background(), p.name, &Renew{Source: "photos", Location: p.loc, Echo: heard})
	if err == nil {
		p.echo = a.Echo
	}
	return err
}

// sleep lets the host sleep for an hour: its clock of the day stands still, as the monotonic clocks of most systems do.
func (w *world) sleep() { w.slept += time.Hour }
