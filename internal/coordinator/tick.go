package coordinator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// purgeInterval is how often what is long deleted is forgotten.
const purgeInterval = time.Hour

// Tick lets time pass: leases, grants, relief, silent hosts. Idempotent.
func (c *Coordinator) Tick(ctx context.Context) error {
	removed, purge := c.tick()
	if err := c.endGrants(); err != nil {
		return fmt.Errorf("end grants: %w", err)
	}
	if len(removed) > 0 {
		if err := c.cat.Forget(ctx, removed); err != nil {
			return fmt.Errorf("forget removed locations: %w", err)
		}
		c.unreport(removed)
	}
	if err := c.endAmnesia(); err != nil {
		return fmt.Errorf("end amnesia: %w", err)
	}
	if purge.IsZero() {
		return nil
	}
	if err := c.cat.Purge(ctx, purge); err != nil {
		return fmt.Errorf("forget deleted files: %w", err)
	}
	return nil
}

// tick is what concerns memory alone. removed are holders that left the cluster and still have replicas in the catalog; purge, if not
// zero, is the time before which deletions are forgotten.
func (c *Coordinator) tick() (removed map[catalog.HolderID]bool, purge time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	c.awake(now)
	expired := c.claims.expire(now)
	ended := c.refusals.expire(now)
	relieved := c.reliefs.expire(now)
	c.stale = c.stale || expired || ended || relieved
	v := c.look()
	c.noteLost(v)
	removed = make(map[catalog.HolderID]bool)
	for _, class := range c.cat.Classes() {
		for _, id := range slices.Concat(class.Confirmed, class.Other) {
			if int(id) < len(v.holders) && v.holder(id).host < 0 && !c.listed(v.holder(id).Holder) {
				removed[id] = true
			}
		}
	}
	for name := range c.hosts {
		if _, ok := v.index[name]; !ok {
			delete(c.hosts, name)
			c.stale = true
		}
	}
	if now.Sub(c.purged) < purgeInterval {
		return removed, time.Time{}
	}
	c.purged = now
	keep := 720 * time.Hour
	if r := c.source.Spec.Retention; r != nil {
		keep = orDefault(r.Deleted, keep)
	}
	return removed, now.Add(-keep)
}

// unreport has removed holders report anew should they turn up again, or have done so meanwhile: the catalog knows nothing of them.
func (c *Coordinator) unreport(removed map[catalog.HolderID]bool) {
	holders := c.cat.Holders()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range removed {
		if h := c.hosts[holders[id].Host]; h != nil && h.locations[holders[id].Location] != nil {
			l := h.locations[holders[id].Location]
			l.reported, l.inventory, c.stale = false, nil, true
		}
	}
}

// awake notes that this host is. The caller holds c.mu.
func (c *Coordinator) awake(now time.Time) {
	if now.Sub(c.ticked) > c.hostTimeout() {
		c.started, c.stale = now, true // we were asleep, and heard nobody
	}
	c.ticked = now
}

// noteLost tells of hosts and locations that come and go. Of what was removed there is nothing to tell.
func (c *Coordinator) noteLost(v *view) {
	lost, away, gone := make(map[v1.HostName]bool), make(map[catalog.Holder]bool), make(map[catalog.Holder]bool)
	for i := range v.holders {
		f := &v.holders[i]
		if !f.gone {
			continue
		}
		gone[f.Holder] = true
		switch {
		case f.host < 0:
		case v.now.Sub(c.lastSeen(f.Host)) > c.repairAfter():
			lost[f.Host] = true
		default:
			away[f.Holder] = true
		}
	}
	c.tellLost(v, lost)
	c.tellAway(v, away)
	c.stale = c.stale || !maps.Equal(gone, c.gone)
	c.lost, c.away, c.gone = lost, away, gone
	live := 0
	for i := range v.hosts {
		if v.hosts[i].Open {
			live++
		}
	}
	if live != c.open {
		c.open, c.stale = live, true
	}
}

