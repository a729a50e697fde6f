package model

import "slices"

const (
	hosts    = 3
	maxFiles = 3
	desired  = 2
	maxSlots = 2 // messages of one host under way at once
)

// What lies on a disk.
const (
	absent uint8 = iota
	old          // an earlier version
	current
	ghost // the current one, destroyed by a fault that the coordinator cannot know of yet
)

// What the catalog says of a replica.
const (
	none uint8 = iota
	confirmed
	granted // a grant was recorded; counts no more
)

// Kinds of requests.
const (
	nothing uint8 = iota
	inventory
	confirm
	drop
)

// message is a request under way from a host to the coordinator.
type message struct {
	kind uint8
	// held has a bit for every file that the sender says it holds in the current version.
	held uint8
	// sameLife: it carries the coordinator's present life for the host.
	sameLife bool
	// before: the coordinator has handled a request to drop of the same or a later turn.
	before bool
	// awaited: the sender still waits for the answer. Only answers to drop change what a sender does next.
	awaited bool
}

// host is one host's disk and process, what is under way from it, and what the coordinator knows of it.
type host struct {
	disk [maxFiles]uint8

	sameLife bool  // the process knows the coordinator's present life for it
	asked    bool  // it waits for the answer to a request to drop
	answered bool  // which is under way
	answer   uint8 // with this grant (file + 1)
	may      uint8 // the grant it holds (file + 1)

	wire [maxSlots]message // oldest first

	catalog  [maxFiles]uint8
	reported bool // it sent an inventory in the present life
}

// budget is how many faults may still happen: of each kind, and in all.
type budget struct {
	restarts, rollbacks, crashes, wipes, repeats, changes, absences uint8
	all                                                             uint8
}

// state is a whole cluster: disks, processes, catalog, network, and the faults that may still happen.
type state struct {
	h    [hosts]host
	left budget
}

// key is a state packed.
type key [hosts + 1]uint64

// held is the files whose current version lies on the host's disk.
func (h *host) held() (mask uint8) {
	for f, d := range h.disk {
		if d == current {
			mask |= 1 << f
		}
	}
	return mask
}

// used counts the files on the host's disk.
func (h *host) used() (n int) {
	for _, d := range h.disk {
		if d == current || d == old {
			n++
		}
	}
	return n
}

// doomed tells whether the host may still act on a grant for a file.
func (h *host) doomed(f int) bool {
	return h.may == uint8(f+1) || h.answered && h.answer == uint8(f+1)
}

// broken is the first file for which S1 does not hold, -1 none.
func (s *state) broken() int {
	for f := range maxFiles {
		safe, atRisk := 0, false
		for i := range s.h {
			h := &s.h[i]
			switch {
			case h.doomed(f):
				atRisk = true
			case h.disk[f] == current || h.disk[f] == ghost:
				safe++
			}
		}
		if atRisk && safe < desired {
			return f
		}
	}
	return -1
}

// bury forgets the ghosts that the coordinator knows of and no grant was based on.
func (s *state) bury() {
	for f := range maxFiles {
		atRisk := false
		for i := range s.h {
			atRisk = atRisk || s.h[i].doomed(f)
		}
		for i := range s.h {
			if h := &s.h[i]; !atRisk && h.disk[f] == ghost && !(h.catalog[f] == confirmed && h.reported) && !h.saying(f) {
				h.disk[f] = absent
			}
		}
	}
}

// saying tells whether a message is under way that may make the file count.
func (h *host) saying(f int) bool {
	for _, m := range h.wire {
		if m.kind != nothing && m.held&(1<<f) != 0 && m.sameLife && !m.before {
			return true
		}
	}
	return false
}

// send puts a request on the wire. Where too many are under way, the oldest is lost.
func (h *host) send(kind, held uint8, slots int) {
	for _, m := range h.wire {
		if m.kind == kind && kind != drop && m.held == held && m.sameLife && !m.before {
			return // nothing new; repetitions are faults, and counted
		}
	}
	if h.wire[slots-1].kind != nothing {
		if h.wire[0].awaited {
			h.giveUp()
		}
		h.lose(0)
	}
	for i := range slots {
		if h.wire[i].kind == nothing {
			h.wire[i] = message{kind: kind, held: held, sameLife: h.sameLife, awaited: kind == drop}
			break
		}
	}
	h.asked = h.asked || kind == drop
}

