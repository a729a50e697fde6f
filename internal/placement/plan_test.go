package placement

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	v1 "clusterbackup/api/v1"
)

func hostName(i int) v1.HostName { return v1.HostName(fmt.Sprintf("h%d", i)) }

func TestPlanLeavesAPlaceForTheRest(t *testing.T) {
	// 0 and 1 are small, 2 is large: every file needs 2 and one of the others, so 0 and 1 must not pair up.
	hosts := open(500, 500, 1000)
	p := NewPlan(hosts, []Class{{Files: 100, Bytes: 1000, Missing: 2, Largest: 10}}, nil)
	if p.Short() != 0 {
		t.Fatalf("short %d", p.Short())
	}
	taken := [3]int{}
	for h := range 2 {
		for p.Take(h, 0, 10) {
			taken[h]++
		}
	}
	for p.Take(2, 0, 10) {
		taken[2]++
	}
	if taken != [3]int{50, 50, 100} {
		t.Errorf("taken %v", taken)
	}
}

func TestPlanReroutesWhatAnotherHostWasMeantToTake(t *testing.T) {
	hosts := open(1000, 1000, 1000)
	p := NewPlan(hosts, []Class{{Files: 50, Bytes: 500, Missing: 1, Largest: 10}}, nil)
	for i := range 50 {
		if !p.Take(1, 0, 10) {
			t.Fatalf("file %d refused, though any host may take all", i)
		}
	}
	if left := p.Share(0, 0) + p.Share(0, 1) + p.Share(0, 2); left != 0 {
		t.Errorf("all files are taken, and %d bytes are still planned", left)
	}
}

func TestHostsThatOthersNeedAreLeftToThem(t *testing.T) {
	// Another source looks for a place on 1 and 2 too, and not on 0: its own host.
	hosts := open(1000, 1000, 1000)
	hosts[1].Sought, hosts[2].Sought = 900, 900
	p := NewPlan(hosts, []Class{{Files: 90, Bytes: 900, Missing: 2, Largest: 10}}, nil)
	if got, other := p.Share(0, 0), p.Share(0, 1); got < 750 || other > 550 {
		t.Errorf("planned for the host that nobody else wants: %d, for another: %d", got, other)
	}
	asked := 0
	for p.Take(1, 0, 10) { // it asks more often than the others
		asked += 10
	}
	if asked > 550 {
		t.Errorf("the host that both want was given %d of %d bytes", asked, 900)
	}
	taken := asked
	for h := range 3 {
		for p.Take(h, 0, 10) {
			taken += 10
		}
	}
	if taken != 1800 {
		t.Errorf("%d bytes were given in all, of 1800", taken)
	}
}

func TestLargestIsWhatTheHostCouldBeGiven(t *testing.T) {
	p := NewPlan(open(1000, 1000, 1000), []Class{
		{Files: 2, Bytes: 900, Missing: 1, Largest: 800, Holders: []int{0}},
		{Files: 2, Bytes: 300, Missing: 1, Largest: 200, Holders: []int{1}},
		{Files: 1, Bytes: 900, Missing: 0, Largest: 900, Holders: []int{1, 2}},
	}, nil)
	if got := [3]int64{p.Largest(0), p.Largest(1), p.Largest(2)}; got != [3]int64{200, 800, 800} {
		t.Errorf("largest %v: what a host has, or lacks no copy, is not for it", got)
	}
}

func TestDisplaceMakesRoomForTheStarving(t *testing.T) {
	// The dead-lock: 0 and 1 hold files 0–6 and are full, 2 holds 7–9 and has room.
	hosts := open(0, 0, 4)
	var movable, missing []File
	for range 7 {
		movable = append(movable, File{Size: 1, Holders: []int{0, 1}})
	}
	for range 3 {
		missing = append(missing, File{Size: 1, Holders: []int{2}, Missing: 1})
	}
	moves := Displace(hosts, missing, movable, 2, 300)
	if len(moves) != 3 {
		t.Fatalf("moves %v, want three", moves)
	}
	for _, m := range moves {
		if m.To != 2 || m.From == 2 {
			t.Errorf("move %v", m)
		}
	}
}

