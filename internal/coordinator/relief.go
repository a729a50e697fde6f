package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/placement"
)

// relief is one file that is copied to a host so that another may drop it: its desired count is one higher for a while.
// Reliefs are in memory: a host that still wants it asks again.
type relief struct {
	key   catalog.Key
	size  int64
	from  catalog.HolderID
	host  v1.HostName // from's
	to    v1.HostName
	until time.Time
	done  bool
}

type reliefs struct {
	byKey map[catalog.Key]*relief
	// next is when moves may be planned again, after they were or could not be. pause is how long after: longer each time that none of
	// those planned was made.
	next  time.Time
	pause time.Duration
	// moved is when something was done about them last.
	moved time.Time
	// rests are of files that were moved of late so that others find room.
	rests map[catalog.Key]rest
}

// rest keeps a file where it is for a while after it was moved, longer each time: what is moved is not moved back, and two hosts that
// both want room do not hand it to and fro.
type rest struct {
	until time.Time
	moves int
}

const (
	reliefTime  = 10 * time.Minute
	reliefPause = 2 * time.Second
	maxReliefs  = 4096 // files under way at once
	maxMovable  = 512  // files looked at for one plan of moves
	moveDepth   = 4
	moveSteps   = 4000
	firstRest   = 10 * time.Minute
	maxRests    = 4 * maxReliefs // files remembered
)

// toward tells whether a host is to copy for somebody's relief.
func (rs *reliefs) toward(host v1.HostName) bool {
	for _, r := range rs.byKey {
		if r.to == host && !r.done {
			return true
		}
	}
	return false
}

// waiting lists what a host is to copy, the largest first.
func (rs *reliefs) waiting(host v1.HostName) (list []*relief) {
	for _, r := range rs.byKey {
		if r.to == host && !r.done {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *relief) int {
		return larger(catalog.Member{Key: a.key, Size: a.size}, catalog.Member{Key: b.key, Size: b.size})
	})
	return list
}

// pending is how many bytes of a host's room are promised.
func (rs *reliefs) pending(host v1.HostName) (bytes int64) {
	for _, r := range rs.byKey {
		if r.to == host && !r.done {
			bytes += r.size
		}
	}
	return bytes
}

// leaving is how many bytes of a host are copied elsewhere, and go when they are there.
func (rs *reliefs) leaving(host v1.HostName) (bytes int64) {
	for _, r := range rs.byKey {
		if r.host == host {
			bytes += r.size
		}
	}
	return bytes
}

// done tells whether something was copied so that a host may drop it.
func (rs *reliefs) done(host v1.HostName) bool {
	for _, r := range rs.byKey {
		if r.host == host && r.done {
			return true
		}
	}
	return false
}

// arrived takes note of a copy. stay is how much longer its surplus is kept for whom it was made.
func (rs *reliefs) arrived(key catalog.Key, at v1.HostName, now time.Time, stay time.Duration) {
	r := rs.byKey[key]
	if r == nil || r.host == at {
		return
	}
	if !r.done {
		rs.lay(key, now)
		rs.pause, rs.moved = 0, now
	}
	r.done = true
	r.until = r.until.Add(stay)
}

// lay has a file rest.
func (rs *reliefs) lay(key catalog.Key, now time.Time) {
	if rs.rests == nil {
		rs.rests = make(map[catalog.Key]rest)
	}
	x, known := rs.rests[key]
	if !known && len(rs.rests) >= maxRests {
		return
	}
	x.until = now.Add(firstRest << min(x.moves, 8))
	x.moves++
	rs.rests[key] = x
}

// resting tells whether a file was moved too short a time ago to be moved again.
func (rs *reliefs) resting(key catalog.Key, now time.Time) bool {
	return now.Before(rs.rests[key].until)
}

// split gives the files that were copied for a host's relief, and those whose surplus is for another's.
func (rs *reliefs) split(host v1.HostName) (own, others map[catalog.Key]bool) {
	own, others = make(map[catalog.Key]bool), make(map[catalog.Key]bool)
	for key, r := range rs.byKey {
		switch {
		case r.host != host:
			others[key] = true
		case r.done:
			own[key] = true
		}
	}
	return own, others
}

// of sums up what is under way for a holder.
func (rs *reliefs) of(id catalog.HolderID) (files int, bytes int64) {
	for _, r := range rs.byKey {
		if r.from == id {
			files++
			bytes += r.size
		}
	}
	return files, bytes
}

