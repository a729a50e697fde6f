package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	v1 "clusterbackup/api/v1"
)

const mib = 1 << 20

// work is one round of a client: what it must be rid of first, then what it can take.
func (p *peer) work() (did int) {
	w := p.w
	p.meet()
	over := p.used() - p.capacity
	reason := ReasonOverCapacity
	if p.draining {
		over, reason = p.used(), ReasonDraining
	}
	if over > 0 {
		if _, err := w.c.Relieve(context.Background(), p.name, &Relieve{Source: "photos", Location: p.loc, Bytes: over, Reason: reason}); err != nil {
			w.f.Fatalf("%s: relieve: %v", p.name, err)
		}
		did += p.drop(reason, over)
	}
	if p.hello().Surplus {
		did += p.drop(ReasonSurplus, 1<<40)
	}
	if a := p.hello(); a.Retire {
		p.retireAll()
		did++
	}
	if !p.draining && !p.noNew {
		did += p.fill(5)
	}
	return did
}

func (p *peer) retireAll() {
	a, err := p.w.c.Retire(context.Background(), p.name, &Retire{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn()})
	if err != nil {
		p.w.f.Fatalf("retire: %v", err)
	}
	done := &Retired{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn()}
	for _, f := range a.Files {
		delete(p.disk, f.Path)
		done.Files = append(done.Files, f.Path)
	}
	if _, err := p.w.c.Retired(context.Background(), p.name, done); err != nil {
		p.w.f.Fatalf("retired: %v", err)
	}
}

// settle lets these hosts work until nothing happens for a while; each file must have least replicas on disk at every moment.
func (w *world) settle(least int, names ...v1.HostName) {
	quiet := 0
	for round := 0; quiet < 4; round++ {
		if round > 300 {
			w.f.Fatalf("does not come to rest: %+v", w.c.Status())
		}
		quiet++
		for _, name := range names {
			if w.peers[name].work() > 0 {
				quiet = 0
			}
			for path, now := range w.tree.files {
				if n := w.holders(path, now.digest()); n < least {
					w.f.Fatalf("%s has %d replicas after %s's turn", path, n, name)
				}
			}
		}
		w.now = w.now.Add(10 * time.Second)
		w.tick()
	}
}

func (w *world) holders(path v1.RelPath, digest v1.Digest) (n int) {
	for _, p := range w.peers {
		if p.disk[path].Digest == digest {
			n++
		}
	}
	return n
}

// served checks that each file has exactly so many replicas, on disk and as told.
func (w *world) served(n int) {
	for path, now := range w.tree.files {
		if got := w.holders(path, now.digest()); got != n {
			w.f.Fatalf("%s has %d replicas, want %d: %+v", path, got, n, w.c.Status())
		}
		if f := w.file(string(path)); countConfirmed(f, "") != n || f.Status.Service != v1.Served {
			w.f.Fatalf("%s: %+v", path, f.Status)
		}
	}
}

func (w *world) copies() (n int) {
	for _, p := range w.peers {
		n += p.copies
	}
	return n
}

func (w *world) drops() (n int) {
	for _, p := range w.peers {
		n += p.drops
	}
	return n
}

func (w *world) many(files int, size int64) {
	for i := range files {
		w.tree.put(fmt.Sprintf("d%d/f%02d", i%3, i), size)
	}
	w.scan()
}

func (w *world) room(mibs int64, names ...v1.HostName) {
	for _, name := range names {
		w.peers[name].capacity = mibs * mib
	}
}

// The dead-lock of the naive rule: a and b are full with the same files, c has room but holds the others already.
func TestDisplacement(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(7, "a", "b")
	w.room(0, "c")
	w.many(7, mib)
	w.settle(0, "a", "b", "c")
	w.room(7, "c")
	w.peers["a"].noNew, w.peers["b"].noNew = true, true
	for i := range 3 {
		w.tree.put(fmt.Sprintf("late/f%d", i), mib)
	}
	w.scan()
	w.settle(0, "a", "b", "c")
	w.peers["a"].noNew, w.peers["b"].noNew = false, false
	before := w.copies()
	w.settle(1, "a", "b", "c")
	w.served(2)
	if n := w.copies() - before; n != 6 {
		t.Errorf("%d copies, want 6: three that were missing, three moved", n)
	}
	if w.drops() != 3 {
		t.Errorf("%d drops, want 3", w.drops())
	}
}