// lastHeard is when a host was heard of last, or when we began to listen.
func (c *Coordinator) lastHeard(name v1.HostName) time.Time {
	if h := c.hosts[name]; h != nil && h.seen.After(c.started) {
		return h.seen
	}
	return c.started
}

// lastSeen is lastHeard, or when it was seen elsewhere, if that is later.
func (c *Coordinator) lastSeen(name v1.HostName) time.Time {
	heard, seen := c.lastHeard(name), c.cfg.LastSeen(name)
	if seen.After(heard) {
		return seen
	}
	return heard
}

func (c *Coordinator) tellLost(v *view, lost map[v1.HostName]bool) {
	for name := range lost {
		if !c.lost[name] {
			c.cfg.Events("HostLost", fmt.Sprintf("host %s is silent for longer than %s: what it holds is copied again elsewhere", name, c.repairAfter()))
		}
	}
	for name := range c.lost {
		_, known := v.index[name]
		if known && !lost[name] && v.now.Sub(c.lastSeen(name)) <= c.hostTimeout() {
			c.cfg.Events("HostBack", fmt.Sprintf("host %s is back", name))
		}
	}
}

func (c *Coordinator) tellAway(v *view, away map[catalog.Holder]bool) {
	for at := range away {
		if !c.away[at] {
			c.cfg.Events("LocationLost", fmt.Sprintf("location %s of host %s is not there for longer than %s, though the host is: what it holds is copied again elsewhere",
				at.Location, at.Host, c.repairAfter()))
		}
	}
	for i := range v.holders {
		if f := &v.holders[i]; c.away[f.Holder] && f.heard {
			c.cfg.Events("LocationBack", fmt.Sprintf("location %s of host %s is back", f.Location, f.Host))
		}
	}
}

// endGrants forgets grants whose time is over. The replica stays uncounted until its holder says what became of it.
func (c *Coordinator) endGrants() error {
	now := c.clock()
	var over []catalog.Grant
	err := c.cat.View(func(tx *catalog.Tx) error {
		return tx.Grants(func(g catalog.Grant) bool {
			if now.After(g.Until) {
				over = append(over, g)
			}
			return len(over) < maxDropFiles
		})
	})
	if err != nil || len(over) == 0 {
		return err
	}
	holders := c.cat.Holders()
	err = c.cat.Update(func(tx *catalog.Tx) error {
		for _, g := range over {
			if err := tx.RemoveGrant(g.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range over {
		if h := c.hosts[holders[g.Holder].Host]; h != nil {
			if l := h.locations[holders[g.Holder].Location]; l != nil {
				l.again = true
			}
		}
	}
	return nil
}

// waitingFor lists the hosts that have not reported yet and are not gone. The caller holds c.mu.
func (c *Coordinator) waitingFor() (names []v1.HostName) {
	now := c.clock()
	for _, info := range c.cfg.Hosts() {
		if info.Name == c.cfg.Host || len(info.Locations) == 0 {
			continue
		}
		last, whole := c.lastHeard(info.Name), false
		if h := c.hosts[info.Name]; h != nil {
			whole = h.hello
			for _, l := range h.locations {
				whole = whole && (!l.listed || l.reported)
			}
		}
		gone := now.Sub(last) > c.repairAfter() && !now.Before(info.MaintenanceUntil)
		if !whole && !gone {
			names = append(names, info.Name)
		}
	}
	return names
}

// endAmnesia ends it when every known host has reported or is gone.
func (c *Coordinator) endAmnesia() error {
	if c.cfg.Acting || !c.cat.Amnesic() || !c.cat.Scanned() {
		return nil
	}
	c.mu.Lock()
	over := len(c.waitingFor()) == 0
	c.mu.Unlock()
	if !over {
		return nil
	}
	err := c.cat.Update(func(tx *catalog.Tx) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if over = len(c.waitingFor()) == 0; over {
			tx.SetAmnesic(false)
			c.stale = true
		}
		return nil
	})
	if err == nil && over {
		c.cfg.Events("CatalogWhole", "all hosts have reported what they hold: drops are granted again")
	}
	return err
}
