package model

import (
	"flag"
	"testing"
	"time"

	"clusterbackup/internal/placement"
)

const limit = 6_000_000

var full = flag.Bool("full", false, "explore the larger clusters too (a minute)")

var anyFault = budget{restarts: 1, rollbacks: 1, crashes: 1, wipes: 1, repeats: 1, changes: 1, absences: 1, all: 1}

func TestDropsAreSafeInEveryState(t *testing.T) {
	for _, c := range []struct {
		name string
		full bool
		setup
	}{
		{"one file, only time", false, setup{files: 1, capacity: 1, slots: 2}},
		{"one file, any two faults", false, setup{files: 1, capacity: 1, slots: 1, left: budget{restarts: 2, rollbacks: 1, crashes: 2, wipes: 1, repeats: 2, changes: 1, absences: 1, all: 2}}},
		{"one file, messages in any order, source faults", false, setup{files: 1, capacity: 1, slots: 2, left: budget{restarts: 1, rollbacks: 1, all: 1}}},
		{"one file, messages in any order, crash", false, setup{files: 1, capacity: 1, slots: 2, left: budget{crashes: 1, all: 1}}},
		{"one file, messages in any order, any fault", true, setup{files: 1, capacity: 1, slots: 2, left: anyFault}},
		{"two files, restart", false, setup{files: 2, capacity: 2, slots: 1, left: budget{restarts: 1, rollbacks: 1, all: 1}}},
		{"two files, any fault", true, setup{files: 2, capacity: 2, slots: 1, left: anyFault}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.full && !*full {
				t.Skip("needs -full")
			}
			t.Parallel()
			start := time.Now()
			c.rules, c.limit = realRules(), limit
			r := c.explore([]*state{c.begin()}, checkDrops)
			if len(r.trace) > 0 {
				t.Fatal(r)
			}
			t.Logf("%v in %v", r, time.Since(start).Round(time.Millisecond))
		})
	}
}

// TestBrokenRulesAreCaught shows that the exploration can fail: with any one of the rules left out, it finds a way to lose
// a replica too many.
func TestBrokenRulesAreCaught(t *testing.T) {
	forgetting := func(change func(*placement.DropFacts)) func(*rules) {
		return func(r *rules) {
			real := r.mayDrop
			r.mayDrop = func(f *placement.DropFacts) bool { change(f); return real(f) }
		}
	}
	for _, c := range []struct {
		name string
		left budget
		fail func(*rules)
	}{
		{"one replica fewer will do", budget{}, forgetting(func(f *placement.DropFacts) { f.Desired-- })},
		{"replicas about to be dropped count", budget{}, forgetting(func(f *placement.DropFacts) {
			for i := range f.Holders {
				f.Holders[i].Granted = f.Holders[i].Granted && f.Holders[i].Host == f.Host
			}
		})},
		{"an old catalog is believed", budget{rollbacks: 1, all: 1}, forgetting(func(f *placement.DropFacts) {
			for i := range f.Holders {
				f.Holders[i].Reported = true
			}
		})},
		{"late messages count", budget{}, func(r *rules) {
			r.mayCount = func(f placement.CountFacts) bool { return f.Life == f.MessageLife }
		}},
		{"messages of a former process count", budget{crashes: 1, all: 1}, func(r *rules) {
			r.mayCount = func(f placement.CountFacts) bool { return f.Turn > f.DropTurn }
		}},
		{"grants are answered before they are on disk, and the catalog believed after a restart", budget{restarts: 1, all: 1}, func(r *rules) {
			r.durable = false
			forgetting(func(f *placement.DropFacts) {
				for i := range f.Holders {
					f.Holders[i].Reported = true
				}
			})(r)
		}},
		{"hosts confirm with a grant in hand", budget{}, func(r *rules) { r.settled = false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := setup{files: 1, capacity: 1, slots: 2, left: c.left, rules: realRules(), limit: limit}
			c.fail(&u.rules)
			r := u.explore([]*state{u.begin()}, checkDrops)
			if r.err == nil || r.states > limit {
				t.Fatalf("not noticed: %v", r)
			}
			t.Logf("%d states until: %v", r.states, r.err)
		})
	}
}

// TestEveryStateSettles: from every state of a feasible cluster, once faults stop, every file gets its replicas and then
// nothing moves. The second cluster is exactly full.
func TestEveryStateSettles(t *testing.T) {
	for _, c := range []struct {
		name string
		setup
	}{
		{"two files, one to spare", setup{files: 2, capacity: 2, slots: 1, left: budget{wipes: 1, changes: 1, all: 1}}},
		{"three files, exactly full", setup{files: 3, capacity: 2, slots: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			c.rules, c.limit = realRules(), limit
			most := 0
			r := c.explore([]*state{c.begin()}, func(s *state) error {
				copies, err := c.settle(*s)
				most = max(most, copies)
				return err
			})
			if len(r.trace) > 0 {
				t.Fatal(r)
			}
			if most < c.files*desired {
				t.Errorf("at most %d copies were made: the test cannot have begun with nothing", most)
			}
			t.Logf("%v settled, by at most %d copies each, in %v", r, most, time.Since(start).Round(time.Millisecond))
		})
	}
}
