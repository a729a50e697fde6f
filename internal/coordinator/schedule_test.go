package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// Random schedules of everything that hosts and networks do (messages that are late, repeated or lost, restarts on both
// sides, a catalog lost or an old one put back, silence, changes in the source), against what really lies on the disks:
//
//   - S1: whenever a grant is given, enough other hosts hold the current version on disk, and have no grant for it in hand.
//   - S2: what counts at a host that has reported is on its disk, with the digest of the source's version.
//   - L1, L2: when faults stop, every file gets its replicas, what is too much goes, and everything comes to rest.
func TestSchedules(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newSchedule(t, r)
		defer func() { s.stop() }()
		r.Repeat(s.actions())
		s.calm()
	})
}

type schedule struct {
	*world
	r      *rapid.T
	names  []v1.HostName
	dir    string
	inHand map[v1.HostName]map[v1.RelPath]held
	late   []func() error // messages that may arrive (again) later
	saved  string         // an old catalog
	trash  map[v1.RelPath]content
}

type held struct {
	grant Grant
	asked time.Time
}

func newSchedule(t *testing.T, r *rapid.T) *schedule {
	hosts := []v1.HostName{"a", "b", "c", "d"}[:rapid.IntRange(2, 4).Draw(r, "hosts")]
	w := newWorld(t, r, int32(rapid.IntRange(1, 2).Draw(r, "replicas")), hosts...)
	s := &schedule{world: w, r: r, names: hosts, dir: t.TempDir(), inHand: make(map[v1.HostName]map[v1.RelPath]held), trash: make(map[v1.RelPath]content)}
	for _, p := range w.peers {
		p.capacity = 1 << 30
		s.inHand[p.name] = make(map[v1.RelPath]held)
	}
	files := rapid.IntRange(1, 3).Draw(r, "files")
	for i := range files {
		s.tree.put(s.pathOf(i), int64(100+i%2))
	}
	s.scan()
	if rapid.Bool().Draw(r, "surplus") {
		for _, name := range hosts {
			s.meet(s.peers[name])
			for i := range files {
				s.unasked(s.peers[name], v1.RelPath(s.pathOf(i)))
				s.confirm(s.peers[name], v1.RelPath(s.pathOf(i)))
			}
		}
	}
	return s
}

func (s *schedule) pathOf(i int) string { return fmt.Sprintf("d%d/f%d", i%2, i) }

func (s *schedule) peer() *peer {
	return s.peers[rapid.SampledFrom(s.names).Draw(s.r, "host")]
}

func (s *schedule) path() v1.RelPath {
	return v1.RelPath(s.pathOf(rapid.IntRange(0, 2).Draw(s.r, "file")))
}