// lose takes a message off the wire.
func (h *host) lose(i int) {
	copy(h.wire[i:], h.wire[i+1:])
	h.wire[maxSlots-1] = message{}
}

// giveUp makes the host wait no longer; an answer that comes later is ignored.
func (h *host) giveUp() {
	h.asked, h.answered, h.answer = false, false, 0
	for i := range h.wire {
		h.wire[i].awaited = false
	}
}

// forgetLife makes all that the host said or knows belong to a former life.
func (h *host) forgetLife() {
	h.reported, h.sameLife = false, false
	for i := range h.wire {
		h.wire[i].sameLife, h.wire[i].before = false, false
	}
}

// pack is the state's key: the same for states that differ only in the names of hosts or files, which are all alike.
func (s *state) pack(files int) key {
	var best key
	for i, names := range fileNames[files] {
		var k key
		for h := range s.h {
			k[h] = s.h[h].word(names)
		}
		slices.Sort(k[:hosts])
		if i == 0 || slices.Compare(k[:], best[:]) < 0 {
			best = k
		}
	}
	l := s.left
	for i, n := range []uint8{l.restarts, l.rollbacks, l.crashes, l.wipes, l.repeats, l.changes, l.absences, l.all} {
		best[hosts] |= uint64(n) << (8 * i)
	}
	return best
}

var fileNames = map[int][][]uint8{
	1: {{0, 1, 2}},
	2: {{0, 1, 2}, {1, 0, 2}},
	3: {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}},
}

// packer writes bits, and reads them in the same order.
type packer struct {
	word uint64
	at   uint
}

func (p *packer) put(x uint8, bits uint) { p.word |= uint64(x) << p.at; p.at += bits }

func (p *packer) flag(b bool) {
	if b {
		p.word |= 1 << p.at
	}
	p.at++
}

func (p *packer) get(bits uint) uint8 {
	x := uint8(p.word >> p.at & (1<<bits - 1))
	p.at += bits
	return x
}

func (p *packer) isSet() bool { return p.get(1) == 1 }

// word packs a host, file f being called names[f].
func (h *host) word(names []uint8) uint64 {
	var p packer
	var disk, catalog [maxFiles]uint8
	for f, n := range names {
		disk[n], catalog[n] = h.disk[f], h.catalog[f]
	}
	for f := range maxFiles {
		p.put(disk[f], 2)
		p.put(catalog[f], 2)
	}
	for _, b := range []bool{h.sameLife, h.asked, h.answered, h.reported} {
		p.flag(b)
	}
	p.put(renameFile(h.answer, names), 2)
	p.put(renameFile(h.may, names), 2)
	for _, m := range h.wire {
		p.put(m.kind, 2)
		p.put(renameMask(m.held, names), 3)
		p.flag(m.sameLife)
		p.flag(m.before)
		p.flag(m.awaited)
	}
	return p.word
}

// unpack is a state with this key.
func (k key) unpack() (s state) {
	for i := range s.h {
		h, p := &s.h[i], packer{word: k[i]}
		for f := range maxFiles {
			h.disk[f], h.catalog[f] = p.get(2), p.get(2)
		}
		for _, b := range []*bool{&h.sameLife, &h.asked, &h.answered, &h.reported} {
			*b = p.isSet()
		}
		h.answer, h.may = p.get(2), p.get(2)
		for m := range h.wire {
			h.wire[m] = message{kind: p.get(2), held: p.get(3), sameLife: p.isSet(), before: p.isSet(), awaited: p.isSet()}
		}
	}
	b := packer{word: k[hosts]}
	l := &s.left
	for _, n := range []*uint8{&l.restarts, &l.rollbacks, &l.crashes, &l.wipes, &l.repeats, &l.changes, &l.absences, &l.all} {
		*n = b.get(8)
	}
	return s
}

func renameFile(f uint8, names []uint8) uint8 {
	if f == 0 {
		return 0
	}
	return names[f-1] + 1
}

func renameMask(mask uint8, names []uint8) (renamed uint8) {
	for f, n := range names {
		if mask&(1<<f) != 0 {
			renamed |= 1 << n
		}
	}
	return renamed
}