func TestDisplaceIsNotLedAstrayByWhatCannotMove(t *testing.T) {
	// Host 2 alone has room, and nearly all that lies on 0 and 1 is there already; each move makes room for one missing file.
	hosts := open(0, 0, 1000)
	var movable, missing []File
	for range 200 {
		movable = append(movable, File{Size: 10, Holders: []int{0, 2}}, File{Size: 10, Holders: []int{1, 2}})
	}
	for range 12 {
		movable = append(movable, File{Size: 10, Holders: []int{0, 1}})
		missing = append(missing, File{Size: 10, Holders: []int{2}, Missing: 1})
	}
	moves := Displace(hosts, missing, movable, 4, 4000)
	if len(moves) != 12 {
		t.Fatalf("%d moves, want 12: %v", len(moves), moves)
	}
	for _, m := range moves {
		if m.To != 2 || m.File < 400 {
			t.Errorf("move %v", m)
		}
	}
}

func TestDisplaceLooksBeyondWhatFitsNow(t *testing.T) {
	hosts := open(100, 1)
	hosts[1].MaxFile = 1 // its room now; a file of 9 can be pushed on
	moves := Displace(hosts, []File{{Size: 8, Holders: []int{0}, Missing: 1}}, []File{{Size: 9, Holders: []int{1}}}, 2, 100)
	if len(moves) != 1 || moves[0] != (Move{File: 0, From: 1, To: 0}) {
		t.Errorf("moves %v", moves)
	}
}

// There is an order in which each move has room when only those before it are done: a file is copied before it is dropped where it was.
func TestDisplaceCanBeCarriedOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 6).Draw(t, "hosts")
		hosts := make([]Host, n)
		for h := range hosts {
			hosts[h] = Host{Name: hostName(h), Room: rapid.Int64Range(0, 30).Draw(t, "room"), Open: true}
		}
		draw := func(label string, most int) (files []File) {
			for range rapid.IntRange(1, most).Draw(t, label) {
				f := File{Size: rapid.Int64Range(1, 60).Draw(t, "size")}
				for range rapid.IntRange(0, 2).Draw(t, "holders") {
					if h := rapid.IntRange(0, n-1).Draw(t, "holder"); !slices.Contains(f.Holders, h) {
						f.Holders = append(f.Holders, h)
					}
				}
				files = append(files, f)
			}
			return files
		}
		missing, movable := draw("missing", 4), draw("movable", 30)
		for f := range missing {
			missing[f].Missing = 1
		}
		moves := Displace(hosts, missing, movable, 4, 4000)
		if !doable(hosts, movable, moves) {
			t.Fatalf("in no order can these be done: %+v\non %+v\nfor %+v\namong %+v", moves, hosts, missing, movable)
		}
	})
}

// doable tells whether moves have room in some order.
func doable(hosts []Host, files []File, moves []Move) bool {
	for i, m := range moves {
		if size := files[m.File].Size; size <= hosts[m.To].Room {
			after := slices.Clone(hosts)
			after[m.To].Room -= size
			after[m.From].Room += size
			if doable(after, files, slices.Delete(slices.Clone(moves), i, i+1)) {
				return true
			}
		}
	}
	return len(moves) == 0
}

func TestRelieveTakesTheSmallestSufficientSet(t *testing.T) {
	hosts := open(0, 50, 9)
	movable := []File{{Size: 40, Holders: []int{0}}, {Size: 9, Holders: []int{0}}, {Size: 8, Holders: []int{0}}, {Size: 30, Holders: []int{0, 1}}}
	moves, freed := Relieve(hosts, 0, 8, movable)
	if freed != 8 || len(moves) != 1 || moves[0] != (Move{File: 2, From: 0, To: 2}) {
		t.Errorf("got %v, %d", moves, freed)
	}
}