func (s *schedule) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":              func(*rapid.T) { s.check() },
		"meet":          func(*rapid.T) { s.meet(s.peer()) },
		"meet again":    func(*rapid.T) { s.meet(s.peer()) },
		"hello":         func(*rapid.T) { s.say(s.peer(), func(p *peer) error { return s.hello(p) }) },
		"fill":          func(*rapid.T) { s.fill(s.peer()) },
		"fill more":     func(*rapid.T) { s.fill(s.peer()) },
		"unasked copy":  func(*rapid.T) { s.unasked(s.peer(), s.path()) },
		"confirm":       func(*rapid.T) { s.confirm(s.peer(), s.path()) },
		"inventory":     func(*rapid.T) { s.say(s.peer(), func(p *peer) error { return p.inventory() }) },
		"drop":          func(*rapid.T) { s.drop(s.peer(), true) },
		"drop more":     func(*rapid.T) { s.drop(s.peer(), true) },
		"drop unheard":  func(*rapid.T) { s.drop(s.peer(), false) },
		"act":           func(*rapid.T) { s.act(s.peer()) },
		"act more":      func(*rapid.T) { s.act(s.peer()) },
		"discard":       func(*rapid.T) { s.discard(s.peer()) },
		"retire":        func(*rapid.T) { s.retire(s.peer()) },
		"report":        func(*rapid.T) { s.report(s.peer(), s.path()) },
		"late message":  func(*rapid.T) { s.deliver() },
		"late messages": func(*rapid.T) { s.deliver() },
		"change": func(*rapid.T) {
			s.tree.put(string(s.path()), int64(rapid.IntRange(100, 102).Draw(s.r, "size")))
		},
		"delete": func(*rapid.T) { delete(s.tree.files, s.path()) },
		"scan":   func(*rapid.T) { s.scan() },
		"scan 2": func(*rapid.T) { s.scan() },
		"time": func(*rapid.T) {
			s.now = s.now.Add(time.Duration(rapid.IntRange(1, 200).Draw(s.r, "seconds")) * time.Second)
			s.tick()
		},
		"hours":   func(*rapid.T) { s.now = s.now.Add(2 * time.Hour); s.tick() },
		"restart": func(*rapid.T) { s.restart(nil) },
		"save":    func(*rapid.T) { s.save() },
		"old catalog": func(*rapid.T) {
			if s.saved != "" {
				s.restart(func() { copyFile(s.r, s.saved, s.world.path) })
			}
		},
		"lost catalog": func(*rapid.T) {
			if rapid.IntRange(0, 3).Draw(s.r, "really") == 0 {
				s.restart(func() { _ = os.Remove(s.world.path) })
				s.scan()
			}
		},
		"reboot": func(*rapid.T) {
			p := s.peer()
			p.session++
			p.life, p.turn, p.reserved = 0, 0, 0
			s.inHand[p.name] = make(map[v1.RelPath]held)
		},
	}
}

// free tells whether the peer may send what its rules forbid while it has grants in hand.
func (s *schedule) free(p *peer) bool { return len(s.inHand[p.name]) == 0 }

// say sends something that may be refused; a client then says Hello when it may.
func (s *schedule) say(p *peer, f func(*peer) error) {
	if !s.free(p) {
		return
	}
	if err := f(p); err != nil && !errors.Is(err, ErrHelloFirst) {
		s.r.Fatalf("%s: %v", p.name, err)
	}
}

func (s *schedule) hello(p *peer) error {
	req := &Hello{Source: "photos", Session: p.session, Highest: p.highest(), Locations: []LocationInfo{p.info()}, Holds: len(p.disk) > 0}
	s.later(func() error { _, err := s.c.Hello(context.Background(), p.name, req); return err })
	p.hello()
	return nil
}

func (s *schedule) meet(p *peer) {
	if s.free(p) {
		_ = s.hello(p)
		if err := p.inventory(); err != nil && !errors.Is(err, ErrHelloFirst) {
			s.r.Fatalf("%s: inventory: %v", p.name, err)
		}
	}
}

// later keeps a message that may arrive again.
func (s *schedule) later(f func() error) {
	if len(s.late) == 12 {
		s.late = s.late[1:]
	}
	s.late = append(s.late, f)
}

func (s *schedule) deliver() {
	if len(s.late) == 0 {
		return
	}
	i := rapid.IntRange(0, len(s.late)-1).Draw(s.r, "message")
	if err := s.late[i](); err != nil && !errors.Is(err, ErrHelloFirst) {
		s.r.Fatalf("late message: %v", err)
	}
	if rapid.Bool().Draw(s.r, "last time") {
		s.late = append(s.late[:i:i], s.late[i+1:]...)
	}
}

