package placement

import (
	"cmp"
	"slices"
)

// Bounds of planning, so that its cost does not grow with the files.
const (
	maxPlanned = 2048 // classes; those beyond, the smallest ones, are handed out without a plan
)

// Plan says which bytes of which class go to which host, so that everything finds a place if it can. It is a maximum flow
// from classes through failure domains to hosts, with a few large files ("rocks") placed one by one before the rest
// ("sand") flows around them.
//
// A plan is a preference, not an order: a host that asks for more than its share gets it as long as the rest still fits as
// well as before ([Plan.Take]). It is for one goroutine at a time.
type Plan struct {
	hosts   []Host
	classes []Class
	of      []int // host → domain
	domains int

	rocks  []File
	pack   *packing // where the rocks are to go
	placed int64    // bytes of rocks' copies that have a home

	net    *network
	supply []int     // class → edge from the source node, -1 not planned
	share  [][]int32 // class → host → edge that carries its share, -1 none
	room   []int     // host → edge to the sink
	need   int64     // bytes of copies wanted
	short  int64     // bytes of copies that have no place
}

// NewPlan plans where the missing copies go. classes are the files that lack copies; rocks are the largest of them one by
// one (a few hundred are plenty), which are counted in their classes too. Neither is kept or changed, but hosts, classes
// and rocks must not be changed while the plan is used.
func NewPlan(hosts []Host, classes []Class, rocks []File) *Plan {
	p := &Plan{hosts: slices.Clone(hosts), classes: slices.Clone(classes), rocks: rocks}
	p.of, p.domains = domains(hosts)
	p.pack = newPacking(hosts)
	for i := range classes {
		p.need += classes[i].Bytes * int64(classes[i].Missing)
	}
	if len(rocks) > 0 {
		p.pour(p.classes)
		goal := make([]int64, len(hosts))
		for h, e := range p.room {
			goal[h] = p.net.flow(e)
		}
		p.placeRocks(goal)
	}
	p.short = p.pour(p.sand()) + p.rocksShort()
	return p
}

// Short is how many bytes of copies find no place, moves left aside. 0: everything fits.
func (p *Plan) Short() int64 { return p.short }

// Need is how many bytes of copies are missing in all.
func (p *Plan) Need() int64 { return p.need }

// Share is how many bytes of a class are meant for a host now.
func (p *Plan) Share(class, host int) int64 {
	if e := p.share[class][host]; e >= 0 {
		return p.net.flow(int(e))
	}
	return 0
}

// nodes of the network: 0 source, 1 sink, then hosts, then classes, then (class, domain).
const (
	sourceNode = 0
	sinkNode   = 1
	firstNode  = 2
)

func (p *Plan) hostNode(h int) int  { return firstNode + h }
func (p *Plan) classNode(c int) int { return firstNode + len(p.hosts) + c }

// pour builds the network of these classes and fills it evenly, and returns how many bytes find no place: every host to the same
// part of the room that is this source's, as far as that goes, then on in steps. What is this source's of a host's room is its part
// in all that is sought there: several sources that each fill their part of the same hosts don't get into each other's way, also
// where not all hosts are open to all of them. A file's size of every host's room is kept back at first, so that shares can be rounded
// to whole files (see [Feasible]).
func (p *Plan) pour(sand []Class) (short int64) {
	planned := p.planned(sand)
	p.build(sand, planned)
	var wanted, largest int64
	for _, c := range planned {
		wanted += sand[c].Bytes * int64(sand[c].Missing)
		largest = max(largest, sand[c].largest())
	}
	var rooms int64
	room := p.ours()
	for h, e := range p.room {
		room[h] = max(room[h]-largest, 0)
		p.net.room[e] = 0
		rooms += room[h]
	}
	flowed := int64(0)
	for part := min(float64(wanted)/float64(max(rooms, 1)), 1); flowed < wanted; part += evenStep {
		for h, e := range p.room {
			p.net.room[e] = max(int64(min(part, 1)*float64(room[h]))-p.net.flow(e), 0)
		}
		flowed += p.net.push(sourceNode, sinkNode, unlimited)
		if part >= 1 {
			break
		}
	}
	for h, e := range p.room {
		p.net.room[e] = p.open(h) - p.net.flow(e)
	}
	flowed += p.net.push(sourceNode, sinkNode, unlimited)
	return wanted - flowed
}

