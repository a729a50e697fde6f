package coordinator

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"pgregory.net/rapid"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/tree"
)

// silentTree is the tree of a source whose host is gone.
type silentTree struct{ t *testing.T }

func (s silentTree) Stat(context.Context, v1.RelPath) (tree.Entry, error) {
	s.t.Error("the source was to be looked at")
	return tree.Entry{}, context.DeadlineExceeded
}

func (s silentTree) Digest(context.Context, v1.RelPath, tree.Entry) (v1.Digest, error) {
	s.t.Error("the source was to be read")
	return v1.Digest{}, context.DeadlineExceeded
}

// act has another coordinator answer in the source's stead, from a listing of what the tree has now.
func (w *world) act(t *testing.T) {
	t.Helper()
	w.stop()
	cat, err := catalog.Open(t.TempDir()+"/acting.db", catalog.Options{Clock: func() time.Time { return w.now }, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = cat.Fill(t.Context(), func(yield func(catalog.Listed, error) bool) {
		for path, c := range w.tree.files {
			if !yield(catalog.Listed{Path: path, Size: c.size, ModTime: c.mtime, Mode: 0o644, Digest: c.digest()}, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	w.lives++
	w.cat = cat
	w.c, err = New(Config{Source: w.spec, Host: ownHost, Acting: true, Catalog: cat, Tree: silentTree{t}, Clock: func() time.Time { return w.now },
		Hosts: func() []HostInfo { return w.infos }, Log: logr.Discard(), Life: w.lives})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range w.peers {
		p.life, p.turn = 0, 0
	}
}

// handOver ends acting: the source's own coordinator answers again, and is told anew what everybody holds.
func (w *world) handOver() {
	w.stop()
	w.start()
	for _, p := range w.peers {
		p.session++
		p.life, p.turn = 0, 0
	}
}

// ask claims, and checks what must hold of every answer.
func (p *peer) ask(t *testing.T, files int) *ClaimAnswer {
	t.Helper()
	a, err := p.w.c.Claim(t.Context(), p.name, &Claim{Source: "photos", Location: p.loc, Room: p.free(), MaxFiles: files, Extra: true})
	if err != nil {
		t.Fatalf("%s: claim: %v", p.name, err)
	}
	for _, f := range a.Files {
		if f.Digest != p.w.tree.files[f.Path].digest() || !f.Gen.IsZero() || f.Held || f.Extra {
			t.Errorf("%s is given %+v", p.name, f)
		}
		if _, has := p.disk[f.Path]; has {
			t.Errorf("%s has some version of %s and is given it", p.name, f.Path)
		}
		if a.Origin == nil || p.w.peers[a.Origin.Host].disk[f.Path].Digest != f.Digest || a.Origin.Location != p.w.peers[a.Origin.Host].loc {
			t.Errorf("%s is to copy %s from %+v, which does not have it", p.name, f.Path, a.Origin)
		}
	}
	return a
}

// take copies what an answer gives and confirms it.
func (p *peer) take(t *testing.T, a *ClaimAnswer) int {
	t.Helper()
	var records []Record
	for _, f := range a.Files {
		from := p.w.peers[a.Origin.Host].disk[f.Path]
		records = append(records, Record{Path: f.Path, Digest: from.Digest, Size: from.Size, ModTime: from.ModTime})
		p.publish(records[len(records)-1])
		p.copies++
	}
	if err := p.confirm(records); err != nil {
		t.Fatalf("%s: confirm: %v", p.name, err)
	}
	return len(records)
}

// copyAll lets hosts copy until nothing is given any more.
func (w *world) copyAll(t *testing.T, names ...v1.HostName) {
	t.Helper()
	for quiet := 0; quiet < 3; {
		quiet++
		for _, name := range names {
			p := w.peers[name]
			a := p.meet()
			if a.Retire || a.Surplus || a.Extra || a.Manifest != "" || a.Epoch != 0 || a.Seq != 0 {
				t.Errorf("%s is told %+v", name, a)
			}
			if p.take(t, p.ask(t, 7)) > 0 {
				quiet = 0
			}
		}
		w.now = w.now.Add(10 * time.Second)
		w.tick()
	}
}

// orphaned is a world of 20 files with two replicas at b and c, whose source's host has just gone.
func orphaned(t *testing.T, others ...v1.HostName) *world {
	w := newWorld(t, t, 2, append([]v1.HostName{"b", "c"}, others...)...)
	w.room(100, "b", "c")
	w.many(20, 1000)
	w.settle(0, "b", "c")
	for _, name := range others {
		w.peers[name].capacity = 100 * mib
	}
	w.act(t)
	return w
}

// copiesOf counts the copies since it was asked last.
func (w *world) copiesOf() (n int) {
	n = w.copies()
	for _, p := range w.peers {
		p.copies = 0
	}
	return n
}

func TestActing(t *testing.T) {
	w := orphaned(t, "d", "e")
	w.copiesOf()
	w.copyAll(t, "b", "c", "d", "e")
	if n := w.copiesOf(); n != 0 {
		t.Errorf("%d copies though there are two of each file", n)
	}
	w.pass(61*time.Minute, "b", "d", "e")
	before := maps.Clone(w.peers["b"].disk)
	w.copyAll(t, "b", "d", "e")
	if n := w.copiesOf(); n != 20 {
		t.Errorf("%d copies were made for the host that is gone, not 20", n)
	}
	if !maps.Equal(before, w.peers["b"].disk) {
		t.Error("a holder was told another generation than it knew, or lost something")
	}
	for _, p := range w.peers {
		for _, r := range p.disk {
			if r.Gen.IsZero() != (p.name == "d" || p.name == "e") {
				t.Errorf("%s has %s of generation %s", p.name, r.Path, r.Gen)
			}
		}
	}
	for path, c := range w.tree.files {
		if n := w.holders(path, c.digest()); n != 3 { // with c's
			t.Errorf("%s has %d replicas", path, n)
		}
	}

	w.handOver()
	w.scan()
	w.settle(2, "b", "c", "d", "e")
	w.served(2)
	if w.copiesOf() != 0 || w.drops() != 20 {
		t.Errorf("%d files were copied, %d dropped: want none and 20", w.copiesOf(), w.drops())
	}
	if w.cat.Amnesic() {
		t.Error("the source's own coordinator believes that it has lost something")
	}
}

// TestActingWaits: what hosts hold that have not told is not missing, as long as they may be there.
func TestActingWaits(t *testing.T) {
	w := orphaned(t, "d")
	w.pass(30*time.Minute, "d")
	w.peers["b"].meet()
	w.peers["d"].meet()
	if a := w.peers["d"].ask(t, 5); len(a.Files) > 0 {
		t.Error("files were given though a host has not said what it holds")
	}
	w.pass(32*time.Minute, "b", "d")
	if a := w.peers["d"].ask(t, 5); len(a.Files) != 5 {
		t.Errorf("%d files were given once it is gone", len(a.Files))
	}
}

// TestActingDropsNothing: nobody is ever allowed to be rid of anything, not even of a third replica.
func TestActingDropsNothing(t *testing.T) {
	w := orphaned(t, "d", "e")
	b, c, d := w.peers["b"], w.peers["c"], w.peers["d"]
	maps.Copy(d.disk, c.disk)
	d.disk["not/listed"] = Record{Path: "not/listed", Digest: v1.Digest{9}, Size: 1, ModTime: 1}
	stranger := d.disk["not/listed"]
	for range 3 {
		for _, p := range []*peer{b, c, d, w.peers["e"]} {
			p.meet()
			for _, reason := range []string{ReasonSurplus, ReasonOverCapacity, ReasonDraining, ReasonStarving} {
				if n := p.drop(reason, 1<<40); n != 0 {
					t.Errorf("%d drops were granted to %s for %s", n, p.name, reason)
				}
				a, err := w.c.Relieve(t.Context(), p.name, &Relieve{Source: "photos", Location: p.loc, Bytes: 1 << 20, Reason: reason})
				if reason != ReasonSurplus && (err != nil || a.Accepted != 0) {
					t.Errorf("relief for %s: %+v, %v", reason, a, err)
				}
			}
			a, err := w.c.Retire(t.Context(), p.name, &Retire{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn()})
			if err != nil || len(a.Files) > 0 {
				t.Errorf("%s is to retire %+v, %v", p.name, a, err)
			}
		}
		w.pass(20*time.Minute, "b", "c", "d", "e")
	}
	if d.disk["not/listed"] != stranger {
		t.Error("what the listing does not have was retired")
	}
}

// TestActingLeavesOtherVersionsAlone: who has another version of a file than the listing may have the newer one. It is given no copy,
// is not copied from, and a copy is made elsewhere.
func TestActingLeavesOtherVersionsAlone(t *testing.T) {
	w := orphaned(t, "d")
	c := w.peers["c"]
	other := c.disk["d0/f00"]
	other.Size, other.ModTime, other.Digest, other.Gen.Seq = 1234, other.ModTime+5e9, v1.Digest{7}, 1000
	c.disk["d0/f00"] = other
	c.session++
	same := c.disk["d1/f01"] // by size and time
	same.Digest = v1.Digest{8}
	c.disk["d1/f01"] = same
	w.copyAll(t, "b", "c", "d")
	if c.disk["d0/f00"] != other || c.disk["d1/f01"] != same {
		t.Error("another version was replaced, or given another generation")
	}
	d := w.peers["d"].disk
	if len(d) != 2 || d["d0/f00"].Digest != w.tree.files["d0/f00"].digest() || d["d1/f01"].Digest != w.tree.files["d1/f01"].digest() {
		t.Errorf("d has %v, not the two files that had one replica of the listed version", d)
	}
	answers, err := w.c.Confirm(t.Context(), "c", &Confirm{Source: "photos", Location: c.loc, Life: c.life, Turn: c.nextTurn(),
		Files: []Record{other, same, {Path: "not/listed", Size: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers.Answers {
		if a.Outcome != OutcomeStale || !a.Gen.IsZero() { // upon any other but yes, a holder sets something aside or asks again
			t.Errorf("%d: %+v", i, a)
		}
	}
}

// TestActingWrongBytes: a copy with other bytes than listed does not count, and nobody copies from it.
func TestActingWrongBytes(t *testing.T) {
	w := orphaned(t, "d", "e")
	w.copyAll(t, "b", "c", "d", "e")
	w.pass(61*time.Minute, "b", "d", "e")
	d, e := w.peers["d"], w.peers["e"]
	d.meet()
	a := d.ask(t, 20)
	if len(a.Files) == 0 {
		t.Fatal("d is given nothing")
	}
	var records []Record
	for _, f := range a.Files {
		r := Record{Path: f.Path, Digest: v1.Digest{6}, Size: f.Size, ModTime: f.ModTime}
		d.publish(r)
		records = append(records, r)
	}
	if err := d.confirm(records); err != nil {
		t.Fatal(err)
	}
	w.copyAll(t, "b", "d", "e")
	for _, r := range records {
		if d.disk[r.Path].Digest != r.Digest {
			t.Errorf("%s was replaced", r.Path)
		}
		if e.disk[r.Path].Digest != w.tree.files[r.Path].digest() {
			t.Errorf("%s has only one good replica", r.Path)
		}
	}
}

// TestActingNeedsALiveOrigin: a holder that is silent, though not for long enough to be gone, is not copied from.
func TestActingNeedsALiveOrigin(t *testing.T) {
	w := orphaned(t, "d", "e")
	delete(w.peers["c"].disk, "d2/f02") // only b has it
	w.peers["b"].meet()
	w.peers["c"].meet()
	w.pass(5*time.Minute, "c", "d", "e")
	given := func() int { return len(w.peers["d"].ask(t, 5).Files) + len(w.peers["e"].ask(t, 5).Files) }
	if n := given(); n != 0 {
		t.Errorf("%d files are given from a host that is silent", n)
	}
	w.peers["b"].hello()
	if n := given(); n != 1 {
		t.Errorf("%d files are given once it is back, not 1", n)
	}
}

// TestActingAnyState: whatever lies where, every file that somebody has as it is listed gets as many replicas as wanted, or as there are
// hosts for that have no version of it; no more; and what was there before stays as it was.
func TestActingAnyState(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		hosts := []v1.HostName{"b", "c", "d", "e", "f"}
		least := rapid.IntRange(1, 4).Draw(r, "min")
		w := newWorld(t, t, int32(least), hosts...)
		w.room(100, hosts...)
		w.many(rapid.IntRange(1, 12).Draw(r, "files"), 1000)
		before := make(map[v1.HostName]map[v1.RelPath]Record)
		good, free := make(map[v1.RelPath]int), make(map[v1.RelPath]int)
		for _, path := range slices.Sorted(maps.Keys(w.tree.files)) {
			c := w.tree.files[path]
			for _, name := range hosts {
				rec := Record{Path: path, Gen: v1.Generation{Epoch: 1, Seq: 5}, Digest: c.digest(), Size: c.size, ModTime: c.mtime}
				switch rapid.SampledFrom([]string{"none", "none", "listed", "other", "same size and time"}).Draw(r, string(name)+" "+string(path)) {
				case "none":
					free[path]++
					continue
				case "listed":
					good[path]++
				case "other":
					rec.ModTime, rec.Size, rec.Digest = rec.ModTime+1e9, 7, v1.Digest{7}
				case "same size and time":
					rec.Digest = v1.Digest{8}
				}
				w.peers[name].disk[path] = rec
			}
		}
		for _, name := range hosts {
			before[name] = maps.Clone(w.peers[name].disk)
		}
		w.act(t)
		defer w.stop()
		for _, name := range hosts {
			w.peers[name].meet()
		}
		w.copyAll(t, hosts...)
		for path, c := range w.tree.files {
			want := good[path]
			if want > 0 {
				want = max(want, min(least, want+free[path]))
			}
			if n := w.holders(path, c.digest()); n != want {
				r.Fatalf("%s has %d replicas, want %d", path, n, want)
			}
		}
		for name, disk := range before {
			for path, rec := range disk {
				if w.peers[name].disk[path] != rec {
					r.Fatalf("%s at %s was %+v and is %+v", path, name, rec, w.peers[name].disk[path])
				}
			}
		}
	})
}
