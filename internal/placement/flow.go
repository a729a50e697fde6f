package placement

import "math"

const unlimited = math.MaxInt64 / 4

// network is a directed graph with capacities, for maximum flows. Edge e and e^1 are each other's reverse.
//
// The algorithm is Dinic's ("Algorithm for solution of a problem of maximum flow in networks with power estimation", 1970):
// blocking flows along shortest paths.
type network struct {
	first []int32 // node → its first edge, -1 none
	next  []int32 // edge → its node's next edge
	to    []int32
	room  []int64 // what may still flow along an edge

	level []int32
	arc   []int32
	queue []int32
}

func newNetwork(nodes, edges int) *network {
	g := &network{
		first: make([]int32, nodes), level: make([]int32, nodes), arc: make([]int32, nodes), queue: make([]int32, 0, nodes),
		next: make([]int32, 0, 2*edges), to: make([]int32, 0, 2*edges), room: make([]int64, 0, 2*edges),
	}
	for i := range g.first {
		g.first[i] = -1
	}
	return g
}

// join adds an edge and returns its number.
func (g *network) join(from, to int, capacity int64) int {
	e := len(g.to)
	g.to = append(g.to, int32(to), int32(from))
	g.room = append(g.room, max(capacity, 0), 0)
	g.next = append(g.next, g.first[from], g.first[to])
	g.first[from], g.first[to] = int32(e), int32(e+1)
	return e
}

// flow is what flows along edge e.
func (g *network) flow(e int) int64 { return g.room[e^1] }

// push sends as much as possible, at most limit, from one node to another, beside what flows already, and returns how much.
func (g *network) push(from, to int, limit int64) int64 {
	var sent int64
	for sent < limit && g.rank(from, to) {
		copy(g.arc, g.first)
		for sent < limit {
			x := g.send(from, to, limit-sent)
			if x == 0 {
				break
			}
			sent += x
		}
	}
	return sent
}

// rank gives each node its distance from a node; false when the other cannot be reached.
func (g *network) rank(from, to int) bool {
	for i := range g.level {
		g.level[i] = -1
	}
	g.level[from] = 0
	g.queue = append(g.queue[:0], int32(from))
	for i := 0; i < len(g.queue); i++ {
		n := g.queue[i]
		for e := g.first[n]; e >= 0; e = g.next[e] {
			if m := g.to[e]; g.room[e] > 0 && g.level[m] < 0 {
				g.level[m] = g.level[n] + 1
				if int(m) == to {
					return true
				}
				g.queue = append(g.queue, m)
			}
		}
	}
	return false
}

// send pushes along shortest paths below node.
func (g *network) send(node, to int, limit int64) int64 {
	if node == to {
		return limit
	}
	var sent int64
	for ; g.arc[node] >= 0 && sent < limit; g.arc[node] = g.next[g.arc[node]] {
		e := g.arc[node]
		m := int(g.to[e])
		if g.room[e] <= 0 || g.level[m] != g.level[node]+1 {
			continue
		}
		x := g.send(m, to, min(limit-sent, g.room[e]))
		g.room[e] -= x
		g.room[e^1] += x
		sent += x
		if sent == limit {
			return sent // the edge may have room left: keep it current
		}
	}
	return sent
}
