package coordinator

import (
	"context"
	"fmt"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/placement"
)

const (
	// grantTime is how long a grant is valid at its holder.
	grantTime = time.Minute
	// grantMargin is how much longer it is kept here.
	grantMargin   = time.Minute
	maxDropFiles  = 4096
	maxDropLooked = 20000
)

// Drop grants deletions (S1). A granted replica has stopped counting durably when this returns.
func (c *Coordinator) Drop(ctx context.Context, from v1.HostName, req *Drop) (*DropAnswer, error) {
	need, err := needOf(req.Reason)
	if err != nil || req.MaxFiles < 0 || req.MaxBytes < 0 {
		return nil, fmt.Errorf("drop for %q: %w", req.Reason, ErrBadRequest)
	}
	if c.cfg.Acting {
		return &DropAnswer{RetryAfter: c.pollInterval(), Why: whyActing}, nil
	}
	c.mu.Lock()
	h, l, err := c.order(from, req.Source, req.Location, req.Life, req.Turn)
	if err == nil {
		h.settled = req.Turn
	}
	reported, again := l != nil && l.reported, c.pollAfter()
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	id, known := c.cat.HolderID(catalog.Holder{Host: from, Location: req.Location})
	switch {
	case !known:
		return &DropAnswer{RetryAfter: c.pollInterval(), Why: "it holds nothing of this source"}, nil
	case !reported:
		return &DropAnswer{RetryAfter: soon, Why: "its inventory is not complete"}, nil
	case c.cat.Amnesic():
		return &DropAnswer{RetryAfter: c.pollInterval(), Why: string(placement.IsAmnesic)}, nil
	}
	g := &granting{c: c, id: id, need: need, files: min(req.MaxFiles, maxDropFiles), most: req.MaxBytes}
	if g.most == 0 {
		g.most = unbounded
	}
	if !g.any() {
		return &DropAnswer{RetryAfter: again, Why: string(placement.TooFew)}, nil
	}
	if err := c.cat.Update(g.grant); err != nil {
		return nil, fmt.Errorf("drop: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range g.keys {
		c.reliefs.remove(key)
		c.reliefs.moved = g.view.now
	}
	a := &DropAnswer{Grants: g.grants, RetryAfter: c.pollAfter()}
	if len(g.grants) == 0 {
		a.Why = string(g.refused)
	}
	return a, nil
}

func needOf(reason string) (placement.Need, error) {
	switch reason {
	case ReasonSurplus:
		return placement.Tidy, nil
	case ReasonStarving:
		return placement.Starved, nil
	case ReasonOverCapacity, ReasonDraining:
		return placement.Leave, nil
	}
	return 0, ErrBadRequest
}

// granting is one Drop being answered.
type granting struct {
	c     *Coordinator
	id    catalog.HolderID
	need  placement.Need
	files int
	most  int64
	bytes int64 // left of most

	view    *view
	moves   map[catalog.Key]bool // files of this host that were copied elsewhere for its relief
	others  map[catalog.Key]bool // files whose surplus is for another host's relief
	looked  int
	grants  []Grant
	keys    []catalog.Key
	refused placement.Refusal
}

// candidates are the classes whose files may be granted, as far as classes tell.
func (g *granting) candidates() (ids []uint32) {
	for _, class := range g.c.cat.Classes() {
		if g.view.mayLetGo(&class, g.id, g.need) {
			ids = append(ids, class.ID)
		}
	}
	return ids
}

func (g *granting) look() {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	g.view = g.c.look()
	g.moves, g.others = g.c.reliefs.split(g.view.holder(g.id).Host)
}

func (g *granting) any() bool {
	g.look()
	return len(g.candidates()) > 0 || len(g.moves) > 0
}

// grant looks at the candidates one by one, with everything that S1 asks for, and records what it grants.
func (g *granting) grant(tx *catalog.Tx) error {
	g.look() // no other transaction writes from here on
	g.grants, g.keys, g.looked, g.bytes = nil, nil, 0, g.most
	for _, key := range sortedKeys(g.moves) {
		if err := g.try(tx, key, true); err != nil {
			return err
		}
	}
	for _, class := range g.candidates() {
		if err := g.class(tx, class); err != nil || g.full() {
			return err
		}
	}
	return nil
}

func sortedKeys(set map[catalog.Key]bool) []catalog.Key {
	keys := make([]catalog.Key, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (g *granting) full() bool {
	return len(g.grants) >= g.files || g.bytes <= 0 || g.looked >= maxDropLooked
}

// class goes through the files of a class, the largest that are wanted first. If none is small enough, the smallest that
// is too large does.
func (g *granting) class(tx *catalog.Tx, class uint32) error {
	var members []catalog.Member
	tx.Members(class, g.bytes, catalog.Member{}, func(m catalog.Member) bool {
		members = append(members, m)
		return len(members) < g.files+len(g.others)
	})
	before := len(g.grants)
	for _, m := range members {
		if g.full() {
			return nil
		}
		if m.Size > g.bytes {
			continue
		}
		if err := g.try(tx, m.Key, false); err != nil {
			return err
		}
	}
	if len(g.grants) == before && !g.full() {
		if m, ok := tx.SmallestAbove(class, g.bytes); ok {
			return g.try(tx, m.Key, false)
		}
	}
	return nil
}

// try grants one file if it may.
func (g *granting) try(tx *catalog.Tx, key catalog.Key, relief bool) error {
	if g.full() {
		return nil
	}
	g.looked++
	old, err := tx.Get(key)
	if err != nil || old == nil {
		return err
	}
	facts := g.facts(old, key, relief)
	if no := placement.MayDrop(facts); no != placement.Allowed {
		g.refused = no
		return nil
	}
	path, err := tx.Path(key)
	if err != nil {
		return err
	}
	e := old.Clone()
	r := e.Replica(g.id)
	gen := v1.Generation{}
	if r.Seq != 0 {
		gen = v1.Generation{Epoch: tx.Newest().Epoch, Seq: r.Seq}
	}
	r.State = catalog.Granted
	if err := tx.Put(key, old, e); err != nil {
		return err
	}
	grant, err := tx.AddGrant(g.id, key, g.view.now.Add(grantTime+grantMargin))
	if err != nil {
		return err
	}
	g.grants = append(g.grants, Grant{ID: grant, Path: path, Gen: gen, Size: old.Size, For: grantTime})
	g.keys = append(g.keys, key)
	g.bytes -= old.Size
	return nil
}

// facts gathers what placement.MayDrop decides by.
func (g *granting) facts(e *catalog.Entry, key catalog.Key, relief bool) *placement.DropFacts {
	own := g.view.holder(g.id)
	f := &placement.DropFacts{Host: own.Host, Location: own.Location, Desired: g.view.min, Amnesic: g.view.amnesic, Deleted: !e.Live(),
		Excess: g.need == placement.Tidy && !relief}
	if g.others[key] {
		f.Desired++ // the surplus is another's
	}
	for _, r := range e.Replicas {
		f.Holders = append(f.Holders, g.view.fact(e, r))
	}
	return f
}

// fact says how one replica stands.
func (v *view) fact(e *catalog.Entry, r catalog.Replica) placement.Holder {
	f := v.holder(r.Holder)
	h := placement.Holder{Host: f.Host, Location: f.Location, Current: r.Seq == e.Seq, Confirmed: r.State == catalog.Confirmed, Live: f.live, Reported: f.reported,
		Granted: r.State == catalog.Granted || r.State == catalog.Leaving, Corrupt: r.State == catalog.Corrupt, Gone: f.gone}
	if f.host >= 0 {
		h.Domain = v.hosts[f.host].Domain
	} else {
		h.Gone = true
	}
	return h
}

// Dropped takes note of what became of grants. That a replica is gone is believed whenever it is said.
func (c *Coordinator) Dropped(ctx context.Context, from v1.HostName, req *Dropped) (*DroppedAnswer, error) {
	c.mu.Lock()
	h, _, err := c.meet(from, req.Source, req.Location)
	if err == nil && req.Life == h.life {
		h.turn = max(h.turn, req.Turn)
		h.settled = max(h.settled, req.Turn)
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	id, known := c.cat.HolderID(catalog.Holder{Host: from, Location: req.Location})
	if !known || len(req.Grants) == 0 {
		return &DroppedAnswer{}, nil
	}
	err = c.cat.Update(func(tx *catalog.Tx) error {
		for _, result := range req.Grants {
			if err := c.dropped(tx, id, result); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dropped: %w", err)
	}
	return &DroppedAnswer{}, nil
}

// dropped settles one grant. A replica that was confirmed since is no longer the grant's.
func (c *Coordinator) dropped(tx *catalog.Tx, id catalog.HolderID, result GrantResult) error {
	grant, ok, err := tx.Grant(result.ID)
	if err != nil || !ok || grant.Holder != id {
		return err
	}
	if err := tx.RemoveGrant(result.ID); err != nil {
		return err
	}
	old, err := tx.Get(grant.Key)
	if err != nil || old == nil {
		return err
	}
	r := old.Replica(id)
	if r == nil || r.State != catalog.Granted {
		return nil
	}
	e := old.Clone()
	if result.Dropped {
		e.RemoveReplica(id)
	} else {
		e.Replica(id).State = catalog.Unconfirmed
	}
	return tx.Put(grant.Key, old, e)
}
