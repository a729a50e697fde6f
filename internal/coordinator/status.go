package coordinator

import (
	"cmp"
	"maps"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// Status is the source's state as counted; it costs nothing.
type Status struct {
	// Files and Bytes are of regular files.
	Files, Bytes int64
	// ReplicaFiles and ReplicaBytes count files by their number of confirmed current replicas on hosts that are not lost; the last entry is "8 and more".
	ReplicaFiles, ReplicaBytes [9]int64
	// Underserved: fewer than minReplicas; Overserved: more than maxReplicas.
	Underserved, Overserved           int64
	UnderservedBytes, OverservedBytes int64
	// Listings is how many live hosts have a listing of the source, whatever its age: folders, links and attributes come from there.
	Listings int
	// Claimed is how many copies are under way.
	Claimed int64
	// OutsideWindows: the source's host lets no copies run at this time of day.
	OutsideWindows bool
	// Placeable is false when the desired replicas do not fit; PlaceableMessage says why and what to do.
	Placeable        bool
	PlaceableMessage string
	// Unheard are hosts that lend space and have not said hello since this coordinator started, nor are lost: what is not
	// Placeable without them may be with them.
	Unheard []v1.HostName
	// Amnesic: no drop is granted until the hosts in WaitingFor have reported.
	Amnesic    bool
	WaitingFor []v1.HostName
	// Held deletions wait for approval.
	HeldDeletions int64
	// HeldWhy is why (catalog.HeldMany, …); empty: nothing is held.
	HeldWhy string
	// Problems are the first hundred, ProblemCount is of all.
	Problems     []v1.Problem
	ProblemCount int64
	// Hosts heard of since this coordinator started.
	Hosts []HostState
}

// HostState is how the coordinator sees one host.
type HostState struct {
	Name     v1.HostName
	LastSeen time.Time
	Live     bool
	Lost     bool
	// Replicas and Bytes are confirmed current ones.
	Replicas, Bytes int64
}

// Status tells how the source stands.
func (c *Coordinator) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.look()
	s := Status{Claimed: c.claims.total, Amnesic: v.amnesic, HeldDeletions: c.cat.Held().Files, HeldWhy: c.cat.Held().Why, OutsideWindows: !c.sends(), Placeable: true}
	if v.amnesic {
		s.WaitingFor = c.waitingFor()
	}
	holding := s.countAll(c.cat, v)
	s.PlaceableMessage = c.feasible(v, v.min, holding)
	s.Placeable = s.PlaceableMessage == ""
	s.Unheard = c.unheard()
	for _, p := range c.problems.byKey {
		s.Problems = append(s.Problems, p)
	}
	slices.SortFunc(s.Problems, func(a, b v1.Problem) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Host, b.Host)) })
	s.ProblemCount = int64(len(s.Problems)) + c.problems.more
	for i := range v.hosts {
		state := c.hostState(v, i, holding[i])
		s.Hosts = append(s.Hosts, state)
		if state.Live && c.hosts[state.Name].listing() {
			s.Listings++
		}
	}
	return s
}

// countAll adds all classes and returns what each host of the view holds.
func (s *Status) countAll(cat *catalog.Catalog, v *view) (holding []sum) {
	holding = make([]sum, len(v.hosts))
	for _, class := range cat.Classes() {
		s.count(v, &class, holding)
	}
	return holding
}

// count adds one class.
func (s *Status) count(v *view, class *catalog.Class, holding []sum) {
	n := v.spread(class.Confirmed, notGone)
	s.Files += class.Files
	s.Bytes += class.Bytes
	at := min(n, len(s.ReplicaFiles)-1)
	s.ReplicaFiles[at] += class.Files
	s.ReplicaBytes[at] += class.Bytes
	switch {
	case n < v.min:
		s.Underserved += class.Files
		s.UnderservedBytes += class.Bytes
	case v.over(class):
		s.Overserved += class.Files
		s.OverservedBytes += class.Bytes
	}
	for _, id := range class.Confirmed {
		if h := v.holder(id).host; h >= 0 {
			holding[h].files += class.Files
			holding[h].bytes += class.Bytes
		}
	}
}

// over tells whether a class's files have more replicas than they should, those in one failure domain counted one by one.
func (v *view) over(class *catalog.Class) bool {
	n := 0
	for _, id := range class.Confirmed {
		if f := v.holder(id); !f.gone && f.host >= 0 {
			n++
		}
	}
	return n > v.max
}

func (c *Coordinator) hostState(v *view, i int, held sum) HostState {
	s := HostState{Name: v.hosts[i].Name, Replicas: held.files, Bytes: held.bytes, Lost: c.lost[v.hosts[i].Name]}
	if h := c.hosts[s.Name]; h != nil {
		s.LastSeen = h.seen
		s.Live = c.heard(h, v.now)
	}
	return s
}

// listing tells whether a location of the host has a listing of the source.
func (h *host) listing() bool {
	for _, l := range h.locations {
		if l.listed && l.info.Listing != "" {
			return true
		}
	}
	return false
}

// unheard is Status.Unheard.
func (c *Coordinator) unheard() []v1.HostName {
	gone := maps.Clone(c.lost)
	for at := range c.away {
		gone[at.Host] = true
	}
	var names []v1.HostName
	for _, info := range c.cfg.Hosts() {
		if info.Name != c.cfg.Host && len(info.Locations) > 0 && c.hosts[info.Name] == nil && !gone[info.Name] {
			names = append(names, info.Name)
		}
	}
	return names
}
