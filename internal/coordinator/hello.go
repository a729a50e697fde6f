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

// Hello answers the heartbeat.
func (c *Coordinator) Hello(ctx context.Context, from v1.HostName, req *Hello) (*HelloAnswer, error) {
	if err := c.remember(ctx, from, req); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h, err := c.admit(from, req.Source)
	if err != nil {
		return nil, err
	}
	c.greet(h, req)
	c.heed(h, req.Echo)
	a := c.answerHello(h)
	if c.cfg.Acting {
		a = a.CopiesOnly()
		a.Manifest = c.cfg.Listing
	}
	return a, nil
}

// remember finds out from what a holder knows whether the catalog is an old one, put back (S7).
func (c *Coordinator) remember(ctx context.Context, from v1.HostName, req *Hello) error {
	c.mu.Lock()
	_, err := c.admit(from, req.Source)
	c.mu.Unlock()
	if err != nil || c.cfg.Acting {
		return err
	}
	known := c.cat.Generation()
	if req.Highest.Compare(known) <= 0 {
		if c.predates(req) {
			c.log.Info("a holder knows the source from before the catalog, which must have been lost", "peer", from)
			return c.setAmnesic(true)
		}
		return nil
	}
	c.log.Info("a holder knows a newer generation than the catalog: all replicas are to be confirmed again",
		"peer", from, "generation", req.Highest.String())
	c.cfg.Events("CatalogOutdated", fmt.Sprintf("host %s knows generation %s, the catalog only %s: no replica is dropped until all hosts have reported",
		from, req.Highest, known))
	if err := c.cat.Update(func(tx *catalog.Tx) error {
		if req.Highest.Compare(tx.Newest()) > 0 {
			tx.NewEpoch(req.Highest.Epoch)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.forgetReports()
		return nil
	}); err != nil {
		return err
	}
	return c.cat.Demote(ctx)
}

// predates tells whether a holder had replicas before this catalog was begun, which was taken for a new source's.
func (c *Coordinator) predates(req *Hello) bool {
	old := req.Highest.IsZero() && req.Holds && c.fresh() || !req.Highest.IsZero() && req.Highest.Epoch < c.cat.Begun()
	return old && !c.cat.Whole() && !c.cat.Amnesic()
}

// forgetReports has every host report anew. The caller holds c.mu.
func (c *Coordinator) forgetReports() {
	for _, h := range c.hosts {
		for _, l := range h.locations {
			l.reported, l.inventory = false, nil
		}
	}
	c.stale = true
}

// fresh tells whether the catalog has not seen a whole scan yet.
func (c *Coordinator) fresh() bool { return !c.cat.Scanned() && len(c.cat.Holders()) == 0 }

// unexplained tells whether the catalog is new though its source is not: then it was lost.
func (c *Coordinator) unexplained() bool {
	const slack = 10 * time.Minute
	made := c.source.CreationTimestamp.Time
	return c.fresh() && c.cat.Generation().Seq == 0 && (made.IsZero() || c.cat.Created().Sub(made) > slack || made.Sub(c.cat.Created()) > slack)
}

func (c *Coordinator) setAmnesic(on bool) error {
	return c.cat.Update(func(tx *catalog.Tx) error {
		tx.SetAmnesic(on)
		return nil
	})
}

// greet takes over what a Hello says. The caller holds c.mu.
func (c *Coordinator) greet(h *host, req *Hello) {
	if !h.hello || h.session != req.Session {
		c.renewLife(h)
		c.claims.drop(h.name) // a client forgets its claims when it ends
		h.session, h.hello = req.Session, true
		for _, l := range h.locations {
			l.reported, l.inventory = false, nil
		}
		c.stale = true
	}
	h.holds = req.Holds
	if sought := max(req.Sought, 0); h.sought != sought {
		h.sought, c.stale = sought, true
	}
	own := c.onlyHere(h, req.Locations)
	for name, l := range h.locations {
		if l.listed && !slices.ContainsFunc(own, func(i LocationInfo) bool { return i.Name == name }) {
			c.unlist(l, h.seen)
		}
	}
	for _, info := range own {
		c.list(h, info)
	}
}

// unlist notes that a location is not there any more, since when. When it comes back it may hold less than before.
func (c *Coordinator) unlist(l *location, left time.Time) {
	l.listed, l.left, l.reported, l.inventory = false, left, false, nil
	c.stale = true
}

// onlyHere leaves out the locations that another live host lists too: one folder, shared by two hosts, holds one replica, not two. It
// stays with the host that has it until that one is heard of no more or lists it no longer.
func (c *Coordinator) onlyHere(h *host, infos []LocationInfo) (own []LocationInfo) {
	shared := make(map[v1.LocationName]bool)
	for _, info := range infos {
		o, l := c.elsewhere(h, info.UID)
		if l == nil {
			own = append(own, info)
			continue
		}
		if !c.heard(o, c.clock()) {
			c.unlist(l, o.seen)
			own = append(own, info)
			continue
		}
		if shared[info.Name] = true; !h.shared[info.Name] {
			c.log.Info("a location is another host's too and does not count", "host", h.name, "location", info.Name, "peer", o.name)
			c.cfg.Events("LocationShared", fmt.Sprintf("location %s of host %s is the same folder as one of host %s: it counts once, for %[3]s",
				info.Name, h.name, o.name))
		}
	}
	h.shared = shared
	return own
}

// elsewhere finds the other host that lists a location with this identity.
func (c *Coordinator) elsewhere(h *host, uid string) (*host, *location) {
	for _, o := range c.hosts {
		for _, l := range o.locations {
			if uid != "" && o != h && l.listed && l.info.UID == uid {
				return o, l
			}
		}
	}
	return nil, nil
}

// list takes over what a Hello says of one location.
func (c *Coordinator) list(h *host, info LocationInfo) {
	l := h.locations[info.Name]
	if l == nil {
		l = &location{}
		h.locations[info.Name] = l
	}
	if l.info.UID != info.UID {
		l.reported, l.inventory = false, nil
	}
	if !l.listed || l.room != info.Free || l.info.NoNew != info.NoNew || l.info.Draining != info.Draining || l.info.MaxFile != info.MaxFile {
		c.stale = true
	}
	l.info, l.listed, l.room = info, true, info.Free
	if !l.reported && l.inventory == nil && !h.holds && !c.believed(h.name, info.Name) {
		l.reported = true // there is nothing to report
	}
}

// believed tells whether the catalog thinks that a location holds anything.
func (c *Coordinator) believed(h v1.HostName, l v1.LocationName) bool {
	_, known := c.cat.HolderID(catalog.Holder{Host: h, Location: l})
	return known
}

// answerHello says how things stand for a host. The caller holds c.mu.
func (c *Coordinator) answerHello(h *host) *HelloAnswer {
	gen := c.cat.Generation()
	a := &HelloAnswer{SourceUID: c.cat.UID(), Epoch: gen.Epoch, Seq: gen.Seq, Life: h.life, Turn: h.turn, PollAfter: c.pollAfter(), Echo: c.echo(h)}
	v := c.look()
	for name, l := range h.locations {
		if l.listed && (!l.reported || c.mustTell(l)) {
			a.Inventory = append(a.Inventory, name)
		}
	}
	slices.Sort(a.Inventory)
	a.NeedInventory = len(a.Inventory) > 0
	if !a.NeedInventory && !c.doubtful() { // else the listing that a holder has may be the better one
		a.Manifest = c.cat.Version()
	}
	for _, class := range c.cat.Classes() {
		lack, _ := v.lacks(&class)
		a.Needed += int64(lack) * class.Bytes
	}
	for name := range h.locations {
		c.answerFor(a, v, h, name)
	}
	if !c.sends() {
		a.Claimable, a.Extra = false, false
	}
	return a
}

// answerFor adds what is to do for one location.
func (c *Coordinator) answerFor(a *HelloAnswer, v *view, h *host, name v1.LocationName) {
	id, known := c.cat.HolderID(catalog.Holder{Host: h.name, Location: name})
	if known {
		a.Retire = a.Retire || c.mustRetire(id)
	}
	me := v.index[h.name]
	for _, class := range c.cat.Classes() {
		lack, extra := v.lacks(&class)
		renews := known && slices.Contains(class.Other, id)
		if barred := known && v.covers(&class, id); !barred {
			taken := v.taken(&class)
			renews = renews && !v.acting
			a.Claimable = a.Claimable || lack > 0 && v.copyable(&class) && (renews || v.missing(taken, v.min+v.idle(&class)) > 0 && !slices.Contains(taken, me))
			a.Extra = a.Extra || extra > 0 && (renews || v.missing(taken, v.max) > 0 && !slices.Contains(taken, me))
		}
		a.Surplus = a.Surplus || known && v.mayLetGo(&class, id, placement.Tidy)
	}
	a.Claimable = a.Claimable || c.reliefs.toward(h.name) || len(c.refusals.until) > 0 && c.planned().Largest(me) > 0
	a.Surplus = a.Surplus || c.reliefs.done(h.name)
}

// pollAfter is when a client is to say hello again: sooner while files are moved so that others find room, which waits for one host after
// the other, but ever less often where nothing comes of it. The caller holds c.mu.
func (c *Coordinator) pollAfter() time.Duration {
	if len(c.reliefs.byKey) == 0 {
		return c.pollInterval()
	}
	return min(max(c.clock().Sub(c.reliefs.moved)/4, reliefPause), c.pollInterval())
}

func (c *Coordinator) mustRetire(id catalog.HolderID) (must bool) {
	_ = c.cat.View(func(tx *catalog.Tx) error {
		tx.Retirees(id, "", func(catalog.Key) bool {
			must = true
			return false
		})
		return nil
	})
	return must
}