func (rs *reliefs) remove(key catalog.Key) { delete(rs.byKey, key) }

func (rs *reliefs) add(r *relief, now time.Time) bool {
	if rs.byKey == nil {
		rs.byKey = make(map[catalog.Key]*relief)
	}
	if _, ok := rs.byKey[r.key]; ok || len(rs.byKey) >= maxReliefs {
		return false
	}
	if len(rs.byKey) == 0 {
		rs.moved = now
	}
	rs.byKey[r.key] = r
	return true
}

func (rs *reliefs) expire(now time.Time) (did bool) {
	for key, r := range rs.byKey {
		if now.After(r.until) {
			delete(rs.byKey, key)
			did = true
		}
	}
	for key, x := range rs.rests {
		if now.After(x.until.Add(firstRest << min(x.moves, 8))) {
			delete(rs.rests, key)
		}
	}
	return did
}

// Relieve takes a location's wish to be rid of bytes and plans what is copied elsewhere for it.
func (c *Coordinator) Relieve(ctx context.Context, from v1.HostName, req *Relieve) (*RelieveAnswer, error) {
	if _, err := needOf(req.Reason); err != nil || req.Bytes < 0 {
		return nil, fmt.Errorf("relieve for %q: %w", req.Reason, ErrBadRequest)
	}
	if c.cfg.Acting {
		return &RelieveAnswer{RetryAfter: c.pollInterval(), Why: whyActing}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h, _, err := c.meet(from, req.Source, req.Location)
	if err != nil {
		return nil, err
	}
	id, known := c.cat.HolderID(catalog.Holder{Host: from, Location: req.Location})
	if !known || req.Bytes == 0 {
		return &RelieveAnswer{RetryAfter: c.pollInterval()}, nil
	}
	a := &RelieveAnswer{RetryAfter: reliefPause}
	a.Files, a.Accepted = c.reliefs.of(id)
	if a.Accepted < req.Bytes {
		a.Why, err = c.relieve(h, id, req.Bytes-a.Accepted, req.Reason)
		if err != nil {
			return nil, fmt.Errorf("relieve: %w", err)
		}
		a.Files, a.Accepted = c.reliefs.of(id)
	}
	if a.Accepted == 0 {
		a.RetryAfter = c.pollInterval()
	}
	return a, nil
}

// relieve plans moves for that many more bytes of a holder, and of empty files where all have to go. The caller holds c.mu.
func (c *Coordinator) relieve(h *host, id catalog.HolderID, bytes int64, reason string) (why string, err error) {
	if c.cat.Amnesic() {
		return string(placement.IsAmnesic), nil
	}
	p := c.planned()
	at, ok := p.view.index[h.name]
	if !ok {
		return "host is not in the cluster", nil
	}
	var surplus, empty int64
	var movable []placement.File
	var keys []catalog.Member
	err = c.cat.View(func(tx *catalog.Tx) error {
		for _, class := range c.cat.Classes() {
			if !slices.Contains(class.Confirmed, id) {
				continue
			}
			if p.view.mayLetGo(&class, id, placement.Starved) {
				surplus += class.Bytes // can be dropped as it is
				continue
			}
			c.movable(tx, p, &class, bytes, func(m catalog.Member, hosts []int) {
				if reason == ReasonStarving && c.reliefs.resting(m.Key, p.view.now) {
					return
				}
				if m.Size == 0 {
					if reason != ReasonDraining {
						return
					}
					empty++
				}
				// An empty file is planned for as a byte: moving it is to be seen to move something.
				movable = append(movable, placement.File{Size: max(m.Size, 1), Holders: hosts})
				keys = append(keys, m)
			})
		}
		return nil
	})
	if err != nil || surplus >= bytes {
		return "", err
	}
	bytes += empty
	moves, freed := placement.Relieve(c.spare(p), at, bytes-surplus, movable)
	for _, m := range moves {
		c.move(p.view, keys[m.File], id, p.view.hosts[m.To].Name)
	}
	if freed < bytes-surplus {
		why = "the other hosts have no room for more of it"
	}
	return why, nil
}

// spare is the hosts with the room that is left when all that is missing has its place.
func (c *Coordinator) spare(p *plan) []placement.Host {
	hosts := slices.Clone(p.view.hosts)
	for i := range hosts {
		hosts[i].Room -= c.reliefs.pending(hosts[i].Name) + p.meant(i)
	}
	return hosts
}

// movable offers files of a class that could be copied elsewhere: those of about the wanted size and the ones below.
func (c *Coordinator) movable(tx *catalog.Tx, p *plan, class *catalog.Class, size int64, offer func(catalog.Member, []int)) {
	v := p.view
	lack, _ := v.lacks(class)
	taken := v.taken(class)
	if lack > 0 {
		return
	}
	take := func(m catalog.Member) {
		if c.reliefs.byKey[m.Key] == nil && len(c.claims.byKey[m.Key]) == 0 {
			offer(m, taken)
		}
	}
	if m, ok := tx.SmallestAbove(class.ID, size); ok {
		take(m)
	}
	n := 0
	tx.Members(class.ID, size, catalog.Member{}, func(m catalog.Member) bool {
		take(m)
		n++
		return n < maxMovable
	})
}

// movableClasses is the classes of which some host could take files, those for which it has most room first.
func (c *Coordinator) movableClasses(v *view) []catalog.Class {
	room := make(map[uint32]int64)
	classes := slices.DeleteFunc(slices.Clone(c.cat.Classes()), func(class catalog.Class) bool {
		room[class.ID] = v.roomFor(&class)
		return room[class.ID] <= 0
	})
	slices.SortStableFunc(classes, func(a, b catalog.Class) int { return cmp.Compare(room[b.ID], room[a.ID]) })
	return classes
}

// roomFor is the most room that a host has which could take files of a class.
func (v *view) roomFor(class *catalog.Class) (most int64) {
	taken := v.taken(class)
	for i := range v.hosts {
		if h := &v.hosts[i]; h.Open && !slices.Contains(taken, i) {
			most = max(most, h.Room)
		}
	}
	return most
}

// move has a file copied to a host, so that a holder may drop it.
func (c *Coordinator) move(v *view, m catalog.Member, from catalog.HolderID, to v1.HostName) {
	now := c.clock() // the plan may be older
	if c.reliefs.add(&relief{key: m.Key, size: m.Size, from: from, host: v.holder(from).Host, to: to, until: now.Add(c.polled(reliefTime))}, now) {
		c.stale = true
	}
}

// displace plans moves after which files that find no room have a place. The caller holds c.mu.
func (c *Coordinator) displace(p *plan) {
	v := p.view
	now := c.clock()
	if now.Before(c.reliefs.next) || c.cat.Amnesic() || p.Short() <= 0 {
		return
	}
	c.reliefs.next = now.Add(max(c.reliefs.pause, reliefPause))
	var missing, movable []placement.File
	var keys []catalog.Member
	var holders [][]catalog.HolderID
	_ = c.cat.View(func(tx *catalog.Tx) error {
		var largest int64
		for g := range p.groups {
			n := 0
			c.eachMember(tx, p, g, unbounded, func(m catalog.Member) bool {
				missing = append(missing, placement.File{Size: m.Size, Holders: p.groups[g].hosts, Missing: p.groups[g].missing})
				largest = max(largest, m.Size)
				n++
				return n < maxRocks
			})
		}
		for _, class := range c.movableClasses(v) {
			if len(movable) >= 4*maxMovable {
				break
			}
			c.movable(tx, p, &class, max(largest, p.Short()), func(m catalog.Member, hosts []int) {
				if m.Size == 0 || c.reliefs.resting(m.Key, v.now) {
					return // it makes no room, or had to give way just now
				}
				movable = append(movable, placement.File{Size: m.Size, Holders: hosts})
				keys = append(keys, m)
				holders = append(holders, class.Confirmed)
			})
		}
		return nil
	})
	hosts := slices.Clone(v.hosts)
	for i := range hosts {
		hosts[i].Room -= c.reliefs.pending(hosts[i].Name)
	}
	moves := placement.Displace(hosts, missing, movable, moveDepth, moveSteps)
	if len(moves) > 0 {
		c.reliefs.pause = min(max(2*c.reliefs.pause, reliefPause), c.polled(reliefTime))
	}
	for _, m := range moves {
		for _, id := range holders[m.File] {
			if v.holder(id).host == m.From {
				c.move(v, keys[m.File], id, v.hosts[m.To].Name)
			}
		}
	}
}
