package placement

import (
	"cmp"
	"slices"
)

// rockDepth and rockSteps bound the search for the rocks' places.
const (
	rockDepth = 3
	rockSteps = 4000
)

// placeRocks finds hosts for the rocks, critical first, and takes their room from the sand's.
func (p *Plan) placeRocks() {
	k := newPacking(p.hosts)
	k.steps = rockSteps
	bars := make([][]int, len(p.rocks))
	var ids []int
	for r := range p.rocks {
		bars[r] = slices.Clone(p.rocks[r].Holders)
	}
	for _, r := range p.hardest() {
		for range p.rocks[r].Missing {
			id := k.add(r, p.rocks[r].Size, &bars[r], -1)
			k.place(id, rockDepth)
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		if c := &k.copies[id]; c.at >= 0 {
			p.homes[c.file] = append(p.homes[c.file], c.at)
			p.hosts[c.at].Room -= c.size
			p.placed += c.size
		}
	}
}

// hardest is the rocks in the order of placing: those with the fewest slots a missing copy, then the largest.
func (p *Plan) hardest() []int {
	order := make([]int, len(p.rocks))
	slots := make([]int, len(p.rocks))
	for r := range p.rocks {
		order[r] = r
		slots[r] = min(p.slots(p.rocks[r].Holders, p.rocks[r].Size, -1)/max(p.rocks[r].Missing, 1), slotsPerCopy+1)
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(slots[a], slots[b]), cmp.Compare(p.rocks[b].Size, p.rocks[a].Size), cmp.Compare(a, b))
	})
	return order
}

// rocksShort is how many bytes of the rocks' copies have no place.
func (p *Plan) rocksShort() int64 {
	short := -p.placed
	for r := range p.rocks {
		short += p.rocks[r].Size * int64(p.rocks[r].Missing)
	}
	return short
}

// Rocks are the rocks that a host should be given now, at most that many files and bytes (one file may exceed the bytes),
// as indexes, hardest first. They are booked: asked again, the plan does not name them again.
func (p *Plan) Rocks(host int, files int, bytes int64) []int {
	var given []int
	for _, r := range p.hardest() {
		i := slices.Index(p.homes[r], host)
		if i < 0 || len(given) >= files || p.rocks[r].Size > bytes && len(given) > 0 {
			continue
		}
		given = append(given, r)
		bytes -= p.rocks[r].Size
		p.homes[r] = slices.Delete(p.homes[r], i, i+1)
	}
	return given
}

// Wanted is how much more room a host would need to be given one more file of those that have no place: the least over
// those files. 0: none.
func (p *Plan) Wanted(host int) int64 {
	if !p.hosts[host].Open || p.short <= 0 {
		return 0
	}
	var wanted int64
	consider := func(size int64, holders []int) {
		if max := p.hosts[host].MaxFile; barred(p.of, holders, host) || max > 0 && size > max && size > p.hosts[host].Room {
			return
		}
		if more := size - p.idle(host); more > 0 && (wanted == 0 || more < wanted) {
			wanted = more
		}
	}
	for r := range p.rocks {
		if len(p.homes[r]) < p.rocks[r].Missing {
			consider(p.rocks[r].Size, p.rocks[r].Holders)
		}
	}
	for c := range p.classes {
		if s := p.supply[c]; s >= 0 && p.net.room[s] > 0 {
			consider(min(p.net.room[s], max(p.classes[c].largest(), 1)), p.classes[c].Holders)
		}
	}
	return wanted
}