// Two hosts that both lack room for another source's files do not hand the same files to and fro; a host that is drained is emptied
// at any time.
func TestWhatIsMovedIsNotMovedBack(t *testing.T) {
	w := newWorld(t, t, 1, "a", "b")
	defer w.stop()
	w.room(30, "a")
	w.room(0, "b")
	w.many(10, mib)
	w.settle(0, "a")
	w.room(30, "b")
	a, b := w.peers["a"], w.peers["b"]
	b.meet()
	starve := func(p *peer, other *peer) (moved int) {
		t.Helper()
		other.hello()
		p.hello()
		answer, err := w.c.Relieve(context.Background(), p.name, &Relieve{Source: "photos", Location: p.loc, Bytes: 10 * mib, Reason: ReasonStarving})
		if err != nil {
			t.Fatal(err)
		}
		if int64(answer.Files) > 0 {
			moved = other.fill(100)
			p.drop(ReasonStarving, 10*mib)
		}
		return moved
	}
	if n := starve(a, b); n != 10 {
		t.Fatalf("%d files moved to b, want 10", n)
	}
	if n := starve(b, a); n != 0 {
		t.Errorf("%d files moved back at once", n)
	}
	w.pass(firstRest+time.Second, "a", "b")
	if n := starve(b, a); n != 10 {
		t.Errorf("%d files moved after they had rested, want 10", n)
	}
	w.pass(firstRest+time.Second, "a", "b")
	if n := starve(a, b); n != 0 {
		t.Errorf("%d files moved again after as long: each time they rest longer", n)
	}
	a.draining = true
	w.settle(1, "a", "b")
	if n := len(a.disk); n != 0 {
		t.Errorf("a is drained and still holds %d", n)
	}
}

