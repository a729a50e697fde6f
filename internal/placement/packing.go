package placement

import (
	"cmp"
	"slices"
)

// packing is whole files in hosts with room, and the search for a place for one more by pushing others on.
type packing struct {
	hosts []Host
	of    []int
	room  []int64
	// goal is how many more bytes each host should get if all is spread well; nil: the tightest host that fits is best.
	goal   []int64
	copies []parcel
	on     [][]int // host → copies there that may be pushed on, smallest first
	steps  int     // what is left of the search's budget
	log    []step
	lost   int64 // bytes that found no place
}

// parcel is one copy of a file.
type parcel struct {
	file  int
	size  int64
	bars  *[]int // where the file's copies are, shared by all of them
	at    int    // -1: nowhere
	start int    // where it was at first, -1: nowhere
	fixed bool   // it may not be pushed on
}

// step is one change, to be undone: a copy moved, or (parcel -1) room of a host held back.
type step struct {
	parcel, from, to int
	held             int64
}

func newPacking(hosts []Host) *packing {
	p := &packing{hosts: hosts, room: make([]int64, len(hosts)), on: make([][]int, len(hosts))}
	p.of, _ = domains(hosts)
	for h := range hosts {
		p.room[h] = hosts[h].Room
	}
	return p
}

// add registers a copy of a file; one that has a place already takes no room for it.
func (p *packing) add(file int, size int64, bars *[]int, at int) int {
	p.copies = append(p.copies, parcel{file: file, size: size, bars: bars, at: at, start: at})
	id := len(p.copies) - 1
	if at >= 0 {
		p.lay(id, at)
	}
	return id
}

// fits tells whether a host has room for that much in one piece. What was pushed on from there is taken to leave a piece
// together with the largest that was free.
func (p *packing) fits(size int64, h int) bool { return p.lacks(size, h) <= 0 }

// lacks is how much room a host lacks for that much in one piece.
func (p *packing) lacks(size int64, h int) int64 {
	room := p.room[h]
	if host := &p.hosts[h]; host.MaxFile > 0 {
		room = min(room, host.MaxFile+max(room-host.Room, 0))
	}
	return size - room
}

// allowed tells whether a copy may lie on a host, room aside.
func (p *packing) allowed(c *parcel, h int) bool {
	return p.hosts[h].Open && !barred(p.of, *c.bars, h)
}

// put moves a copy (-1: from or to nowhere) and remembers it.
func (p *packing) put(id, to int) {
	c := &p.copies[id]
	p.log = append(p.log, step{parcel: id, from: c.at, to: to})
	p.shift(id, to)
}

func (p *packing) shift(id, to int) {
	c := &p.copies[id]
	if c.at >= 0 {
		p.room[c.at] += c.size
		if p.goal != nil {
			p.goal[c.at] += c.size
		}
		p.lift(id, c.at)
		*c.bars = without(*c.bars, c.at)
	}
	c.at = to
	if to >= 0 {
		p.room[to] -= c.size
		if p.goal != nil {
			p.goal[to] -= c.size
		}
		p.lay(id, to)
		*c.bars = append(*c.bars, to)
	}
}

// rank orders copies by size.
func (p *packing) rank(a, b int) int {
	return cmp.Or(cmp.Compare(p.copies[a].size, p.copies[b].size), cmp.Compare(a, b))
}

// lay and lift keep the list of what lies on a host.
func (p *packing) lay(id, h int) {
	i, _ := slices.BinarySearchFunc(p.on[h], id, p.rank)
	p.on[h] = slices.Insert(p.on[h], i, id)
}

func (p *packing) lift(id, h int) {
	if i, ok := slices.BinarySearchFunc(p.on[h], id, p.rank); ok {
		p.on[h] = slices.Delete(p.on[h], i, i+1)
	}
}

// find is a copy of a file that has its home on a host, and may still be pushed on; -1 none.
func (p *packing) find(file, h int) int {
	return slices.IndexFunc(p.copies, func(c parcel) bool { return c.file == file && c.at == h && !c.fixed })
}

// homeless tells whether some copy of a file has no home.
func (p *packing) homeless(file int) bool {
	return slices.ContainsFunc(p.copies, func(c parcel) bool { return c.file == file && c.at < 0 })
}

// fix keeps a copy where it is.
func (p *packing) fix(id int) {
	c := &p.copies[id]
	c.fixed = true
	p.lift(id, c.at)
}

// settle keeps all copies where they are that have been placed or pushed on since it was called last: each is to move once.
func (p *packing) settle() {
	for _, s := range p.log {
		if s.parcel < 0 {
			continue
		}
		if c := &p.copies[s.parcel]; c.at >= 0 && c.at != c.start && !c.fixed {
			p.fix(s.parcel)
		}
	}
	p.log = p.log[:0]
}

// pull brings a copy to a host, if those that must give way there find another place.
func (p *packing) pull(id, h int) bool {
	mark := len(p.log)
	p.steps = max(p.steps, pullSteps)
	p.put(id, -1)
	deficit := p.lacks(p.copies[id].size, h)
	if deficit <= 0 {
		p.put(id, h)
		return true
	}
	for _, out := range p.victims(h, deficit, p.copies[id].file, false) {
		if p.swap(id, h, out, 2) {
			return true
		}
	}
	p.undo(mark)
	return false
}

