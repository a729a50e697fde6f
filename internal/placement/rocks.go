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

// placeRocks finds hosts for the rocks, critical first, and takes their room from the sand's. goal is how many bytes each
// host gets if all were sand.
func (p *Plan) placeRocks(goal []int64) {
	order := p.hardest()
	best := p.packRocks(order, goal)
	if best.lost > 0 {
		if other := p.packRocks(order, nil); other.lost < best.lost {
			best = other
		}
	}
	for i := range best.copies {
		if c := &best.copies[i]; c.at >= 0 {
			p.hosts[c.at].Room -= c.size
			p.placed += c.size
		}
	}
	best.goal = nil
	p.pack = best
}

// packRocks lays the rocks into the hosts in that order.
func (p *Plan) packRocks(order []int, goal []int64) *packing {
	k := newPacking(p.hosts)
	k.steps = rockSteps
	k.goal = slices.Clone(goal)
	bars := make([][]int, len(p.rocks))
	for r := range p.rocks {
		bars[r] = slices.Clone(p.rocks[r].Holders)
	}
	for _, r := range order {
		for range p.rocks[r].Missing {
			if !k.place(k.add(r, p.rocks[r].Size, &bars[r], -1), rockDepth) {
				k.lost += p.rocks[r].Size
			}
		}
	}
	return k
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
//
// A rock that would fill a good part of the host's room goes to whoever asks first, if the others still find their place
// then: before other sources' files, of which this one knows nothing, take the room that it needs whole. So does any rock while the
// plan is Lenient.
func (p *Plan) Rocks(host int, files int, bytes int64) []int {
	var given []int
	for _, r := range p.hardest() {
		size := p.rocks[r].Size
		if len(given) >= files || size > bytes && len(given) > 0 {
			continue
		}
		id := p.pack.find(r, host)
		if id < 0 && (p.Lenient || size*giantPart > p.hosts[host].Room) {
			id = p.attract(r, host)
		}
		if id < 0 {
			continue
		}
		given = append(given, r)
		bytes -= size
		p.pack.fix(id)
	}
	return given
}

// giantPart is which part of a host's room makes a rock a giant.
const giantPart = 12

// attract makes a host the home of a rock that has its home elsewhere, if every other rock keeps a place.
func (p *Plan) attract(r, host int) (id int) {
	k := p.pack
	for id := range k.copies {
		c := &k.copies[id]
		if c.file != r || c.at < 0 || c.fixed || !k.allowed(c, host) {
			continue
		}
		before := slices.Clone(k.room)
		if !k.pull(id, host) {
			continue
		}
		for h := range p.hosts {
			more := k.room[h] - before[h]
			p.hosts[h].Room += more
			if e := p.room[h]; p.hosts[h].Open {
				p.net.room[e] = max(p.net.room[e]+more, 0)
			}
		}
		return id
	}
	return -1
}

// Wanted is how much more room a host would need to take its part of the files that have no place: of the rocks those for which few
// hosts lack less, shared among these, but at least the smallest; or its part of the sand. 0: none.
func (p *Plan) Wanted(host int) int64 {
	if !p.hosts[host].Open || p.short <= 0 {
		return 0
	}
	if sand := p.sandWanted(host); sand > 0 {
		return max(sand-p.idle(host), 1)
	}
	var part, smallest int64
	for r := range p.rocks {
		size := p.rocks[r].Size
		if most := p.hosts[host].Capacity; !p.pack.homeless(r) || barred(p.of, p.rocks[r].Holders, host) || most > 0 && size > most {
			continue
		}
		closer, takers := p.closer(r, host)
		if closer >= wantedAt {
			continue
		}
		part += size / int64(min(takers, wantedAt))
		if more := size - p.idle(host); more > 0 && (smallest == 0 || more < smallest) {
			smallest = more
		}
	}
	if smallest == 0 {
		return 0
	}
	return max(smallest, part-p.idle(host))
}

// wantedAt is at how many hosts at once room is wanted for one rock.
const wantedAt = 3

// closer counts the hosts that lack less room for a rock, of the takers: those that may have it.
func (p *Plan) closer(r, host int) (closer, takers int) {
	for h := range p.hosts {
		if !p.hosts[h].Open || barred(p.of, p.rocks[r].Holders, h) {
			continue
		}
		takers++
		mine, other := p.idle(host), p.idle(h)
		if h != host && (other > mine || other == mine && h < host) {
			closer++
		}
	}
	return closer, takers
}

// sandWanted is a host's part of the sand that has no place, shared evenly among those that may take it; at least one file.
func (p *Plan) sandWanted(host int) (bytes int64) {
	var largest int64
	for c := range p.classes {
		s := p.supply[c]
		if s < 0 || p.net.room[s] <= 0 || barred(p.of, p.classes[c].Holders, host) {
			continue
		}
		takers := int64(0)
		for h := range p.hosts {
			if p.hosts[h].Open && !barred(p.of, p.classes[c].Holders, h) {
				takers++
			}
		}
		bytes += p.net.room[s] / takers
		largest = max(largest, min(p.net.room[s], max(p.classes[c].largest(), 1)))
	}
	return max(bytes, largest)
}
