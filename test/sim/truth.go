package sim

import (
	"context"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/placement"
)

// truth is what really lies where, and what each grant was based on.
type truth struct {
	// ghosts are replicas that a fault destroyed, until the coordinator has had the chance to learn of it.
	ghosts map[place]time.Duration
	// grants by place: those that a holder may still act on, and what others they rely on.
	grants map[place]*grant
}

// place is one file on one host.
type place struct {
	source *source
	path   v1.RelPath
	host   *host
}

type grant struct {
	call   *call
	digest string // of the version that it is about
	relies []*host
	// away are hosts of these that have let go of theirs since.
	away map[*host]bool
}

func (t *truth) init() {
	t.ghosts = make(map[place]time.Duration)
	t.grants = make(map[place]*grant)
}

// destroyed notes that a fault destroyed a replica.
func (t *truth) destroyed(s *source, h *host, path v1.RelPath) {
	t.ghosts[place{s, path, h}] = h.w.clock.now
}

// copied notes that a replica is there again.
func (t *truth) copied(s *source, h *host, path v1.RelPath) { delete(t.ghosts, place{s, path, h}) }

// reported notes that the coordinator has an inventory that was sent then.
func (t *truth) reported(s *source, h *host, sent time.Duration) {
	for p, at := range t.ghosts {
		if p.source == s && p.host == h && at <= sent {
			delete(t.ghosts, p)
		}
	}
}

// holds tells whether a host holds these bytes, or lost them by a fault that nobody has noticed yet.
func (t *truth) holds(s *source, h *host, path v1.RelPath, digest string) bool {
	r := h.disk.get(s.name, path)
	if r != nil && r.was.digest().String() == digest {
		return true // flipped bits are a fault too
	}
	_, ghost := t.ghosts[place{s, path, h}]
	return ghost
}

// granted checks S1 and S7 where grants are given.
func (t *truth) granted(c *remote, k *call, grants []coordinator.Grant) {
	w, s := c.h.w, c.to
	for _, g := range grants {
		w.stats.grants++
		if s.told != nil && s.now().Sub(s.lostAt) < w.cfg.RepairAfter {
			for _, h := range w.hosts {
				if h != s.host && len(h.disk.replicas[s.name]) > 0 && !s.told[h] {
					w.fail("S7: %s grants %s to %s after its catalog was lost, though %s has not reported", s.name, g.Path, c.h.name, h.name)
				}
			}
		}
		f, err := s.coord.File(context.Background(), g.Path)
		if err != nil {
			w.fail("S1: %s grants %s, of which it says: %v", s.name, g.Path, err)
			continue
		}
		at := place{s, g.Path, c.h}
		mine := &grant{call: k, digest: f.Spec.Digest, away: make(map[*host]bool)}
		for _, h := range w.hosts {
			other := t.grants[place{s, g.Path, h}]
			doomed := other != nil && other.call.open
			dead := !h.up && w.clock.now-h.ended > w.cfg.Timeout
			if h != c.h && h != s.host && !doomed && !dead && t.holds(s, h, g.Path, f.Spec.Digest) {
				mine.relies = append(mine.relies, h)
			}
		}
		w.say("%s grants %s to %s, relying on %v", s.name, g.Path, c.h.name, names(mine.relies))
		if w.domains(mine.relies) < s.minimum {
			w.fail("S1: %s grants %s to %s though only %v hold it and lived lately; it believes: %+v", s.name, g.Path, c.h.name, names(mine.relies), f.Status.Replicas)
		}
		if k.open {
			t.grants[at] = mine
		}
	}
}

// domains counts the failure domains of hosts.
func (w *world) domains(hosts []*host) int {
	if w.cfg.Spread != "site" {
		return len(hosts)
	}
	sites := make(map[string]bool)
	for _, h := range hosts {
		sites[h.site] = true
	}
	return len(sites)
}

func names(hosts []*host) (n []v1.HostName) {
	for _, h := range hosts {
		n = append(n, h.name)
	}
	return n
}

// dropped checks S1 where replicas are deleted: under a grant of the answer that the client has in hand, and those that the grant
// relied on, or others that have it since, are not gone by other grants.
func (t *truth) dropped(c *remote, path v1.RelPath) {
	s, w := c.to, c.h.w
	at := place{s, path, c.h}
	mine := t.grants[at]
	if mine == nil || mine.call != c.held {
		w.fail("S1: %s deletes %s of %s under a grant that is not known", c.h.name, path, s.name)
		return
	}
	left := len(mine.relies) - len(mine.away)
	for _, h := range w.hosts {
		if h != c.h && h != s.host && !slices.Contains(mine.relies, h) && t.holds(s, h, path, mine.digest) {
			left++
		}
	}
	if left < s.minimum {
		w.fail("S1: %s deletes %s of %s, and only %d still hold it, of %v and others", c.h.name, path, s.name, left, names(mine.relies))
	}
	delete(t.grants, at)
	for p, other := range t.grants {
		if !other.call.open {
			delete(t.grants, p)
			continue
		}
		if p.source == s && p.path == path {
			for _, h := range other.relies {
				if h == c.h {
					other.away[c.h] = true
				}
			}
		}
	}
}