// pullSteps bounds the search of one pull.
const pullSteps = 50

// undo takes back what was done since the log was that long.
func (p *packing) undo(length int) {
	for len(p.log) > length {
		s := p.log[len(p.log)-1]
		p.log = p.log[:len(p.log)-1]
		if s.parcel < 0 {
			p.room[s.from] += s.held
		} else {
			p.shift(s.parcel, s.from)
		}
	}
}

// place finds a home for a copy that has none, pushing at most depth others on in a row, and no more than it takes.
func (p *packing) place(id, depth int) bool {
	for d := range depth + 1 {
		if p.placeAt(id, d) {
			return true
		}
		if p.left() < p.copies[id].size {
			return false
		}
	}
	return false
}

func (p *packing) placeAt(id, depth int) bool {
	c := &p.copies[id]
	if h := p.best(c); h >= 0 {
		p.put(id, h)
		return true
	}
	if depth == 0 || p.steps <= 0 {
		return false
	}
	for _, h := range p.byDeficit(c) {
		for _, out := range p.victims(h, p.lacks(c.size, h), c.file, depth == 1) {
			if p.steps--; p.steps < 0 {
				return false
			}
			if p.swap(id, h, out, depth) {
				return true
			}
		}
	}
	return false
}

// left is the room on all open hosts together.
func (p *packing) left() (room int64) {
	for h := range p.hosts {
		if p.hosts[h].Open {
			room += max(p.room[h], 0)
		}
	}
	return room
}

// swap puts a copy where others give way, if those find another place. A copy that lies on a disk is made elsewhere before it goes: its
// room, beyond what the copy takes for which it gives way, is held back, else hosts would wait for one another.
func (p *packing) swap(id, h int, out []int, depth int) bool {
	mark := len(p.log)
	free := p.room[h]
	for _, o := range out {
		if p.copies[o].start != h {
			free += p.copies[o].size
		}
		p.put(o, -1)
	}
	p.put(id, h)
	p.lift(id, h) // they don't push it on in their turn
	if held := p.room[h] - free; held > 0 {
		p.room[h] = free
		p.log = append(p.log, step{parcel: -1, from: h, held: held})
	}
	ok := true
	for _, o := range out {
		*p.copies[o].bars = append(*p.copies[o].bars, h) // not back to where it came from
		ok = ok && p.placeAt(o, depth-1)
		bars := p.copies[o].bars
		*bars = without(*bars, h)
	}
	if p.lay(id, h); !ok {
		p.undo(mark)
	}
	return ok
}

// best is the host that a copy should go to of those where it fits: that which is farthest from its goal, or else that
// which it leaves the least room, one that no other source looks to before the others; -1 none.
func (p *packing) best(c *parcel) int {
	best := -1
	for h := range p.hosts {
		if p.fits(c.size, h) && (best < 0 || p.better(h, best)) && p.allowed(c, h) {
			best = h
		}
	}
	return best
}

func (p *packing) better(a, b int) bool {
	if p.goal != nil {
		return p.goal[a] > p.goal[b]
	}
	if x, y := p.hosts[a].Sought > 0, p.hosts[b].Sought > 0; x != y {
		return y
	}
	return p.room[a] < p.room[b]
}

// byDeficit is the hosts where a copy may lie, those that lack least room first.
func (p *packing) byDeficit(c *parcel) []int {
	var hosts []int
	for h := range p.hosts {
		if p.allowed(c, h) {
			hosts = append(hosts, h)
		}
	}
	slices.SortFunc(hosts, func(a, b int) int {
		return cmp.Or(cmp.Compare(p.lacks(c.size, a), p.lacks(c.size, b)), cmp.Compare(a, b))
	})
	return hosts
}

// victimsTried is how many sets of copies on one host are tried, victimsSeen how many copies are looked at for them.
const (
	victimsTried = 6
	victimsSeen  = 256
)

// victims are sets of copies on a host, small ones first, that make that much room: one copy, else two. homed: only copies that
// have another home as things are.
func (p *packing) victims(h int, deficit int64, file int, homed bool) [][]int {
	ids := p.on[h]
	atLeast := func(ids []int, size int64) int {
		i, _ := slices.BinarySearchFunc(ids, size, func(id int, want int64) int { return cmp.Compare(p.copies[id].size, want) })
		return i
	}
	may := func(id int) bool { return p.copies[id].file != file && (!homed || p.best(&p.copies[id]) >= 0) }
	var sets [][]int
	first := atLeast(ids, deficit)
	for _, id := range ids[first:min(first+victimsSeen, len(ids))] {
		if len(sets) == victimsTried {
			break
		}
		if may(id) {
			sets = append(sets, []int{id})
		}
	}
	for i := first - 1; i > 0 && i >= first-victimsSeen && len(sets) < 2*victimsTried; i-- {
		if !may(ids[i]) {
			continue
		}
		j := atLeast(ids[:i], deficit-p.copies[ids[i]].size)
		if j == i {
			break
		}
		if may(ids[j]) {
			sets = append(sets, []int{ids[j], ids[i]})
		}
	}
	return sets
}

// without removes the first x from s, not keeping the order.
func without(s []int, x int) []int {
	i := slices.Index(s, x)
	if i < 0 {
		return s
	}
	s[i] = s[len(s)-1]
	return s[:len(s)-1]
}
