package coordinator

import (
	"cmp"
	"fmt"
	"slices"

	"clusterbackup/internal/catalog"
	"clusterbackup/internal/placement"
)

// maxSingled is how many files are looked at one by one for feasibility; the others are all smaller.
const maxSingled = 256

// Feasible says why so many replicas of each file don't fit, and what to do; empty if they do, or if that can't be told: also while
// hosts that lend space have not been heard of.
func (c *Coordinator) Feasible(replicas int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.unheard()) > 0 {
		return ""
	}
	v := c.look()
	return c.feasible(v, replicas, new(Status).countAll(c.cat, v))
}

// feasible is Feasible; holding is what each host of the view holds. Room is what hosts said last, also those that are silent for a
// while. The caller holds c.mu.
func (c *Coordinator) feasible(v *view, replicas int, holding []sum) string {
	hosts, known := c.roomIn(v, holding)
	if known == 0 {
		return "no host with backup space has reported yet"
	}
	if demands := c.demands(); len(demands) > 0 {
		if verdict := placement.Feasible(hosts, demands, replicas, c.spread()); verdict.Fit == placement.Unfit {
			return verdict.Message
		}
		return ""
	}
	// No file yet: whether there are hosts enough can be told all the same.
	if placement.Feasible(hosts, []placement.Demand{{Files: 1}}, replicas, c.spread()).Fit == placement.Unfit {
		return fmt.Sprintf("there are fewer than %d other hosts (or failure domains) that lend space; add a location on another host or lower minReplicas", replicas)
	}
	return ""
}

// roomIn is the hosts with all the room that the source may use there: what is free, and what it holds or is copying already. known
// counts those that told.
func (c *Coordinator) roomIn(v *view, holding []sum) (hosts []placement.Host, known int) {
	hosts = slices.Clone(v.hosts)
	for i := range hosts {
		h := c.hosts[hosts[i].Name]
		if h == nil || !h.hello || c.lost[hosts[i].Name] {
			hosts[i].Open = false
			continue
		}
		known++
		info, _ := c.info(h.name)
		hosts[i].Room, hosts[i].MaxFile, hosts[i].Open = holding[i].bytes+c.claims.byHost[h.name].bytes, 0, false
		for _, l := range h.locations {
			if info.Draining || l.info.Draining || !c.belongs(info, l.info.Name) || c.away[catalog.Holder{Host: h.name, Location: l.info.Name}] {
				continue
			}
			hosts[i].Open = true
			if !info.Cordoned && !l.info.NoNew {
				hosts[i].Room += max(l.room, 0)
			}
		}
	}
	return hosts, known
}

// demands is the files for feasibility: the largest ones by their sizes, all others together.
func (c *Coordinator) demands() (demands []placement.Demand) {
	rest := placement.Demand{}
	var largest []int64
	_ = c.cat.View(func(tx *catalog.Tx) error {
		for _, class := range c.cat.Classes() {
			rest.Files += class.Files
			rest.Bytes += class.Bytes
			n := 0
			tx.Members(class.ID, unbounded, catalog.Member{}, func(m catalog.Member) bool {
				largest = append(largest, m.Size)
				n++
				return n <= maxSingled
			})
		}
		return nil
	})
	slices.SortFunc(largest, func(a, b int64) int { return cmp.Compare(b, a) })
	for i, size := range largest {
		if i == maxSingled {
			rest.Largest = size
			break
		}
		if last := len(demands) - 1; last >= 0 && demands[last].Largest == size {
			demands[last].Files++
			demands[last].Bytes += size
		} else {
			demands = append(demands, placement.Demand{Files: 1, Bytes: size, Largest: size})
		}
		rest.Files--
		rest.Bytes -= size
	}
	if rest.Files > 0 {
		demands = append(demands, rest)
	}
	return demands
}