// A host that is there but does not copy (its windows, say) keeps no file from having a replica elsewhere for long.
func TestNobodyWaitsForAHostThatDoesNotCome(t *testing.T) {
	for name, c := range map[string]struct{ files, size, sought int64 }{
		"large files":                         {20, 10 * mib, 0},
		"small files":                         {2000, mib / 100, 0},
		"large files, room that others seek":  {20, 10 * mib, 300 * mib},
		"small files, room that others seek ": {2000, mib / 100, 300 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t, 1, "a", "b")
			defer w.stop()
			w.room(1000, "a", "b")
			w.many(int(c.files), c.size)
			a, b := w.peers["a"], w.peers["b"]
			a.sought, b.sought = c.sought, c.sought
			for range 20 {
				a.meet()
				b.meet()
				b.fill(1000)
				w.now = w.now.Add(10 * time.Second)
				w.tick()
			}
			if n := len(b.disk); n != int(c.files) {
				t.Errorf("%d of %d files have a replica", n, c.files)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c", "d")
	defer w.stop()
	w.room(40, "a", "b", "c", "d")
	w.many(30, mib)
	w.settle(0, "a", "b", "c", "d")
	before := w.copies()
	moved := len(w.peers["a"].disk)
	if moved == 0 {
		t.Fatal("a holds nothing")
	}
	w.peers["a"].draining = true
	w.settle(2, "a", "b", "c", "d")
	w.served(2)
	if n := len(w.peers["a"].disk); n != 0 {
		t.Errorf("a still holds %d", n)
	}
	if n := w.copies() - before; n != moved {
		t.Errorf("%d copies, want %d", n, moved)
	}
}

func TestCapacityLowered(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(30, "a", "b", "c")
	w.many(20, mib)
	w.settle(0, "a", "b", "c")
	held := int64(len(w.peers["a"].disk))
	w.peers["a"].capacity = (held - 5) * mib
	before := w.copies()
	w.settle(2, "a", "b", "c")
	w.served(2)
	if w.peers["a"].used() > w.peers["a"].capacity {
		t.Errorf("a holds %d of %d", w.peers["a"].used(), w.peers["a"].capacity)
	}
	if n := w.copies() - before; n != 5 {
		t.Errorf("%d copies, want 5", n)
	}
}

// A copy on its way to make room is not called off by the room that it takes itself.
func TestReliefUnderWayStands(t *testing.T) {
	w := newWorld(t, t, 1, "a", "b")
	defer w.stop()
	w.room(10, "a", "b")
	w.many(1, mib)
	a, b := w.peers["a"], w.peers["b"]
	w.settle(0, "a")
	b.capacity = mib + mib/2
	b.meet()
	if _, err := w.c.Relieve(context.Background(), "a", &Relieve{Source: "photos", Location: a.loc, Bytes: mib, Reason: ReasonOverCapacity}); err != nil {
		t.Fatal(err)
	}
	given := b.claim(100)
	if len(given) != 1 {
		t.Fatalf("%d files are given for relief", len(given))
	}
	b.claim(100) // by another batch
	r, _ := b.copy(given[0])
	if err := b.confirm([]Record{r}); err != nil {
		t.Fatal(err)
	}
	if n := b.drop(ReasonStarving, 0); n != 0 {
		t.Error("the copy that was made for another's relief goes, not that one's")
	}
	if n := a.drop(ReasonOverCapacity, 0); n != 1 {
		t.Errorf("%d drops where room is wanted", n)
	}
}

// A host that cannot be relieved keeps everything.
func TestNowhereToGo(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b")
	defer w.stop()
	w.room(30, "a", "b")
	w.many(20, mib)
	w.settle(0, "a", "b")
	w.peers["a"].draining = true
	w.settle(2, "a", "b")
	w.served(2)
	if w.drops() != 0 {
		t.Errorf("%d drops", w.drops())
	}
}

func TestRepair(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(40, "a", "b", "c")
	w.many(30, mib)
	w.settle(0, "a", "b", "c")
	before := w.copies()

	// Silent for less than repairAfter: nothing moves, nothing is dropped.
	for range 5 {
		w.pass(20*time.Minute, "b", "c")
		w.settle(2, "b", "c")
		w.settle(2, "a", "b", "c")
	}
	if w.copies() != before || w.drops() != 0 {
		t.Fatalf("flapping moved %d, dropped %d", w.copies()-before, w.drops())
	}

	// Silent for longer: copied again.
	w.pass(61*time.Minute, "b", "c")
	w.settle(2, "b", "c")
	moved := w.copies() - before
	if moved != len(w.peers["a"].disk) {
		t.Fatalf("%d copies, want %d", moved, len(w.peers["a"].disk))
	}
	if s := w.c.Status(); s.ReplicaFiles[2] != 30 || s.Underserved != 0 {
		t.Fatalf("%+v", s)
	}

	// Back: what is too much goes.
	w.settle(2, "a", "b", "c")
	w.served(2)
	if w.drops() != moved {
		t.Errorf("%d drops, want %d", w.drops(), moved)
	}
}

// The source's host was asleep: that it heard nobody says nothing about the others.
func TestOwnSleep(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(40, "a", "b", "c")
	w.many(10, mib)
	w.settle(0, "a", "b", "c")
	before := w.copies()
	w.now = w.now.Add(9 * time.Hour)
	w.tick()
	w.settle(2, "b", "c")
	w.settle(2, "a", "b", "c")
	w.now = w.now.Add(9 * time.Hour)
	if a := w.peers["c"].hello(); a.Claimable { // what was said meanwhile is heard first
		t.Error("all the others are taken for gone")
	}
	w.settle(2, "a", "b", "c")
	if w.copies() != before || w.drops() != 0 {
		t.Errorf("%d copies, %d drops", w.copies()-before, w.drops())
	}
}

func TestMaintenance(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(40, "a", "b", "c")
	w.many(10, mib)
	w.settle(0, "a", "b", "c")
	before := w.copies()
	w.infos[1].MaintenanceUntil = w.now.Add(5 * time.Hour)
	w.pass(4*time.Hour, "b", "c")
	w.settle(2, "b", "c")
	if w.copies() != before {
		t.Fatalf("%d copies during maintenance", w.copies()-before)
	}
	w.pass(2*time.Hour, "b", "c")
	w.settle(2, "b", "c")
	if w.copies() == before {
		t.Fatal("nothing was repaired after its end")
	}
}

func TestNothingIsCopiedOutsideTheSourcesWindows(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b")
	w.room(100, "a", "b")
	w.many(10, mib)
	w.infos[0].Windows = []string{"22:00-06:00"}
	w.now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	if a := w.peers["a"].meet(); a.Claimable {
		t.Fatal("hosts are asked to copy at noon")
	}
	if got := w.peers["a"].claim(10); len(got) != 0 {
		t.Fatalf("%d files were given at noon", len(got))
	}
	if !w.c.Status().OutsideWindows {
		t.Error("the status does not say why nothing is copied")
	}
	w.pass(10*time.Hour, "a", "b")
	w.settle(0, "a", "b")
	w.served(2)
}

func TestRemovedHost(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(40, "a", "b", "c")
	w.many(10, mib)
	w.settle(0, "a", "b", "c")
	w.infos = slices.DeleteFunc(w.infos, func(h HostInfo) bool { return h.Name == "a" })
	if _, err := w.c.Hello(context.Background(), "a", &Hello{Source: "photos"}); !errors.Is(err, ErrUnknownHost) {
		t.Fatalf("hello of a removed host: %v", err)
	}
	w.settle(1, "b", "c")
	for path := range w.tree.files {
		if f := w.file(string(path)); len(f.Status.Replicas) != 2 || f.Status.Service != v1.Served {
			t.Fatalf("%s: %+v", path, f.Status)
		}
	}
}

func TestMaxReplicas(t *testing.T) {
	w := newWorld(t, t, 1, "a", "b", "c")
	defer w.stop()
	w.spec.Spec.MaxReplicas = 2
	w.c.Update(w.spec, v1.ClusterSpec{})
	w.room(20, "a", "b", "c")
	w.many(10, mib)
	w.settle(0, "a", "b", "c")
	w.served(1)
	for range 10 {
		for _, p := range w.peers {
			p.extra()
		}
	}
	w.settle(1, "a", "b", "c")
	w.served(2)
	// Given back when the room is needed.
	w.peers["a"].capacity = 0
	w.settle(1, "a", "b", "c")
	if n := len(w.peers["a"].disk); n != 0 {
		t.Fatalf("a keeps %d", n)
	}
	for path := range w.tree.files {
		if f := w.file(string(path)); countConfirmed(f, "") < 1 {
			t.Fatalf("%s: %+v", path, f)
		}
	}
}

// extra asks for what spare room may be used for.
func (p *peer) extra() {
	p.meet()
	a, err := p.w.c.Claim(context.Background(), p.name, &Claim{Source: "photos", Location: p.loc, Room: p.free(), MaxFiles: 3, Extra: true})
	if err != nil {
		p.w.f.Fatalf("claim: %v", err)
	}
	for _, x := range a.Files {
		if !x.Extra {
			p.w.f.Fatalf("%+v is no extra", x)
		}
		p.reserved += x.Size
		rec, _ := p.copy(x)
		if err := p.confirm([]Record{rec}); err != nil {
			p.w.f.Fatalf("confirm: %v", err)
		}
	}
}

func TestSpread(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.spec.Spec.Spread = "site"
	w.infos[1].Labels = map[string]string{"site": "attic"}
	w.infos[2].Labels = map[string]string{"site": "attic"}
	w.infos[3].Labels = map[string]string{"site": "office"}
	w.c.Update(w.spec, v1.ClusterSpec{})
	w.room(20, "a", "b", "c")
	w.many(10, mib)
	w.settle(0, "a", "b", "c")
	w.served(2)
	for path := range w.tree.files {
		if _, ok := w.peers["c"].disk[path]; !ok {
			t.Errorf("%s has both replicas in one place", path)
		}
	}
	// A third domain's loss cannot be made good within the others.
	w.pass(3*time.Hour, "a", "b")
	w.settle(1, "a", "b")
	if s := w.c.Status(); s.Underserved != 10 || s.ReplicaFiles[1] != 10 {
		t.Errorf("%+v", s)
	}
}

// Labels that change so that two replicas share a domain: one is copied elsewhere before one of the two goes.
func TestSpreadChanges(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(20, "a", "b")
	w.room(0, "c")
	w.many(6, mib)
	w.settle(0, "a", "b", "c")
	w.room(20, "c")
	w.spec.Spec.Spread = "site"
	w.infos[1].Labels = map[string]string{"site": "attic"}
	w.infos[2].Labels = map[string]string{"site": "attic"}
	w.c.Update(w.spec, v1.ClusterSpec{})
	w.settle(2, "a", "b", "c")
	w.served(2)
	if n := len(w.peers["c"].disk); n != 6 {
		t.Errorf("c holds %d of 6", n)
	}
}

func TestUnplaceable(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b")
	defer w.stop()
	w.room(20, "a")
	w.room(5, "b")
	w.many(10, mib)
	w.settle(0, "a", "b")
	s := w.c.Status()
	if s.Placeable || !strings.Contains(s.PlaceableMessage, "add") {
		t.Fatalf("placeable: %v %q", s.Placeable, s.PlaceableMessage)
	}
	if s.ReplicaFiles[2] != 5 || s.ReplicaFiles[1] != 5 {
		t.Fatalf("what can be placed is not: %+v", s)
	}
	w.room(10, "b")
	w.settle(1, "a", "b")
	w.served(2)
	if s := w.c.Status(); !s.Placeable {
		t.Fatalf("placeable: %q", s.PlaceableMessage)
	}
}

// What there is room for, while it is being copied, is not taken for missing: the message names the files that have no place.
func TestUnplaceableLargeOnes(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(2000, "a")
	w.room(100, "b", "c")
	w.tree.put("one", 900*mib)
	w.tree.put("two", 900*mib)
	for i := range 5 {
		w.tree.put(fmt.Sprintf("small%d", i), mib)
	}
	w.scan()
	w.settle(0, "a", "b", "c")
	want := "2 files of 900Mi fit on 1 host only; add 900Mi on another host or lower minReplicas"
	if s := w.c.Status(); s.PlaceableMessage != want {
		t.Errorf("placeable: %q, want %q", s.PlaceableMessage, want)
	}
	if why := w.c.Feasible(1); why != "" {
		t.Errorf("one replica of each fits, but: %q", why)
	}
	if why := w.c.Feasible(4); !strings.Contains(why, "fit on 3 hosts only") && !strings.Contains(why, "fit on 1 host only") {
		t.Errorf("four replicas on three hosts: %q", why)
	}
}

// A file that changes is brought up to date where it is, and not copied to others.
func TestChangedFile(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c", "d")
	defer w.stop()
	w.room(20, "a", "b", "c", "d")
	w.many(8, mib)
	w.settle(0, "a", "b", "c", "d")
	where := w.file("d0/f00").Status.Replicas
	w.tree.put("d0/f00", 2*mib)
	w.scan()
	for _, r := range w.file("d0/f00").Status.Replicas {
		if r.State != v1.ReplicaStale {
			t.Fatalf("after the change: %+v", r)
		}
	}
	before := w.copies()
	w.settle(0, "d", "c", "b", "a")
	w.served(2)
	if w.copies() != before+2 || w.drops() != 0 {
		t.Errorf("%d copies, %d drops", w.copies()-before, w.drops())
	}
	for i, r := range w.file("d0/f00").Status.Replicas {
		if r.Host != where[i].Host {
			t.Errorf("it moved from %+v to %+v", where, r)
		}
	}
}

// Who has an outdated replica and keeps failing to bring it up to date does not stand in the way of others.
func TestChangedFileThatItsHolderCannotCopy(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b", "c")
	defer w.stop()
	w.room(20, "a", "b")
	w.many(3, mib)
	w.settle(0, "a", "b", "c")
	w.room(20, "c")
	w.tree.put("d0/f00", 2*mib)
	w.scan()
	for range 20 {
		w.pass(time.Minute, "a", "b", "c")
		a := w.peers["a"]
		for _, f := range a.claim(10) {
			a.release(f, ReasonFailed)
		}
		w.peers["b"].work()
		w.peers["c"].work()
	}
	var holders []v1.HostName
	for _, r := range w.file("d0/f00").Status.Replicas {
		if r.State == v1.ReplicaConfirmed {
			holders = append(holders, r.Host)
		}
	}
	if !slices.Equal(holders, []v1.HostName{"b", "c"}) {
		t.Errorf("confirmed at %v, want b and c", holders)
	}
	if n := w.copies(); n != 3*2+2 {
		t.Errorf("%d copies, want 8: nothing else moves", n)
	}
}

// Only the change time differs, as after chmod: the same bytes are confirmed again without being copied.
func TestTouchedFile(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b")
	defer w.stop()
	w.room(20, "a", "b")
	w.many(3, mib)
	w.settle(0, "a", "b")
	f := w.tree.files["d0/f00"]
	f.ctime += 5
	w.tree.files["d0/f00"] = f
	w.scan()
	if n := countConfirmed(w.file("d0/f00"), ""); n != 0 {
		t.Fatalf("%d replicas count for a version nobody compared", n)
	}
	for _, name := range []v1.HostName{"a", "b"} {
		p := w.peers[name]
		if err := p.confirm([]Record{p.disk["d0/f00"]}); err != nil {
			t.Fatal(err)
		}
	}
	w.served(2)
}

// The holder copied a version that the last scan has not seen.
func TestConfirmAheadOfScan(t *testing.T) {
	w := newWorld(t, t, 1, "a")
	defer w.stop()
	w.room(20, "a")
	w.many(1, mib)
	p := w.peers["a"]
	p.meet()
	claimed := p.claim(1)
	w.tree.put("d0/f00", 3*mib)
	now := w.tree.files["d0/f00"]
	p.disk["d0/f00"] = Record{Path: "d0/f00", Gen: claimed[0].Gen, Digest: now.digest(), Size: now.size, ModTime: now.mtime}
	if err := p.confirm([]Record{p.disk["d0/f00"]}); err != nil {
		t.Fatal(err)
	}
	w.served(1)
	if p.disk["d0/f00"].Gen == claimed[0].Gen {
		t.Error("the new version has the old generation")
	}
}

func TestWrongBytes(t *testing.T) {
	w := newWorld(t, t, 1, "a")
	defer w.stop()
	w.room(20, "a")
	w.many(1, mib)
	p := w.peers["a"]
	p.meet()
	c := p.claim(1)[0]
	rec, _ := p.copy(c)
	rec.Digest[0] ^= 1
	ask := func(rec Record) Outcome {
		a, err := w.c.Confirm(context.Background(), "a", &Confirm{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), Files: []Record{rec}})
		if err != nil {
			t.Fatal(err)
		}
		return a.Answers[0].Outcome
	}
	if got := ask(rec); got != OutcomeNo {
		t.Errorf("other bytes: %v", got)
	}
	rec.Digest = v1.Digest{}
	if got := ask(rec); got != OutcomeUnclear {
		t.Errorf("no digest: %v", got)
	}
	rec.Digest = w.tree.files["d0/f00"].digest()
	w.tree.fail["d0/f00"] = errors.New("input/output error")
	w.tree.files["d0/f01"] = w.tree.files["d0/f00"]
	if got := ask(Record{Path: "nowhere", Digest: rec.Digest}); got != OutcomeGone {
		t.Errorf("no such file: %v", got)
	}
	if n := countConfirmed(w.file("d0/f00"), ""); n != 0 {
		t.Errorf("%d count", n)
	}
}

// The source cannot be read: that is neither a yes nor a no.
func TestUnreadableSource(t *testing.T) {
	w := newWorld(t, t, 1, "a")
	defer w.stop()
	w.room(20, "a")
	w.many(1, mib)
	p := w.peers["a"]
	p.meet()
	rec, _ := p.copy(p.claim(1)[0])
	w.tree.fail["d0/f00"] = errors.New("input/output error")
	a, err := w.c.Confirm(context.Background(), "a", &Confirm{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), Files: []Record{rec}})
	if err != nil || a.Answers[0].Outcome != OutcomeUnclear {
		t.Fatalf("%+v, %v", a, err)
	}
	delete(w.tree.fail, "d0/f00")
	if err := p.confirm([]Record{rec}); err != nil {
		t.Fatal(err)
	}
	w.served(1)
}

