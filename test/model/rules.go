package model

import "clusterbackup/internal/placement"

// rules are what the two halves decide by. Tests replace one to see that the exploration notices.
type rules struct {
	mayDrop   func(*placement.DropFacts) bool
	mayCount  func(placement.CountFacts) bool
	mayDelete func(placement.DeleteFacts) bool
	// durable: a grant is on disk before it is answered.
	durable bool
	// settled: a host sends nothing that may count while it waits for a grant or holds one.
	settled bool
}

// realRules are those of the house.
func realRules() rules {
	return rules{
		mayDrop:   func(f *placement.DropFacts) bool { return placement.MayDrop(f) == placement.Allowed },
		mayCount:  placement.MayCount,
		mayDelete: placement.MayDelete,
		durable:   true, settled: true,
	}
}

var names = [hosts]string{"a", "b", "c"}

// dropFacts gathers what MayDrop asks for.
func (s *state) dropFacts(f, h int) *placement.DropFacts {
	facts := &placement.DropFacts{Host: hostName(h), Desired: desired}
	for i := range s.h {
		state := s.h[i].catalog[f]
		if state == none {
			continue
		}
		facts.Holders = append(facts.Holders, placement.Holder{
			Host: hostName(i), Current: true, Confirmed: true, Live: true,
			Reported: s.h[i].reported, Granted: state == granted,
		})
	}
	return facts
}

// counts asks whether what a message says may count.
func (r *rules) counts(m message) bool {
	facts := placement.CountFacts{Life: 1, MessageLife: 1, Turn: 3, DropTurn: 2}
	if !m.sameLife {
		facts.MessageLife = 2
	}
	if m.before {
		facts.Turn = 1
	}
	return r.mayCount(facts)
}
