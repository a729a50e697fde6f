package model

import "fmt"

// hostFaults are what may befall a host.
func (e *explorer) hostFaults(s *state, i int) {
	fault := func(left func(*budget) *uint8, what string, change func(h *host)) {
		if b := s.left; *left(&b) > 0 {
			e.step(s, func(t *state) {
				*left(&t.left)--
				t.left.all--
				change(&t.h[i])
			}, func() string { return names[i] + what })
		}
	}
	fault(func(b *budget) *uint8 { return &b.crashes }, " crashes and starts again", (*host).crash)
	fault(func(b *budget) *uint8 { return &b.wipes }, " crashes, loses its disk and starts again", (*host).wipe)
	fault(func(b *budget) *uint8 { return &b.absences }, " is declared gone", (*host).declareGone)
	fault(func(b *budget) *uint8 { return &b.repeats }, "'s hello of a former process is handled", (*host).forgetLife)
}

// crash ends a host's process: it forgets its life, what it waited for, and its grant. What it sent stays under way.
func (h *host) crash() {
	h.giveUp()
	h.may = 0
	h.sameLife = false
}

// wipe destroys what is on the disk. Where the catalog still counts a replica the loss is a fault's, not a drop's.
func (h *host) wipe() {
	h.crash()
	for f, d := range h.disk {
		switch d {
		case current:
			h.disk[f] = ghost
		case old:
			h.disk[f] = absent
		}
	}
}

// declareGone makes the coordinator believe that a host holds nothing. It may be wrong: the host may only be cut off.
func (h *host) declareGone() {
	h.forgetLife()
	h.catalog = [maxFiles]uint8{}
}

// sourceFaults are what may befall the source's host and its files.
func (e *explorer) sourceFaults(s *state) {
	if s.left.restarts > 0 {
		e.step(s, func(t *state) {
			t.left.restarts--
			t.left.all--
			t.restart(e.rules)
		}, func() string { return "the coordinator restarts" })
	}
	if s.left.rollbacks > 0 {
		e.step(s, func(t *state) {
			t.left.rollbacks--
			t.left.all--
			t.restart(e.rules)
			for i := range t.h {
				for f := range e.files {
					t.h[i].catalog[f] = confirmed // an old catalog may say anything; this is the worst
				}
			}
		}, func() string {
			return "the coordinator restarts with an old catalog, by which everyone holds everything"
		})
	}
	for f := range e.files {
		if s.left.changes > 0 {
			e.step(s, func(t *state) {
				t.left.changes--
				t.left.all--
				t.change(f)
			}, func() string { return fmt.Sprintf("file %d changes in the source", f) })
		}
	}
}

// restart ends the coordinator's process: who has reported is forgotten, and every host's life.
func (s *state) restart(r rules) {
	for i := range s.h {
		s.h[i].forgetLife()
		for f := range s.h[i].catalog {
			if s.h[i].catalog[f] == granted && !r.durable {
				s.h[i].catalog[f] = confirmed
			}
		}
	}
}

// change makes every replica of a file, and every word about it, one of an earlier version. Grants for it name that
// version and delete no other.
func (s *state) change(f int) {
	for i := range s.h {
		h := &s.h[i]
		switch h.disk[f] {
		case current:
			h.disk[f] = old
		case ghost:
			h.disk[f] = absent
		}
		h.catalog[f] = none
		if h.may == uint8(f+1) {
			h.may = 0
		}
		if h.answer == uint8(f+1) {
			h.answer = 0
		}
		for m := range h.wire {
			h.wire[m].held &^= 1 << f
		}
	}
}