func (s *schedule) fill(p *peer) {
	s.say(p, func(p *peer) error {
		a, err := s.c.Claim(context.Background(), p.name, &Claim{Source: "photos", Location: p.loc, Room: p.free(), MaxFiles: rapid.IntRange(1, 3).Draw(s.r, "window")})
		if err != nil {
			return err
		}
		for _, x := range a.Files {
			p.reserved += x.Size
			rec, ok := p.copy(x)
			switch {
			case !ok:
				if _, err := s.c.Release(context.Background(), p.name, &Release{Source: "photos", Location: p.loc, Files: []Released{{Path: x.Path, Gen: x.Gen, Reason: ReasonChanged}}}); err != nil {
					return err
				}
			case rapid.Bool().Draw(s.r, "confirm"):
				if err := s.send(p, rec); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// send confirms one record; the message may arrive again later.
func (s *schedule) send(p *peer, rec Record) error {
	req := &Confirm{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), Files: []Record{rec}}
	s.later(func() error { _, err := s.c.Confirm(context.Background(), p.name, req); return err })
	if rapid.IntRange(0, 5).Draw(s.r, "lost") == 0 {
		return nil
	}
	a, err := s.c.Confirm(context.Background(), p.name, req)
	if err != nil {
		return err
	}
	if a.Answers[0].Outcome == OutcomeYes {
		p.confirmed(rec, a.Answers[0].Gen)
	}
	return nil
}

func (s *schedule) confirm(p *peer, path v1.RelPath) {
	if rec, ok := p.disk[path]; ok {
		s.say(p, func(p *peer) error { return s.send(p, rec) })
	}
}

// unasked copies a file without a claim, as after a coordinator's restart.
func (s *schedule) unasked(p *peer, path v1.RelPath) {
	now, ok := s.tree.files[path]
	if !ok || !s.free(p) {
		return
	}
	p.publish(Record{Path: path, Digest: now.digest(), Size: now.size, ModTime: now.mtime})
}

func (s *schedule) drop(p *peer, heard bool) {
	if !s.free(p) {
		return
	}
	reason := rapid.SampledFrom([]string{ReasonSurplus, ReasonOverCapacity, ReasonDraining, ReasonStarving}).Draw(s.r, "reason")
	req := &Drop{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), MaxFiles: rapid.IntRange(1, 3).Draw(s.r, "most"), MaxBytes: 1 << 20, Reason: reason}
	s.later(func() error {
		a, err := s.c.Drop(context.Background(), p.name, req)
		if err == nil {
			s.granted(p, a) // nobody gets the answer, but it must have been right
		}
		return err
	})
	asked := s.now
	a, err := s.c.Drop(context.Background(), p.name, req)
	if err != nil {
		if !errors.Is(err, ErrHelloFirst) {
			s.r.Fatalf("drop: %v", err)
		}
		return
	}
	s.granted(p, a)
	if !heard {
		return
	}
	for _, g := range a.Grants {
		s.inHand[p.name][g.Path] = held{g, asked}
	}
}

// granted checks S1 for each grant of an answer.
func (s *schedule) granted(p *peer, a *DropAnswer) {
	for i, g := range a.Grants {
		digest := s.entry(g.Path).Digest
		others := 0
		for _, o := range s.peers {
			_, doomed := s.inHand[o.name][g.Path]
			if o.holds(g.Path, digest) && o != p && !doomed && s.c.hosts[o.name] != nil && s.now.Sub(s.c.hosts[o.name].seen) <= 2*time.Minute {
				others++
			}
		}
		if others < int(s.spec.Spec.MinReplicas) {
			s.r.Fatalf("grant %d: %s may drop %s, which %d others hold; catalog: %+v", i, p.name, g.Path, others, s.entry(g.Path))
		}
		if file := s.file(string(g.Path)); countConfirmed(file, p.name) != 0 {
			s.r.Fatalf("granted replica still counts: %+v", file)
		}
	}
}

func countConfirmed(f v1.File, at v1.HostName) (n int) {
	for _, r := range f.Status.Replicas {
		if r.State == v1.ReplicaConfirmed && (at == "" || r.Host == at) {
			n++
		}
	}
	return n
}

func (s *schedule) entry(path v1.RelPath) (e *catalog.Entry) {
	err := s.cat.View(func(tx *catalog.Tx) (err error) {
		_, e, err = tx.Find(path)
		return err
	})
	if err != nil || e == nil {
		s.r.Fatalf("entry %s: %v, %v", path, e, err)
	}
	return e
}

// act deletes under the grants in hand that are still valid, and says so; the message may get lost or arrive late.
func (s *schedule) act(p *peer) {
	var results []GrantResult
	for path, h := range s.inHand[p.name] {
		// A clock that ran slow, or a sleep that it did not notice, is no danger.
		dropped := s.now.Sub(h.asked) < h.grant.For || rapid.Bool().Draw(s.r, "clock stood still")
		if rec, ok := p.disk[path]; dropped && ok && (h.grant.Gen.IsZero() || rec.Gen.IsZero() || rec.Gen == h.grant.Gen) {
			delete(p.disk, path)
			p.drops++
		} else {
			dropped = false
		}
		results = append(results, GrantResult{ID: h.grant.ID, Path: path, Dropped: dropped})
	}
	clear(s.inHand[p.name])
	s.tell(p, results)
}

func (s *schedule) discard(p *peer) {
	var results []GrantResult
	for path, h := range s.inHand[p.name] {
		results = append(results, GrantResult{ID: h.grant.ID, Path: path})
	}
	clear(s.inHand[p.name])
	s.tell(p, results)
}

func (s *schedule) tell(p *peer, results []GrantResult) {
	if len(results) == 0 {
		return
	}
	req := &Dropped{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), Grants: results}
	send := func() error { _, err := s.c.Dropped(context.Background(), p.name, req); return err }
	s.later(send)
	if rapid.IntRange(0, 3).Draw(s.r, "lost") > 0 {
		if err := send(); err != nil && !errors.Is(err, ErrHelloFirst) {
			s.r.Fatalf("dropped: %v", err)
		}
	}
}

func (s *schedule) retire(p *peer) {
	if !s.free(p) {
		return
	}
	req := &Retire{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), Max: 2}
	s.later(func() error { _, err := s.c.Retire(context.Background(), p.name, req); return err })
	a, err := s.c.Retire(context.Background(), p.name, req)
	if err != nil {
		if !errors.Is(err, ErrHelloFirst) {
			s.r.Fatalf("retire: %v", err)
		}
		return
	}
	done := &Retired{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn()}
	for _, f := range a.Files {
		delete(p.disk, f.Path)
		done.Files = append(done.Files, f.Path)
	}
	send := func() error { _, err := s.c.Retired(context.Background(), p.name, done); return err }
	s.later(send)
	if rapid.Bool().Draw(s.r, "told") {
		if err := send(); err != nil && !errors.Is(err, ErrHelloFirst) {
			s.r.Fatalf("retired: %v", err)
		}
	}
}

// report finds a replica corrupt, as it is from then on, or good.
func (s *schedule) report(p *peer, path v1.RelPath) {
	rec, ok := p.disk[path]
	if !ok || !s.free(p) {
		return
	}
	kind := rapid.SampledFrom([]Finding{FoundGood, FoundCorrupt, FoundMissing}).Draw(s.r, "finding")
	if kind == FoundMissing {
		// Its loss and the word of it are one step here: what nobody knows of, nobody can heed.
		delete(p.disk, path)
		delete(p.kept, path)
	}
	req := &Report{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), Files: []Reported{{Path: path, Gen: rec.Gen, Kind: kind, At: s.now.UnixNano()}}}
	send := func() error { _, err := s.c.Report(context.Background(), p.name, req); return err }
	s.later(send)
	if err := send(); err != nil {
		if !errors.Is(err, ErrHelloFirst) {
			s.r.Fatalf("report: %v", err)
		}
		if kind == FoundMissing {
			// Not heard. The host says hello, and reports what it has, before anything else.
			p.session++
			s.meet(p)
		}
	}
}

