package coordinator

import (
	"context"
	"fmt"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// The bounds of one answer.
const (
	maxClaimFiles = 4096
	soon          = 2 * time.Second
)

// Claim gives a location files to copy.
func (c *Coordinator) Claim(ctx context.Context, from v1.HostName, req *Claim) (*ClaimAnswer, error) {
	if req.Room < 0 || req.Kept < 0 || req.MaxFiles < 0 || req.MaxBytes < 0 {
		return nil, fmt.Errorf("claim of %d bytes: %w", req.Room, ErrBadRequest)
	}
	c.lookAtChanging(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	h, l, err := c.meet(from, req.Source, req.Location)
	if err != nil {
		return nil, err
	}
	if l.room != req.Room {
		l.room, c.stale = req.Room, true
	}
	info, _ := c.info(from)
	if !l.open(info) || !c.belongs(info, req.Location) || !c.sends() {
		return &ClaimAnswer{RetryAfter: c.pollInterval()}, nil
	}
	if !c.settled() || !c.assembled() || !l.reported || c.cfg.Acting && !h.allReported() {
		return &ClaimAnswer{RetryAfter: soon}, nil
	}
	k := c.newPicker(h, l, req)
	if !c.admits(from) {
		l.turnedAway = min(max(2*l.turnedAway, soon), c.pollInterval())
		return &ClaimAnswer{RetryAfter: l.turnedAway, Largest: k.p.Largest(k.at)}, nil
	}
	l.turnedAway = 0
	if err := c.cat.View(k.pick); err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if !k.full() && k.p.given > 0 {
		// What was given since the plan was made may lack further copies, which the plan does not know of.
		c.plan = nil
		k.p = c.planned()
		if err := c.cat.View(k.pick); err != nil {
			return nil, fmt.Errorf("claim: %w", err)
		}
	}
	a := k.answer()
	if c.cfg.Acting {
		a = a.CopiesOnly()
	}
	return a, nil
}

// settled is false while a catalog that may have been lost waits for those who are there to say what they hold: until then
// whatever seems to be missing may only be not told yet. It waits no longer than a host may be silent.
func (c *Coordinator) settled() bool {
	patience := c.hostTimeout()
	if c.cfg.Acting { // nobody has ever said what a silent host holds: it gets the time that it has before it counts as gone
		patience += c.repairAfter()
	}
	if !c.cat.Amnesic() || c.clock().Sub(c.started) > patience {
		return true
	}
	return len(c.waitingFor()) == 0
}

// assembly is how long the start may take on busy hosts.
const assembly = 10 * time.Second

// assembled is false for a while after the start, until every host that lends space has said hello: those who come first would
// take what fits nowhere but with those who come later. It waits no longer than a poll interval, or what a busy host may take.
func (c *Coordinator) assembled() bool {
	if c.clock().Sub(c.started) > max(c.pollInterval(), assembly) {
		return true
	}
	return len(c.unheard()) == 0
}

// picker chooses the files of one claim.
type picker struct {
	c     *Coordinator
	h     *host
	l     *location
	req   *Claim
	p     *plan
	now   time.Time
	at    int
	here  catalog.Holder
	id    catalog.HolderID
	known bool
	room  int64
	files int
	bytes int64
	given []Claimed
	// origin is where they are copied from; nil: the source, or nothing is given yet.
	origin *catalog.HolderID
	err    error
	tx     *catalog.Tx
}

func (c *Coordinator) newPicker(h *host, l *location, req *Claim) *picker {
	k := &picker{c: c, h: h, l: l, req: req, now: c.clock(), p: c.planned(), room: min(l.room-req.Kept, l.largest()), bytes: req.MaxBytes}
	k.at = k.p.view.index[h.name]
	k.here = catalog.Holder{Host: h.name, Location: req.Location}
	k.id, k.known = c.cat.HolderID(k.here)
	k.files = min(req.MaxFiles, maxClaimFiles)
	if k.bytes == 0 {
		k.bytes = req.Room
	}
	return k
}

// pick goes through what there is, what matters most first.
func (k *picker) pick(tx *catalog.Tx) error {
	k.tx = tx
	for _, step := range []func(){k.renew, k.rocks, k.sand, k.relief, k.extra} {
		if step(); k.err != nil {
			return k.err
		}
	}
	return nil
}

// fits tells whether the answer may take one more file of that size.
func (k *picker) fits(size int64) bool {
	return k.files > 0 && size <= k.room && (size <= k.bytes || len(k.given) == 0)
}

func (k *picker) full() bool { return k.files <= 0 || k.bytes <= 0 && len(k.given) > 0 }

// most is the size of the largest file that the answer may take.
func (k *picker) most() int64 {
	if len(k.given) == 0 {
		return k.room
	}
	return min(k.room, k.bytes)
}

// free tells whether the location may be given the file: its host has no claim on it, and it did not fail at it just now.
func (k *picker) free(key catalog.Key) bool {
	return k.c.claims.of(key, k.h.name) == nil && !k.c.refusals.refused(key, k.here, k.now)
}

// why a file is given.
type why int

const (
	missing why = iota
	outdated
	relieving
	spare
)

// lacking tells whether one more copy of a file is wanted, as it stands now: the plan may be older.
func (k *picker) lacking(key catalog.Key, e *catalog.Entry, want int) bool {
	class := catalog.Class{Files: 1, Bytes: e.Size}
	class.Confirmed, class.Other = catalog.Sets(e)
	hosts := k.c.takenOf(k.p.view, key, &class)
	want += k.p.view.idle(&class)
	for _, n := range k.c.claims.byKey[key] {
		if h, ok := k.p.view.index[n.host]; ok && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return !slices.Contains(hosts, k.at) && k.p.view.missing(hosts, want) > 0
}

// give gives one file.
func (k *picker) give(m catalog.Member, reason why) bool {
	e, err := k.tx.Get(m.Key)
	if err != nil || e == nil || !e.Live() || e.Size != m.Size {
		k.err = err
		return false
	}
	switch {
	case reason == missing && !k.lacking(m.Key, e, k.p.view.min), reason == spare && !k.lacking(m.Key, e, k.p.view.max):
		return false
	}
	if k.c.cfg.Acting && !k.ofOrigin(e) {
		return false
	}
	path, err := k.tx.Path(m.Key)
	if err != nil {
		k.err = err
		return false
	}
	held := k.known && e.Replica(k.id) != nil
	f := Claimed{Path: path, Gen: k.tx.Generation(e), Size: e.Size, ModTime: e.ModTime, Mode: e.Mode, Held: held, Extra: reason == spare}
	if k.c.cfg.Acting {
		f.Digest = e.Digest
	}
	k.given = append(k.given, f)
	n := &claim{key: m.Key, path: path, host: k.h.name, location: k.req.Location, size: e.Size, until: k.now.Add(lease), class: e.Class()}
	k.c.claims.add(n)
	if reason == missing {
		k.c.gave = k.now
	}
	k.room -= e.Size
	k.bytes -= e.Size
	k.l.room -= e.Size
	k.files--
	k.p.given++
	return true
}

// renew gives what the location has an outdated replica of.
func (k *picker) renew() {
	if !k.known || k.p.view.acting {
		return
	}
	for _, class := range k.c.cat.Classes() {
		if k.full() {
			return
		}
		if !slices.Contains(class.Other, k.id) || k.p.view.covers(&class, k.id) {
			continue
		}
		lack, _ := k.p.view.lacks(&class)
		if lack > 0 && class.Files > 0 {
			k.members(class.ID, func(m catalog.Member) bool { return len(k.c.claims.byKey[m.Key]) < lack && k.give(m, outdated) })
		}
	}
}

// members offers the files of a class, the largest that fits first, as long as the answer is not full.
func (k *picker) members(class uint32, take func(catalog.Member) bool) {
	k.tx.Members(class, k.most(), catalog.Member{}, func(m catalog.Member) bool {
		if k.fits(m.Size) && k.free(m.Key) {
			take(m)
		}
		return !k.full() && k.err == nil
	})
}

// rocks gives the large files that are planned for the host.
func (k *picker) rocks() {
	if k.full() {
		return
	}
	for _, r := range k.p.Rocks(k.at, k.files, k.bytes) {
		m := k.p.keys[r]
		if !k.fits(m.Size) || !k.free(m.Key) || !k.give(m, missing) {
			k.c.stale = true // it was booked, and not given
		}
	}
}

// maxTries is how many files of a group the plan may deny before the next group is looked at.
const maxTries = 8

// sand gives the rest of what is missing, as the plan has it.
func (k *picker) sand() {
	for _, g := range k.p.Order(k.at) {
		if k.full() || k.err != nil {
			return
		}
		tries := 0
		k.c.eachMember(k.tx, k.p, g, k.most(), func(m catalog.Member) bool {
			switch {
			case k.p.rocks[m.Key] || !k.fits(m.Size) || !k.free(m.Key):
			case !k.p.Take(k.at, g, m.Size):
				tries++
			case !k.give(m, missing):
				k.c.stale = true // it was booked, and not given
				if k.p.view.acting {
					tries++ // most likely all of them lie elsewhere
				}
			}
			return tries < maxTries && !k.full() && k.err == nil
		})
	}
}

// relief gives what is to be copied here so that another host can drop it.
func (k *picker) relief() {
	leaving := k.c.reliefs.leaving(k.h.name)
	for _, r := range k.c.reliefs.waiting(k.h.name) {
		if k.full() || k.err != nil {
			return
		}
		switch {
		case k.c.claims.of(r.key, k.h.name) != nil: // on its way
		case r.size > k.h.roomiest()+leaving:
			k.c.reliefs.remove(r.key) // others have taken the room: it is planned anew
			k.c.stale = true
		case k.fits(r.size) && k.free(r.key):
			k.give(catalog.Member{Key: r.key, Size: r.size}, relieving)
		}
	}
}

// extra gives files that have enough replicas, up to max, as long as nothing misses its place.
func (k *picker) extra() {
	if !k.req.Extra || k.p.Short() > 0 || k.p.view.acting {
		return
	}
	v := k.p.view
	for _, class := range k.c.cat.Classes() {
		if k.full() || k.err != nil {
			return
		}
		taken := v.taken(&class)
		left := v.missing(taken, v.max)
		if lack, _ := v.lacks(&class); lack > 0 || left <= 0 || slices.Contains(taken, k.at) || v.missing(append(slices.Clone(taken), k.at), v.max) == left {
			continue
		}
		k.members(class.ID, func(m catalog.Member) bool { return k.give(m, spare) })
	}
}

func (k *picker) answer() *ClaimAnswer {
	a := &ClaimAnswer{Files: k.given, Lease: lease, RetryAfter: soon, Largest: k.p.Largest(k.at)}
	if k.origin != nil {
		from := k.p.view.holder(*k.origin)
		a.Origin = &Origin{from.Host, from.Location}
	}
	if len(k.given) > 0 {
		return a
	}
	if a.Wanted = k.p.Wanted(k.at); a.Wanted > 0 {
		k.c.displace(k.p)
	}
	k.c.relent(k.now, a.Largest)
	a.RetryAfter = k.l.backOff(k.p, k.c.pollInterval())
	return a
}

// lenience is for how long hosts may have more than their share when those that it is meant for do not come for it.
const lenience = 10 * time.Minute

// relent sees to it that nothing waits for hosts that do not come for their share, while others ask for it in vain. The caller holds c.mu.
func (c *Coordinator) relent(now time.Time, lacking int64) {
	if lacking > 0 && now.Sub(c.gave) > 2*c.pollInterval() && !now.Before(c.lenient) {
		c.lenient, c.stale = now.Add(c.polled(lenience)), true
	}
}

// backOff is when to ask again in vain: later each time, as long as nothing changed that a plan depends on.
func (l *location) backOff(p *plan, most time.Duration) time.Duration {
	if l.asked != p {
		l.asked, l.pause = p, 0
	}
	l.pause = min(max(2*l.pause, soon), most)
	if p.need == 0 {
		l.pause = most
	}
	return l.pause
}

// Renew prolongs claims.
func (c *Coordinator) Renew(ctx context.Context, from v1.HostName, req *Renew) (*RenewAnswer, error) {
	keys, err := c.find(req.Files)
	if err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h, _, err := c.meet(from, req.Source, req.Location)
	if err != nil {
		return nil, err
	}
	c.heed(h, req.Echo)
	a := &RenewAnswer{Echo: c.echo(h)}
	for i, path := range req.Files {
		n := c.claims.of(keys[i], from)
		if n == nil || n.location != req.Location {
			a.Lost = append(a.Lost, path)
			continue
		}
		n.until = c.clock().Add(lease)
	}
	return a, nil
}

// find looks the keys of paths up; "" for those that are not known.
func (c *Coordinator) find(paths []v1.RelPath) (keys []catalog.Key, err error) {
	keys = make([]catalog.Key, len(paths))
	err = c.cat.View(func(tx *catalog.Tx) error {
		for i, path := range paths {
			key, e, err := tx.Find(path)
			if err != nil {
				return err
			}
			if e != nil {
				keys[i] = key
			}
		}
		return nil
	})
	return keys, err
}

// Release gives claims back.
func (c *Coordinator) Release(ctx context.Context, from v1.HostName, req *Release) (*ReleaseAnswer, error) {
	paths := make([]v1.RelPath, len(req.Files))
	for i := range req.Files {
		paths[i] = req.Files[i].Path
	}
	keys, err := c.find(paths)
	if err != nil {
		return nil, fmt.Errorf("release: %w", err)
	}
	look, err := c.release(from, req, keys)
	if err != nil {
		return nil, err
	}
	for _, i := range look {
		f := &req.Files[i]
		switch known, err := c.observe(ctx, f.Path); {
		case err != nil:
			c.log.V(1).Info("cannot look at a file that a holder found changed", "path", f.Path, "reason", err.Error())
		case known == f.Gen:
			c.mu.Lock()
			c.fail(from, req, i, keys[i], "it is not changed, but does not arrive as it is: "+f.Message)
			c.mu.Unlock()
		}
	}
	return &ReleaseAnswer{}, nil
}

// fail keeps a file from a location that could not copy it, and lists it as a problem. c.mu is held.
func (c *Coordinator) fail(from v1.HostName, req *Release, i int, key catalog.Key, why string) {
	c.refusals.fail(key, catalog.Holder{Host: from, Location: req.Location}, c.clock())
	c.problems.add(v1.Problem{Path: quote(req.Files[i].Path), Reason: "CopyFailed", Message: clip(why), Host: from})
}

// release takes the claims away and says of which files to look at the source again.
func (c *Coordinator) release(from v1.HostName, req *Release, keys []catalog.Key) (look []int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, _, err := c.meet(from, req.Source, req.Location); err != nil {
		return nil, err
	}
	now, at := c.clock(), catalog.Holder{Host: from, Location: req.Location}
	for i, f := range req.Files {
		if keys[i] == "" {
			continue
		}
		if n := c.claims.of(keys[i], from); n != nil && n.location == req.Location {
			c.claims.remove(keys[i], from)
			c.stale = true
		}
		switch f.Reason {
		case ReasonVanished, ReasonChanged:
			look = append(look, i)
			c.refusals.hold(keys[i], at, now, soon)
			c.changing.note(f.Path, now)
		case ReasonFailed:
			c.fail(from, req, i, keys[i], f.Message)
		case ReasonNoRoom:
			c.refusals.add(keys[i], at, now, time.Minute)
		}
	}
	return look, nil
}