// checkConfirmed checks S2 where a replica begins to count: its bytes are those of the source's file.
func (t *truth) checkConfirmed(c *remote, request *coordinator.Confirm, answer *coordinator.ConfirmAnswer) {
	w := c.h.w
	for i, a := range answer.Answers {
		if a.Outcome != coordinator.OutcomeYes {
			continue
		}
		r := request.Files[i]
		f, err := c.to.coord.File(context.Background(), r.Path)
		if err != nil || f.Spec.Digest != r.Digest.String() {
			w.fail("S2: %s confirms %s at %s: digest %s, the coordinator's is %s, %v", c.to.name, r.Path, c.h.name, r.Digest, f.Spec.Digest, err)
		}
		if now := c.to.files[r.Path]; now != nil && now.entry.Size == r.Size && now.entry.ModTime == r.ModTime && now.content.digest() != r.Digest {
			w.fail("S2: %s confirms %s at %s, whose bytes are others", c.to.name, r.Path, c.h.name)
		}
	}
}

// checkRetired checks S4 where a replica is taken for deleted: the file is not there, or came into being lately.
func (t *truth) checkRetired(h *host, s *source, path v1.RelPath) {
	f, r := s.files[path], h.disk.get(s.name, path)
	if f == nil || r == nil || r.bad || r.was != f.content {
		return
	}
	if age := h.w.clock.now - f.since; age > 2*h.w.cfg.Scan {
		h.w.fail("S4: %s retires %s of %s, which is there, the same, since %v", h.name, path, s.name, age)
	}
}

// checkStatus checks what can be seen at any time: room (S6), and that what counts as confirmed lies there (S2).
func (w *world) checkStatus(s *source) {
	w.stats.checks++
	for _, h := range w.hosts {
		d := h.disk
		if d.bytes < 0 || d.kept < 0 || d.reserved < 0 {
			w.fail("S6: %s counts %d, %d, %d bytes", h.name, d.bytes, d.kept, d.reserved)
		}
	}
	if w.cfg.Check > 0 && w.stats.checks%int64(w.cfg.Check) == 0 {
		w.checkFiles(s)
	}
}

// checkFiles compares what the coordinator believes with what lies on the disks.
func (w *world) checkFiles(s *source) {
	for f, err := range s.coord.Files(context.Background(), coordinator.Query{}) {
		if err != nil {
			w.fail("list files of %s: %v", s.name, err)
			return
		}
		for _, r := range f.Status.Replicas {
			h := w.byName[r.Host]
			if r.State == v1.ReplicaConfirmed && s.reported[h] && !w.truth.holds(s, h, v1.RelPath(f.Spec.Path), f.Spec.Digest) {
				w.fail("S2: %s believes %s of %s confirmed, which it does not hold", s.name, f.Spec.Path, h.name)
			}
		}
	}
}

// feasible tells whether what is wanted fits, and leaves every host room to replace its largest file.
func (w *world) feasible() bool {
	demands := make([]placement.Demand, 0, 100)
	var hosts []placement.Host
	var largest int64
	for _, h := range w.hosts {
		host := placement.Host{Name: h.name, Room: h.disk.allowed() - h.disk.kept, Open: h.disk.capacity > 0}
		if w.cfg.Spread == "site" {
			host.Domain = h.site
		}
		hosts = append(hosts, host)
	}
	for _, s := range w.sources {
		for _, f := range s.files {
			demands = append(demands, placement.Demand{Files: 1, Bytes: f.entry.Size, Largest: f.entry.Size})
			largest = max(largest, f.entry.Size)
		}
	}
	for i := range hosts {
		hosts[i].Room -= largest
	}
	for _, s := range w.sources { // each without its own host, all sources together
		mine := slices.Clone(hosts)
		mine[slices.Index(w.hosts, s.host)].Open = false
		if v := placement.Feasible(mine, demands, s.minimum, "host"); v.Fit == placement.Unfit {
			return false
		}
	}
	return true
}

// unserved lists what is not as it should be once all is well.
func (w *world) unserved() (bad []string) {
	for _, s := range w.sources {
		if s.coord == nil {
			bad = append(bad, string(s.name)+" has no coordinator")
			continue
		}
		for path, f := range s.files {
			n := 0
			sites := make(map[string]bool)
			for _, h := range w.hosts {
				if r := h.disk.get(s.name, path); h != s.host && r != nil && r.content == f.content {
					n++
					sites[h.site] = true
				}
			}
			if n < s.minimum || n > s.maximum || w.cfg.Spread == "site" && len(sites) < s.minimum {
				bad = append(bad, string(s.name)+"/"+string(path)+" has "+string(rune('0'+n))+" replicas of "+v1Size(f.entry.Size))
			}
		}
	}
	return bad
}

// busiest is how many requests a client may make a day, on average, however bad the day. A coordinator that has lost its
// catalog has its clients ask every two seconds for up to hostTimeout; who asks that often all day loops.
const busiest = 20_000

// checkBusy checks that nobody loops over what cannot be done.
func (w *world) checkBusy(requests int64) {
	if clients := int64(len(w.hosts) * len(w.sources)); requests > busiest*clients {
		w.fail("L1: %d requests in a day of %d clients", requests, clients)
	}
}