// ours is how much of each host's open room is this source's, by and by: what the others seek there is theirs, in proportion to the
// room of the hosts that they look to, but for a small part.
func (p *Plan) ours() []int64 {
	var looked float64 // room of the hosts that others look to
	for h := range p.hosts {
		if p.hosts[h].Sought > 0 {
			looked += float64(p.open(h))
		}
	}
	ours := make([]int64, len(p.hosts))
	for h := range p.hosts {
		ours[h] = p.open(h)
		if looked > 0 && p.hosts[h].Sought > 0 {
			theirs := float64(p.hosts[h].Sought) / looked
			ours[h] = int64(float64(ours[h]) * max(1-theirs, leastOurs))
		}
	}
	return ours
}

// leastOurs is the part of a host's room that others leave at any rate.
const leastOurs = 1.0 / 16

// evenStep is by which part of their room all hosts are filled on when some have no use for theirs.
const evenStep = 1.0 / 12

// open is the room that a host may be given.
func (p *Plan) open(h int) int64 {
	if !p.hosts[h].Open {
		return 0
	}
	return max(p.hosts[h].Room, 0)
}

// sand is the classes without the rocks.
func (p *Plan) sand() []Class {
	sand := slices.Clone(p.classes)
	for _, r := range p.rocks {
		c := &sand[r.Class]
		c.Files--
		c.Bytes -= r.Size
	}
	if len(p.rocks) > 0 {
		smallest := slices.MinFunc(p.rocks, func(a, b File) int { return cmp.Compare(a.Size, b.Size) }).Size
		for i := range sand {
			if l := sand[i].largest(); l > smallest && sand[i].Files != p.classes[i].Files {
				sand[i].Largest = smallest
			}
		}
	}
	return sand
}

// planned are the classes worth planning: with missing copies, the largest ones if there are very many.
func (p *Plan) planned(sand []Class) []int {
	var planned []int
	for i := range sand {
		if sand[i].Missing > 0 && sand[i].Bytes > 0 {
			planned = append(planned, i)
		}
	}
	if len(planned) > maxPlanned {
		slices.SortStableFunc(planned, func(a, b int) int { return cmp.Compare(sand[b].Bytes, sand[a].Bytes) })
		planned = planned[:maxPlanned]
	}
	return planned
}

// build makes the network: source → class → its failure domains → hosts → sink.
func (p *Plan) build(sand []Class, planned []int) {
	grouped := p.domains < len(p.hosts)
	nodes, edges := firstNode+len(p.hosts)+len(p.classes), len(p.hosts)+len(planned)*(len(p.hosts)+1)
	if grouped {
		nodes += len(planned) * p.domains
		edges += len(planned) * p.domains
	}
	p.net = newNetwork(nodes, edges)
	p.room = make([]int, len(p.hosts))
	for h := range p.hosts {
		p.room[h] = p.net.join(p.hostNode(h), sinkNode, p.open(h))
	}
	p.supply = make([]int, len(p.classes))
	p.share = make([][]int32, len(p.classes))
	none := noEdges(len(p.hosts))
	for c := range p.classes {
		p.supply[c], p.share[c] = -1, none
	}
	domainNode := firstNode + len(p.hosts) + len(p.classes)
	for _, c := range planned {
		p.supply[c] = p.net.join(sourceNode, p.classNode(c), sand[c].Bytes*int64(sand[c].Missing))
		p.share[c] = noEdges(len(p.hosts))
		p.joinClass(c, &sand[c], grouped, domainNode)
		if grouped {
			domainNode += p.domains
		}
	}
}

// joinClass adds a class's edges to the hosts that may take it.
func (p *Plan) joinClass(c int, class *Class, grouped bool, domainNode int) {
	entered := make([]bool, p.domains)
	for h := range p.hosts {
		if !p.hosts[h].Open || barred(p.of, class.Holders, h) {
			continue
		}
		from := p.classNode(c)
		if grouped {
			d := p.of[h]
			from = domainNode + d
			if !entered[d] {
				entered[d] = true
				p.net.join(p.classNode(c), from, class.Bytes)
			}
		}
		p.share[c][h] = int32(p.net.join(from, p.hostNode(h), class.Bytes))
	}
}

func noEdges(n int) []int32 {
	e := make([]int32, n)
	for i := range e {
		e[i] = -1
	}
	return e
}