func (s *schedule) restart(between func()) {
	s.stop()
	if between != nil {
		between()
	}
	s.start()
}

func (s *schedule) save() {
	s.stop()
	s.saved = s.dir + "/saved"
	copyFile(s.r, s.world.path, s.saved)
	s.start()
}

func copyFile(f failer, from, to string) {
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		f.Fatalf("copy: %v", err)
	}
}

// check is S2, after every step.
func (s *schedule) check() {
	holders := s.cat.Holders()
	err := s.cat.Walk(context.Background(), "", "", func(item catalog.Item) bool {
		for _, r := range item.Entry.Replicas {
			h := holders[r.Holder]
			peer, known := s.c.hosts[h.Host], s.peers[h.Host]
			if r.State != catalog.Confirmed || !item.Entry.Live() || peer == nil || peer.locations[h.Location] == nil || !peer.locations[h.Location].reported {
				continue
			}
			if !known.holds(item.Path, item.Entry.Digest) || r.Seq != item.Entry.Seq {
				s.r.Fatalf("%s counts at %s, where there is %+v; catalog: %+v", item.Path, h.Host, known.disk[item.Path], item.Entry)
			}
		}
		return true
	})
	if err != nil {
		s.r.Fatalf("walk: %v", err)
	}
}

// calm lets faults stop and checks that everything comes to rest where it should.
func (s *schedule) calm() {
	for _, p := range s.peers {
		s.discard(p)
		p.reserved = 0
		p.session++ // whatever it holds and never told is told now
	}
	s.late = nil
	if result := s.scan(); result.Held.Why != "" {
		if _, err := s.cat.Approve(); err != nil {
			s.r.Fatalf("approve: %v", err)
		}
		s.scan()
	}
	quiet := 0
	for round := 0; quiet < 3; round++ {
		if round > 60 {
			s.r.Fatalf("does not come to rest: %+v", s.c.Status())
		}
		quiet++
		for _, name := range s.names {
			p := s.peers[name]
			p.meet()
			before := len(p.disk)
			if n := p.fill(10); n > 0 {
				quiet = 0
			}
			s.retireAll(p)
			if p.drop(ReasonSurplus, 1<<30) > 0 || len(p.disk) != before {
				quiet = 0
			}
			s.check()
		}
		s.now = s.now.Add(30 * time.Second)
		if round == 20 {
			s.now = s.now.Add(2 * time.Hour) // whatever backs off ends
		}
		if held := s.cat.Orphans(); held.Files > 0 && !held.Approved { // what the catalog never knew, and the source has not
			if _, err := s.cat.Approve(); err != nil {
				s.r.Fatalf("approve: %v", err)
			}
			quiet = 0
		}
		s.tick()
	}
	want := min(int(s.spec.Spec.MinReplicas), len(s.names))
	for path, now := range s.tree.files {
		holders := 0
		for _, p := range s.peers {
			if p.disk[path].Digest == now.digest() {
				holders++
			}
		}
		if file := s.file(string(path)); holders != want || countConfirmed(file, "") != want {
			s.r.Fatalf("%s ends at %d hosts, wanted %d: %+v %+v", path, holders, want, file.Status, s.entry(path))
		}
	}
	for _, p := range s.peers {
		for path := range p.disk {
			if _, ok := s.tree.files[path]; !ok {
				s.r.Fatalf("%s still holds %s", p.name, path)
			}
		}
	}
}

func (s *schedule) retireAll(p *peer) {
	a, err := s.c.Retire(context.Background(), p.name, &Retire{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn()})
	if err != nil {
		s.r.Fatalf("retire: %v", err)
	}
	done := &Retired{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn()}
	for _, f := range a.Files {
		delete(p.disk, f.Path)
		done.Files = append(done.Files, f.Path)
	}
	if _, err := s.c.Retired(context.Background(), p.name, done); err != nil {
		s.r.Fatalf("retired: %v", err)
	}
}
