package placement

import (
	"cmp"
	"slices"
)

// slotsPerCopy is how many hosts a missing copy may have to choose from and still be critical.
const slotsPerCopy = 3

// Order is the order in which a host should be offered classes: the critical ones first (a missing copy has few other hosts
// with room left), those with the fewest such slots before the others; then rarest; then those with a share planned for
// the host; then those with larger files. Classes that the host cannot take are left out.
func (p *Plan) Order(host int) []int {
	type rank struct {
		class, slots, critical, copies int
		share, largest                 int64
	}
	var ranks []rank
	for c := range p.classes {
		class := &p.classes[c]
		if class.Missing <= 0 || class.Files <= 0 || barred(p.of, class.Holders, host) {
			continue
		}
		r := rank{class: c, critical: 1, copies: len(class.Holders), share: p.Share(c, host), largest: class.largest()}
		r.slots = p.slots(class.Holders, r.largest, host)
		if r.slots <= slotsPerCopy*class.Missing {
			r.critical = 0
		} else {
			r.slots = 0
		}
		ranks = append(ranks, r)
	}
	slices.SortFunc(ranks, func(a, b rank) int {
		return cmp.Or(cmp.Compare(a.critical, b.critical), cmp.Compare(a.slots, b.slots), cmp.Compare(a.copies, b.copies),
			cmp.Compare(b.share, a.share), cmp.Compare(b.largest, a.largest), cmp.Compare(a.class, b.class))
	})
	order := make([]int, len(ranks))
	for i := range ranks {
		order[i] = ranks[i].class
	}
	return order
}

// Largest is the size of the largest file that lacks a copy and that the host does not hold; 0: there is none.
func (p *Plan) Largest(host int) (size int64) {
	for c := range p.classes {
		if class := &p.classes[c]; class.Missing > 0 && class.Files > 0 && !barred(p.of, class.Holders, host) {
			size = max(size, class.largest())
		}
	}
	return size
}

// slots counts the failure domains, other than host's, where a file of that size with those holders would fit.
func (p *Plan) slots(holders []int, size int64, host int) int {
	n := 0
	seen := make([]bool, p.domains)
	for _, h := range holders {
		seen[p.of[h]] = true
	}
	if host >= 0 {
		seen[p.of[host]] = true
	}
	for h := range p.hosts {
		if d := p.of[h]; !seen[d] && p.hosts[h].fits(size) {
			seen[d] = true
			n++
		}
	}
	return n
}

// Take asks whether a host may have one file of that size of a class (not one of the rocks), and books it if so: it must
// fit, and either be meant for the host, or leave everything else a place. Where other sources look for the host's room too, only
// what is meant for it will do: those who ask most often are not those that the other sources can do without.
func (p *Plan) Take(host, class int, size int64) bool {
	if !p.hosts[host].fits(size) {
		return false
	}
	e := p.share[class][host]
	if p.supply[class] < 0 || size == 0 {
		p.spend(host, size)
		return true
	}
	if e < 0 {
		return false
	}
	planned := func() int64 { return p.net.flow(int(e)) }
	if planned() < size && p.hosts[host].Sought == 0 {
		p.reroute(host, class, size)
	}
	if planned() <= 0 && (p.hosts[host].Sought > 0 || p.idle(host) < size) {
		return false
	}
	p.book(host, class, size)
	return true
}

// idle is how much of a host's room nothing is planned for.
func (p *Plan) idle(host int) int64 { return p.net.room[p.room[host]] }

// reroute tries to let more of a class flow to a host without less flowing in all: it sends the surplus on from the host
// back to the class through what the other classes and hosts leave open.
func (p *Plan) reroute(host, class int, size int64) {
	e := int(p.share[class][host])
	want := max(size, p.classes[class].Bytes/16) - p.net.flow(e)
	from := int(p.net.to[e^1])
	free := p.net.room[e]
	back := p.net.room[e^1]
	p.net.room[e], p.net.room[e^1] = 0, 0 // the way back must not be the edge itself
	x := p.net.push(p.hostNode(host), from, min(want, free))
	p.net.room[e], p.net.room[e^1] = free-x, back+x
}

// book takes a file out of the plan: its flow, and the room it fills.
func (p *Plan) book(host, class int, size int64) {
	e := int(p.share[class][host])
	planned := min(p.net.flow(e), size)
	p.net.room[e^1] -= planned // the rest of the class can't come here twice: room[e] stays lowered
	p.drain(class, host, planned)
	if over := size - planned; over > 0 {
		p.net.room[p.room[host]] = max(p.net.room[p.room[host]]-over, 0)
		p.forget(class, over)
	}
	p.hosts[host].Room -= size
}

// drain removes what was planned from the edges before and after the share's.
func (p *Plan) drain(class, host int, x int64) {
	p.net.room[p.room[host]^1] -= x
	p.net.room[p.supply[class]^1] -= x
	e := int(p.share[class][host])
	if from := int(p.net.to[e^1]); from != p.classNode(class) {
		for d := p.net.first[from]; d >= 0; d = p.net.next[d] {
			if int(p.net.to[d]) == p.classNode(class) {
				p.net.room[d] -= x
				return
			}
		}
	}
}

// forget lowers what is still wanted of a class by what was taken beyond its share: first what had no place, then what was
// meant for other hosts.
func (p *Plan) forget(class int, x int64) {
	s := p.supply[class]
	lost := min(x, p.net.room[s])
	p.net.room[s] -= lost
	for h := range p.hosts {
		if lost == x {
			return
		}
		if e := p.share[class][h]; e >= 0 {
			y := min(x-lost, p.net.flow(int(e)))
			p.net.room[e] += y
			p.net.room[e^1] -= y
			p.net.room[p.room[h]] += y
			p.drain(class, h, y)
			p.restore(class, h, y)
			lost += y
		}
	}
}

// restore gives a domain's edge back what drain took from it for another host.
func (p *Plan) restore(class, host int, x int64) {
	e := int(p.share[class][host])
	if from := int(p.net.to[e^1]); from != p.classNode(class) {
		for d := p.net.first[from]; d >= 0; d = p.net.next[d] {
			if int(p.net.to[d]) == p.classNode(class) {
				p.net.room[d^1] += x
				return
			}
		}
	}
}

// spend books room that no plan speaks of.
func (p *Plan) spend(host int, size int64) {
	p.hosts[host].Room -= size
	e := p.room[host]
	p.net.room[e] = max(p.net.room[e]-size, 0)
}