// A digest is computed once, and again only when it has to be.
func TestDigestsAreKept(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b")
	defer func() { w.stop() }()
	w.room(20, "a", "b")
	w.many(5, mib)
	w.settle(0, "a", "b")
	if w.tree.read.Load() != 5 {
		t.Errorf("%d files were read, want 5", w.tree.read.Load())
	}
	w.stop()
	w.start()
	w.settle(2, "a", "b")
	w.served(2)
	if w.tree.read.Load() != 5 {
		t.Errorf("%d files were read after a restart", w.tree.read.Load())
	}
}

func TestDeletedAndBack(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b")
	defer w.stop()
	w.room(20, "a", "b")
	w.many(5, mib)
	w.settle(0, "a", "b")
	was := w.tree.files["d0/f00"]
	delete(w.tree.files, "d0/f00")
	w.scan()
	if f := w.file("d0/f00"); f.Status.Service != v1.Deleted || f.Status.DeletedTime == nil {
		t.Fatalf("%+v", f.Status)
	}
	a, err := w.c.Retire(context.Background(), "a", &Retire{Source: "photos", Location: "a-disk", Life: w.peers["a"].life, Turn: w.peers["a"].nextTurn()})
	if err != nil || len(a.Files) != 1 {
		t.Fatalf("retire: %+v, %v", a, err)
	}
	// It comes back as it was. What a was told to retire must not count, what b has does.
	w.tree.files["d0/f00"] = was
	w.scan()
	f := w.file("d0/f00")
	if countConfirmed(f, "a") != 0 || countConfirmed(f, "b") != 1 {
		t.Fatalf("%+v", f.Status)
	}
	w.peers["a"].disk = mapWithout(w.peers["a"].disk, "d0/f00")
	if _, err := w.c.Retired(context.Background(), "a", &Retired{Source: "photos", Location: "a-disk", Life: w.peers["a"].life, Turn: w.peers["a"].nextTurn(), Files: []v1.RelPath{"d0/f00"}}); err != nil {
		t.Fatal(err)
	}
	w.settle(1, "a", "b")
	w.served(2)
}

