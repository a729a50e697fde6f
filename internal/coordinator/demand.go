package coordinator

import (
	"slices"

	"clusterbackup/internal/catalog"
	"clusterbackup/internal/placement"
)

// lacks says how many replicas a class's files lack until min, and if none, until max.
func (v *view) lacks(class *catalog.Class) (lack, extra int) {
	n := v.spread(class.Confirmed, notGone)
	if n < v.min {
		return v.min - n, 0
	}
	return 0, max(v.max-n, 0)
}

// covers tells whether a holder, or its failure domain, has a confirmed replica of the class's files.
func (v *view) covers(class *catalog.Class, id catalog.HolderID) bool {
	mine, ok := v.domainOf(id)
	if !ok {
		return false
	}
	return slices.ContainsFunc(class.Confirmed, func(h catalog.HolderID) bool {
		d, ok := v.domainOf(h)
		return ok && d == mine && !v.holder(h).gone
	})
}

// renewing lists the holders of an outdated replica that will bring it up to date themselves; where nobody does, those that are left alone.
func (v *view) renewing(class *catalog.Class) (able []catalog.HolderID) {
	if v.acting {
		return class.Other
	}
	mean := int64(0)
	if class.Files > 0 {
		mean = class.Bytes / class.Files
	}
	for _, id := range class.Other {
		if f := v.holder(id); f.open && f.host >= 0 && f.room >= mean {
			able = append(able, id)
		}
	}
	return able
}

// taken lists the hosts that no further copy of a class's files may go to, or need go to: those that hold it, and those that
// will bring it up to date. Ascending.
func (v *view) taken(class *catalog.Class) []int {
	var hosts []int
	add := func(ids []catalog.HolderID, use func(*holderFacts) bool) {
		for _, id := range ids {
			if f := v.holder(id); f.host >= 0 && use(f) && !slices.Contains(hosts, f.host) {
				hosts = append(hosts, f.host)
			}
		}
	}
	add(class.Confirmed, notGone)
	add(v.renewing(class), notGone)
	slices.Sort(hosts)
	return hosts
}

// takenOf is taken for one file of a class: a host whose location keeps failing to bring the file up to date is left out.
func (c *Coordinator) takenOf(v *view, key catalog.Key, class *catalog.Class) []int {
	if v.acting {
		return v.taken(class)
	}
	return slices.DeleteFunc(v.taken(class), func(h int) bool {
		on := func(id catalog.HolderID) bool { return v.holder(id).host == h }
		if slices.ContainsFunc(class.Confirmed, func(id catalog.HolderID) bool { return on(id) && !v.holder(id).gone }) {
			return false
		}
		return !slices.ContainsFunc(v.renewing(class), func(id catalog.HolderID) bool {
			return on(id) && !c.refusals.stuck(key, v.holder(id).Holder)
		})
	})
}

// missing is how many more copies are wanted beyond those on these hosts.
func (v *view) missing(hosts []int, want int) int {
	var domains []string
	for _, h := range hosts {
		d := v.hosts[h].Domain
		if d == "" {
			d = "\x00" + string(v.hosts[h].Name)
		}
		if !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	return want - len(domains)
}

// mayLetGo tells whether a holder may hope to drop files of a class, as far as the class tells, and should.
func (v *view) mayLetGo(class *catalog.Class, id catalog.HolderID, need placement.Need) bool {
	at := v.holder(id).host
	mine := slices.Contains(class.Confirmed, id)
	if at < 0 || !mine && !slices.Contains(class.Other, id) {
		return false
	}
	// An outdated replica counts nowhere: what its host holds in another location stays when it goes.
	elsewhere := v.spread(class.Confirmed, func(f *holderFacts) bool { return !f.gone && (!mine || f.host != at) })
	switch {
	case elsewhere < v.min:
		return false
	case !mine || need >= placement.Starved:
		return true
	}
	return v.chosen(class, at)
}

// chosen tells whether a host is among those that let go of what exceeds max, or of what shares a failure domain.
func (v *view) chosen(class *catalog.Class, at int) bool {
	var holders []int
	for _, id := range class.Confirmed {
		if f := v.holder(id); !f.gone && f.host >= 0 && !slices.Contains(holders, f.host) {
			holders = append(holders, f.host)
		}
	}
	slices.Sort(holders)
	domains := func(hosts []int) int { return v.max - v.missing(hosts, v.max) }
	keep := min(v.max, domains(holders))
	excess := len(holders) - keep
	if excess <= 0 {
		return false
	}
	// Those without whom as many domains are left as are wanted.
	able := slices.DeleteFunc(slices.Clone(holders), func(h int) bool {
		others := slices.DeleteFunc(slices.Clone(holders), func(o int) bool { return o == h })
		return domains(others) < keep
	})
	return slices.Contains(able, at) && placement.ShouldDrop(v.hosts, able, at, placement.Tidy, 0, max(len(able)-excess, 0))
}
