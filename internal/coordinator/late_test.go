package coordinator

import (
	"context"
	"errors"
	"testing"
)

// Messages that arrive when what they say is no longer so.
func TestLateMessages(t *testing.T) {
	ctx := context.Background()
	begin := func(t *testing.T) (*world, *peer, *Confirm) {
		w := newWorld(t, t, 1, "a", "b")
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