func mapWithout(m map[v1.RelPath]Record, path v1.RelPath) map[v1.RelPath]Record {
	delete(m, path)
	return m
}

// S7: an old catalog is put back. Its replicas count for nothing until all hosts have said what they hold.
func TestOldCatalog(t *testing.T) {
	w := newWorld(t, t, 1, "a", "b", "c")
	defer func() { w.stop() }()
	w.room(20, "a", "b", "c")
	w.many(2, mib)
	for _, name := range []v1.HostName{"a", "b"} {
		for path, f := range w.tree.files {
			w.peers[name].disk[path] = Record{Path: path, Digest: f.digest(), Size: f.size, ModTime: f.mtime}
		}
		w.peers[name].meet()
	}
	w.peers["c"].meet()
	w.stop()
	saved := w.path + ".saved"
	copyFile(t, w.path, saved)
	w.start()
	w.settle(1, "a", "b", "c") // drops the surplus
	w.tree.put("new", mib)
	w.scan()
	w.settle(0, "a", "b", "c")
	w.stop()
	copyFile(t, saved, w.path)
	w.start()
	w.scan()
	var holder, other *peer // who has the new file, and who else holds something
	for _, p := range []*peer{w.peers["a"], w.peers["b"], w.peers["c"]} {
		if _, ok := p.disk["new"]; ok {
			holder = p
		} else {
			other = p
		}
	}
	epoch := w.cat.Generation().Epoch
	other.meet()
	holder.meet()
	if w.cat.Generation().Epoch == epoch && holder.highest().Compare(w.cat.Generation()) > 0 {
		t.Fatalf("generation %s is behind %s", w.cat.Generation(), holder.highest())
	}
	for _, p := range []*peer{holder, other} {
		if n := p.drop(ReasonDraining, 1<<40); n > 0 && w.cat.Amnesic() {
			t.Fatalf("%d grants of an amnesic catalog", n)
		}
	}
	w.settle(0, "a", "b", "c")
	w.served(1)
	if w.cat.Amnesic() {
		t.Error("amnesia does not end")
	}
}

