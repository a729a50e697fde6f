package coordinator

import (
	"fmt"
	"time"

	"clusterbackup/internal/catalog"
)

// A catalog that was lost, or put back from an older one, does not know what its source had. If the source's disk was lost with it,
// or is not mounted, a clean scan of an empty folder makes every replica there is look like one of a file that was deleted. So what
// a catalog has never seen is first counted, and called unknown, for its holder to retire, only by the next inventory and only if it
// is less than what the source has, or was approved (S4).

// recount is how long at least passes between two inventories in which nothing can be judged.
const recount = time.Minute

// mayJudge tells whether a location may be told that the source does not have what the catalog has never seen. The caller holds c.mu.
func (c *Coordinator) mayJudge(l *location) bool {
	return c.cat.Current() && !c.cat.Amnesic() && l.counted && c.believable(l.strangers)
}

// believable tells whether that many files of a location may have been deleted without the catalog's knowledge.
func (c *Coordinator) believable(strangers int64) bool {
	files, _ := c.cat.Total()
	held := c.cat.Orphans()
	return strangers <= files || held.Approved && strangers <= held.Files
}

// mustTell tells whether a location that has reported is to report again. The caller holds c.mu.
func (c *Coordinator) mustTell(l *location) bool {
	if !l.again || !c.cat.Current() {
		return false
	}
	return !l.counted || c.mayJudge(l) || l.asOf != c.cat.Generation() && c.clock().Sub(l.countedAt) > recount
}

// holdOrphans has people told of what is not believed, and forgets it when there is no more of it.
func (c *Coordinator) holdOrphans() error {
	c.mu.Lock()
	most := int64(0)
	for _, h := range c.hosts {
		for _, l := range h.locations {
			if l.listed && l.reported && l.again && l.counted {
				most = max(most, l.strangers)
			}
		}
	}
	believed := c.believable(most)
	c.mu.Unlock()
	was := c.cat.Orphans()
	switch {
	case !believed:
		if was.Files == most && !was.Approved {
			return nil
		}
		c.cfg.Events("DeletionsHeld", fmt.Sprintf("holders have %d files that the source does not have, and the catalog is new: they are kept as they are", most))
	case was.Approved && most > 0, was == (catalog.Held{}):
		return nil
	default:
		most = 0
	}
	if err := c.cat.HoldOrphans(most); err != nil {
		return fmt.Errorf("hold what the catalog does not know: %w", err)
	}
	return nil
}

// doubtful tells whether what the catalog lacks may be there nevertheless.
func (c *Coordinator) doubtful() bool {
	held := c.cat.Orphans()
	return c.cat.Amnesic() || held.Files > 0 && !held.Approved
}
