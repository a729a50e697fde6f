package model

import (
	"fmt"
	"slices"

	"clusterbackup/internal/placement"
)

const settleRounds = 12

// settle goes on from a state without faults, deciding by the real placement, until nothing moves. It fails if a file then
// has not exactly its replicas, if it takes too long, or if a drop on the way was unsafe. It returns how many copies
// were made.
func (u *setup) settle(s state) (copies int, err error) {
	u.finish(&s)
	s.left = budget{}
	k := s.pack(u.files)
	if copies, known := u.settled[k]; known {
		return copies, nil
	}
	copies, err = u.rest(k.unpack())
	if err == nil {
		u.settled[k] = copies
	}
	return copies, err
}

// rest is settle once nothing is under way.
func (u *setup) rest(s state) (copies int, err error) {
	for range settleRounds {
		before := s.h
		copies += u.copyRound(&s)
		if err := u.dropRound(&s); err != nil {
			return copies, err
		}
		if s.h == before {
			return copies, u.served(&s)
		}
	}
	return copies, fmt.Errorf("still moving after %d rounds: %s", settleRounds, s.describe(u.files))
}

// finish delivers what is under way, lets every grant be acted on, and has every host report and confirm what it holds.
func (u *setup) finish(s *state) {
	for i := range s.h {
		h := &s.h[i]
		for h.wire[0].kind != nothing {
			u.deliver(s, i)
		}
		h.receive()
		if h.may != 0 {
			u.explorer(nil).delete(h)
		}
	}
	for i := range s.h {
		h := &s.h[i]
		h.newLife()
		h.report(h.held())
		h.confirm(h.held())
		for f := range u.files {
			if h.disk[f] == ghost {
				h.disk[f] = absent
			}
		}
	}
}

// deliver handles a host's oldest message; of the answers to drop it takes the one that grants most.
func (u *setup) deliver(s *state, i int) {
	msg := s.h[i].wire[0]
	var last *state
	e := u.explorer(func(t *state, _ func() string) { last = t })
	s.h[i].lose(0)
	e.handle(s, i, -1, msg, func() string { return "" })
	if last != nil {
		*s = *last
	}
}

// view describes the cluster to placement; one unit of room is one file.
func (u *setup) view(s *state) (hosts []placement.Host, missing, served []placement.File, missed, kept []int) {
	for i := range s.h {
		hosts = append(hosts, placement.Host{Name: hostName(i), Capacity: int64(u.capacity), Room: int64(u.capacity - s.h[i].used()), Open: true})
	}
	for f := range u.files {
		file := placement.File{Size: 1, Holders: s.holders(f)}
		file.Missing = max(desired-len(file.Holders), 0)
		if file.Missing > 0 {
			missing, missed = append(missing, file), append(missed, f)
		} else {
			served, kept = append(served, file), append(kept, f)
		}
	}
	return hosts, missing, served, missed, kept
}

// holders are the hosts that are counted for a file.
func (s *state) holders(f int) (holders []int) {
	for i := range s.h {
		if s.h[i].catalog[f] == confirmed {
			holders = append(holders, i)
		}
	}
	return holders
}

// copyRound renews old versions where they lie, then lets every host copy what the plan gives it; where some file has no
// place, it makes the moves that help.
func (u *setup) copyRound(s *state) (copies int) {
	take := func(f, i int) {
		s.h[i].disk[f], s.h[i].catalog[f] = current, confirmed
		copies++
	}
	for f := range u.files {
		for i := range s.h {
			if s.h[i].disk[f] == old && len(s.holders(f)) < desired {
				take(f, i)
			}
		}
	}
	hosts, missing, served, missed, kept := u.view(s)
	classes := make([]placement.Class, len(missing))
	for m := range missing {
		missing[m].Class = m
		classes[m] = placement.Class{Holders: missing[m].Holders, Files: 1, Bytes: 1, Largest: 1, Missing: missing[m].Missing}
	}
	plan := placement.NewPlan(hosts, classes, nil)
	for i := range s.h {
		for _, class := range plan.Order(i) {
			if len(s.holders(missed[class])) < desired && plan.Take(i, class, 1) {
				take(missed[class], i)
			}
		}
	}
	if copies > 0 || plan.Short() == 0 {
		return copies
	}
	for _, m := range placement.Displace(hosts, missing, served, 3, 300) {
		if f := kept[m.File]; s.h[m.To].used() < u.capacity && s.h[m.To].disk[f] == absent {
			take(f, m.To)
			s.h[m.From].catalog[f] = none // it is to let go, once that is safe
		}
	}
	return copies
}

// dropRound lets go of every replica that is old or more than desired, as far as it is safe.
func (u *setup) dropRound(s *state) error {
	hosts, _, _, _, _ := u.view(s)
	for f := range u.files {
		for i := range s.h {
			h := &s.h[i]
			leave := h.disk[f] != absent && h.catalog[f] != confirmed
			surplus := h.catalog[f] == confirmed && placement.ShouldDrop(hosts, s.holders(f), i, placement.Tidy, desired, desired)
			if !leave && !surplus {
				continue
			}
			facts := s.dropFacts(f, i)
			if leave {
				facts.Holders = append(facts.Holders, placement.Holder{Host: hostName(i)})
			}
			if !u.rules.mayDrop(facts) {
				if surplus {
					return fmt.Errorf("surplus of file %d at %s may not be dropped: %s", f, names[i], s.describe(u.files))
				}
				continue
			}
			h.disk[f], h.catalog[f] = absent, none
			if n := len(s.holders(f)); n < desired {
				return fmt.Errorf("file %d was dropped down to %d", f, n)
			}
		}
	}
	return nil
}

// served checks that every file has its replicas, no more, no less.
func (u *setup) served(s *state) error {
	for f := range u.files {
		if holders := s.holders(f); len(holders) != desired || slices.ContainsFunc(holders, func(i int) bool { return s.h[i].disk[f] != current }) {
			return fmt.Errorf("at rest, but file %d has %d replicas: %s", f, len(holders), s.describe(u.files))
		}
	}
	return nil
}
