package model

import (
	"fmt"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/placement"
)

func hostName(h int) v1.HostName { return v1.HostName(names[h]) }

// explorer takes all steps from a state.
type explorer struct {
	rules    rules
	files    int
	capacity int
	slots    int
	visit    func(to *state, label func() string)
}

// step makes a change to a copy of s and visits it.
func (e *explorer) step(s *state, change func(t *state), label func() string) {
	t := *s
	change(&t)
	t.bury()
	for i := range t.h {
		e.forgetVain(&t.h[i])
	}
	e.visit(&t, label)
}

// forgetVain takes messages off the wire that can change nothing any more: no life comes back, no turn grows.
func (e *explorer) forgetVain(h *host) {
	for m := maxSlots - 1; m >= 0; m-- {
		msg := h.wire[m]
		if msg.kind == drop && !msg.sameLife && !msg.awaited || msg.kind != drop && msg.kind != nothing && !e.rules.counts(msg) {
			h.lose(m)
		}
	}
}

// expand visits every state that s may turn into.
func (e *explorer) expand(s *state) {
	for i := range s.h {
		e.hostSteps(s, i)
		e.networkSteps(s, i)
		if s.left.all > 0 {
			e.hostFaults(s, i)
		}
	}
	if s.left.all > 0 {
		e.sourceFaults(s)
	}
}

// hostSteps are what a host may do.
func (e *explorer) hostSteps(s *state, i int) {
	h := &s.h[i]
	say := func(format string, args ...any) func() string {
		return func() string { return names[i] + " " + fmt.Sprintf(format, args...) }
	}
	if h.asked {
		e.step(s, func(t *state) { t.h[i].giveUp() }, say("waits no longer"))
	}
	if h.answered {
		e.step(s, func(t *state) { t.h[i].receive() }, say("gets the answer"))
	}
	if h.may != 0 {
		e.step(s, func(t *state) { e.delete(&t.h[i]) }, say("deletes file %d under its grant", h.may-1))
		e.step(s, func(t *state) { t.h[i].may = 0 }, say("lets its grant for file %d lapse", h.may-1))
	}
	for f := range e.files {
		if h.disk[f] != current && (h.disk[f] == old || h.used() < e.capacity) {
			e.step(s, func(t *state) { t.h[i].disk[f] = current }, say("has copied file %d", f))
		}
	}
	e.requests(s, i, say)
}

// requests are what a host may send. Hello is one step: whoever waits for its answer does nothing else.
func (e *explorer) requests(s *state, i int, say func(string, ...any) func() string) {
	h := &s.h[i]
	if busy := h.asked || h.may != 0; busy && e.rules.settled {
		return
	}
	if !h.sameLife {
		e.step(s, func(t *state) { t.h[i].newLife() }, say("says hello"))
		return
	}
	if !h.reported {
		e.step(s, func(t *state) { t.h[i].send(inventory, h.held(), e.slots) }, say("sends its inventory %03b", h.held()))
	}
	for f := range e.files {
		if h.disk[f] == current && h.catalog[f] != confirmed {
			e.step(s, func(t *state) { t.h[i].send(confirm, 1<<f, e.slots) }, say("asks to confirm file %d", f))
		}
	}
	if h.held() != 0 && h.may == 0 && !h.asked {
		e.step(s, func(t *state) { t.h[i].send(drop, 0, e.slots) }, say("asks to drop"))
	}
}

// newLife is a hello and its answer.
func (h *host) newLife() {
	h.forgetLife()
	h.sameLife = true
}

// receive takes the answer that the host waited for.
func (h *host) receive() {
	h.may = h.answer
	h.asked, h.answered, h.answer = false, false, 0
}

// delete acts on the host's grant.
func (e *explorer) delete(h *host) {
	f := h.may - 1
	h.may = 0
	facts := placement.DeleteFacts{Now: 1, For: 2, SameProcess: true, Identity: true, Generation: h.disk[f] == current}
	if e.rules.mayDelete(facts) {
		h.disk[f] = absent
	}
}

// networkSteps deliver and repeat what is under way from a host. What is never delivered is lost.
func (e *explorer) networkSteps(s *state, i int) {
	for m := range s.h[i].wire {
		msg := s.h[i].wire[m]
		if msg.kind == nothing {
			return
		}
		t := *s
		t.h[i].lose(m)
		e.handle(&t, i, m-1, msg, func() string { return fmt.Sprintf("%s's %s %03b is handled", names[i], kindName[msg.kind], msg.held) })
		if s.left.repeats > 0 && s.left.all > 0 {
			t := *s
			t.left.repeats--
			t.left.all--
			e.handle(&t, i, m, msg, func() string {
				return fmt.Sprintf("%s's %s %03b is handled, and stays under way", names[i], kindName[msg.kind], msg.held)
			})
		}
	}
}

var kindName = [...]string{inventory: "inventory", confirm: "confirm", drop: "drop"}

// handle is the coordinator's half. The messages on the wire up to number last were sent no later than this one.
func (e *explorer) handle(t *state, i, last int, msg message, say func() string) {
	h := &t.h[i]
	switch {
	case msg.kind == drop:
		e.handleDrop(t, i, last, msg)
		return
	case !e.rules.counts(msg):
	case msg.kind == inventory:
		h.report(msg.held)
	case msg.kind == confirm:
		h.confirm(msg.held)
	}
	e.step(t, func(*state) {}, say)
}

// report takes an inventory: what it doesn't name is lost, what it names and isn't known must be confirmed first.
func (h *host) report(held uint8) {
	h.reported = true
	for f := range h.catalog {
		if held&(1<<f) == 0 || h.catalog[f] == granted {
			h.catalog[f] = none
		}
	}
}

// confirm counts the replicas.
func (h *host) confirm(held uint8) {
	for f := range h.catalog {
		if held&(1<<f) != 0 {
			h.catalog[f] = confirmed
		}
	}
}

// handleDrop grants any one of the files that may be dropped, or none. Whatever policy chooses is among these.
func (e *explorer) handleDrop(s *state, i, last int, msg message) {
	if !msg.sameLife {
		return
	}
	for j := 0; j <= last; j++ {
		s.h[i].wire[j].before = s.h[i].wire[j].sameLife // turns of different lives don't compare
	}
	answer := func(t *state, grant int) {
		if msg.awaited && t.h[i].asked {
			t.h[i].answered, t.h[i].answer = true, uint8(grant+1)
		}
	}
	e.step(s, func(t *state) { answer(t, -1) }, func() string { return names[i] + " is granted nothing" })
	for f := range e.files {
		if s.h[i].catalog[f] == confirmed && e.rules.mayDrop(s.dropFacts(f, i)) {
			e.step(s, func(t *state) {
				t.h[i].catalog[f] = granted
				answer(t, f)
			}, func() string { return fmt.Sprintf("%s is granted to drop file %d", names[i], f) })
		}
	}
}