// S7: a catalog that was lost. No drop before every host has reported or is gone.
func TestLostCatalog(t *testing.T) {
	w := newWorld(t, t, 1, "a", "b", "c")
	defer func() { w.stop() }()
	w.room(20, "a", "b", "c")
	w.many(3, mib)
	for _, p := range w.peers {
		for path, f := range w.tree.files {
			p.disk[path] = Record{Path: path, Digest: f.digest(), Size: f.size, ModTime: f.mtime, Gen: v1.Generation{Epoch: 7, Seq: 1}}
		}
	}
	w.stop()
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.scan()
	for _, name := range []v1.HostName{"a", "b"} {
		w.peers[name].meet()
	}
	w.pass(10*time.Minute, "a", "b")
	if !w.cat.Amnesic() || w.peers["a"].drop(ReasonSurplus, 1<<40)+w.peers["b"].drop(ReasonDraining, 1<<40) != 0 {
		t.Fatal("a drop was granted before c reported")
	}
	if got := w.c.Status().WaitingFor; !slices.Equal(got, []v1.HostName{"c"}) {
		t.Errorf("waits for %v", got)
	}
	if w.copies() != 0 {
		t.Errorf("%d copies of what is there", w.copies())
	}
	w.pass(time.Hour, "a", "b")
	if w.cat.Amnesic() {
		t.Fatal("c is gone, and still waited for")
	}
	w.settle(1, "a", "b", "c")
	w.served(1)
}

func TestOwnHostAndStrangers(t *testing.T) {
	w := newWorld(t, t, 1, "a")
	defer w.stop()
	ctx := context.Background()
	if _, err := w.c.Hello(ctx, ownHost, &Hello{Source: "photos"}); !errors.Is(err, ErrOwnHost) {
		t.Errorf("own host: %v", err)
	}
	if _, err := w.c.Hello(ctx, "eve", &Hello{Source: "photos"}); !errors.Is(err, ErrUnknownHost) {
		t.Errorf("stranger: %v", err)
	}
	if _, err := w.c.Hello(ctx, "a", &Hello{Source: "music"}); !errors.Is(err, ErrOtherSource) {
		t.Errorf("other source: %v", err)
	}
	if _, err := w.c.Claim(ctx, "a", &Claim{Source: "photos", Location: "a-disk", Room: 9, MaxFiles: 9}); !errors.Is(err, ErrHelloFirst) {
		t.Errorf("claim without hello: %v", err)
	}
}

func TestFailedFileBacksOff(t *testing.T) {
	w := newWorld(t, t, 1, "a", "b")
	defer w.stop()
	w.room(20, "a", "b")
	w.many(2, mib)
	w.peers["b"].meet()
	p := w.peers["a"]
	p.meet()
	c := p.claim(1)[0]
	p.reserved = 0
	if _, err := w.c.Release(context.Background(), "a", &Release{Source: "photos", Location: p.loc, Files: []Released{{Path: c.Path, Gen: c.Gen, Reason: ReasonFailed, Message: "disk says no"}}}); err != nil {
		t.Fatal(err)
	}
	if s := w.c.Status(); s.ProblemCount != 1 || s.Problems[0].Host != "a" || s.Problems[0].Path != string(c.Path) {
		t.Fatalf("%+v", s.Problems)
	}
	for _, again := range p.claim(5) {
		if again.Path == c.Path {
			t.Fatal("it was given to the same host at once")
		}
	}
	w.peers["b"].meet()
	if got := w.peers["b"].claim(5); len(got) != 1 || got[0].Path != c.Path {
		t.Fatalf("the other host was given %+v", got)
	}
}

// A file that grows all the time is tried again as it is then; one that is unchanged and never arrives is a problem, and tried ever more
// seldom.
func TestWhatDoesNotArrive(t *testing.T) {
	w := newWorld(t, t, 1, "a")
	defer w.stop()
	w.room(20, "a")
	w.many(1, mib)
	p := w.peers["a"]
	p.meet()
	for _, reason := range []string{ReasonVanished, ReasonChanged} {
		c := p.claim(1)[0]
		w.tree.put(string(c.Path), mib+1)
		p.release(c, reason)
		w.now = w.now.Add(soon)
	}
	w.tree.put("d0/f00", mib+1)
	c := p.claim(1)[0]
	if now := w.tree.files[c.Path]; c.ModTime != now.mtime || w.c.Status().ProblemCount != 0 {
		t.Fatalf("%+v, problems %+v", c, w.c.Status().Problems)
	}
	p.release(c, ReasonChanged)
	if s := w.c.Status(); s.ProblemCount != 1 || s.Problems[0].Reason != "CopyFailed" {
		t.Fatalf("%+v", s.Problems)
	}
	tries := 0
	for end := w.now.Add(time.Hour); w.now.Before(end); w.now = w.now.Add(10 * time.Second) {
		p.hello()
		for _, c := range p.claim(1) {
			tries++
			p.release(c, ReasonChanged)
		}
	}
	if tries < 2 || tries > 8 {
		t.Errorf("it was tried %d times in an hour", tries)
	}
}

func TestQueries(t *testing.T) {
	w := newWorld(t, t, 2, "a", "b")
	defer w.stop()
	w.room(20, "a")
	w.room(3, "b")
	w.many(9, mib)
	w.tree.put("odd/\xff\xfe\n", mib)
	w.scan()
	w.settle(0, "a", "b")
	list := func(q Query) (paths []string, last v1.File) {
		for f, err := range w.c.Files(context.Background(), q) {
			if err != nil {
				t.Fatal(err)
			}
			last = f
			if len(f.Spec.PathBase64) > 0 {
				paths = append(paths, string(f.Spec.PathBase64))
			} else {
				paths = append(paths, f.Spec.Path)
			}
		}
		return paths, last
	}
	all, _ := list(Query{})
	if len(all) != 10 || all[9] != "odd/\xff\xfe\n" {
		t.Fatalf("all: %q", all)
	}
	var paged []string
	for q := (Query{Limit: 3}); ; {
		page, last := list(q)
		paged = append(paged, page...)
		if len(page) < 3 {
			break
		}
		q.Continue = ContinueToken(&last)
	}
	if !slices.Equal(paged, all) {
		t.Errorf("in pages: %q", paged)
	}
	under, _ := list(Query{Underserved: true})
	onB, _ := list(Query{Host: "b"})
	if len(under) != 7 || len(onB) != 3 {
		t.Errorf("underserved %q, on b %q", under, onB)
	}
	if below, _ := list(Query{Prefix: "d1"}); len(below) != 3 {
		t.Errorf("below d1: %q", below)
	}
	if one, _ := list(Query{Prefix: "d1/f01"}); len(one) != 1 {
		t.Errorf("one: %q", one)
	}
	if none, _ := list(Query{Unreplicated: true}); len(none) != 0 {
		t.Errorf("unreplicated: %q", none)
	}
	for _, err := range w.c.Files(context.Background(), Query{Continue: "?"}) {
		if !errors.Is(err, ErrBadRequest) {
			t.Errorf("bad token: %v", err)
		}
	}
}

// Names that are not UTF-8 survive the wire, in the form that the transport uses.
func TestMessagesKeepBytes(t *testing.T) {
	mode, err := cbor.DecOptions{UTF8: cbor.UTF8DecodeInvalid}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	in := Inventory{Source: "photos", Location: "x", Session: 1, Life: 2, Turn: 3, Last: true, Folders: []FolderInventory{{Folder: "a\xff",
		Records: []Record{{Path: "a\xff/b\n\xfe", Gen: v1.Generation{Epoch: 1 << 63, Seq: 9}, Digest: v1.Digest{1, 2}, Size: 5, ModTime: -7}}}}}
	data, err := cbor.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out Inventory
	if err := mode.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Error(diff)
	}
}

// Whoever comes first waits for the others a little: what fits only if all take their part is not taken by two.
func TestClaimsWaitForAllWhoLendSpace(t *testing.T) {
	w := newWorld(t, t, 1, "a", "b")
	defer w.stop()
	w.room(20, "a", "b")
	w.many(2, mib)
	p := w.peers["a"]
	p.meet()
	if got := p.claim(9); len(got) != 0 {
		t.Fatalf("%d files were given before b was heard of", len(got))
	}
	w.now = w.now.Add(16 * time.Second)
	if got := p.claim(9); len(got) != 2 {
		t.Errorf("%d files were given after a poll interval without b, want 2", len(got))
	}
}
