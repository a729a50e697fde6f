package placement

import (
	"fmt"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"pgregory.net/rapid"
)

func good(names ...string) (holders []Holder) {
	for _, n := range names {
		holders = append(holders, Holder{Host: v1.HostName(n), Current: true, Confirmed: true, Live: true, Reported: true})
	}
	return holders
}

func TestMayDrop(t *testing.T) {
	spoil := func(i int, f func(*Holder)) func(*DropFacts) {
		return func(d *DropFacts) { f(&d.Holders[i]) }
	}
	for _, c := range []struct {
		name   string
		change func(*DropFacts)
		want   Refusal
	}{
		{"two others hold it", func(*DropFacts) {}, Allowed},
		{"one other holds it", func(d *DropFacts) { d.Holders = d.Holders[:2] }, TooFew},
		{"one is of an earlier version", spoil(1, func(h *Holder) { h.Current = false }), TooFew},
		{"one is not confirmed", spoil(1, func(h *Holder) { h.Confirmed = false }), TooFew},
		{"one is silent", spoil(1, func(h *Holder) { h.Live = false }), TooFew},
		{"one has not reported", spoil(1, func(h *Holder) { h.Reported = false }), TooFew},
		{"one is about to be dropped", spoil(1, func(h *Holder) { h.Granted = true }), TooFew},
		{"one is corrupt", spoil(1, func(h *Holder) { h.Corrupt = true }), TooFew},
		{"one was declared gone", spoil(1, func(h *Holder) { h.Gone = true }), TooFew},
		{"both in one failure domain", func(d *DropFacts) { d.Holders[1].Domain, d.Holders[2].Domain = "attic", "attic" }, TooFew},
		{"a host named as a domain is no domain", func(d *DropFacts) { d.Holders[1].Domain = "c" }, Allowed},
		{"an outdated replica may go", spoil(0, func(h *Holder) { h.Current, h.Confirmed = false, false }), Allowed},
		{"it is granted already", spoil(0, func(h *Holder) { h.Granted = true }), NotHeld},
		{"it is not known to be held", func(d *DropFacts) { d.Host = "z" }, NotHeld},
		{"amnesia", func(d *DropFacts) { d.Amnesic = true }, IsAmnesic},
		{"deleted", func(d *DropFacts) { d.Deleted = true }, IsDeleted},
		{"unsettled", func(d *DropFacts) { d.Unsettled = true }, IsUnsettled},
		{"nothing desired", func(d *DropFacts) { d.Desired = 0 }, NotDesired},
		{"excess, and a fourth is silent", func(d *DropFacts) {
			d.Excess = true
			d.Holders = append(d.Holders, Holder{Host: "d", Current: true, Confirmed: true})
		}, AwaitsSilent},
		{"need, and a fourth is silent", func(d *DropFacts) { d.Holders = append(d.Holders, Holder{Host: "d", Current: true, Confirmed: true}) }, Allowed},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &DropFacts{Host: "a", Desired: 2, Holders: good("a", "b", "c")}
			c.change(f)
			if got := MayDrop(f); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestMayDropIsMonotonous: what speaks against a drop never makes it allowed.
func TestMayDropIsMonotonous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &DropFacts{Host: "h0", Desired: rapid.IntRange(1, 3).Draw(t, "desired"), Excess: rapid.Bool().Draw(t, "excess")}
		for i := range rapid.IntRange(1, 6).Draw(t, "holders") {
			b := func(name string) bool { return rapid.IntRange(0, 4).Draw(t, name) > 0 }
			f.Holders = append(f.Holders, Holder{Host: v1.HostName(fmt.Sprint("h", i)), Domain: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "domain"),
				Current: b("current"), Confirmed: b("confirmed"), Live: b("live"), Reported: b("reported"), Granted: !b("granted"), Corrupt: !b("corrupt"), Gone: !b("gone")})
		}
		before := MayDrop(f)
		if i := rapid.IntRange(0, len(f.Holders)-1).Draw(t, "which"); i > 0 {
			h := &f.Holders[i]
			for _, worse := range []func(){func() { h.Current = false }, func() { h.Confirmed = false }, func() { h.Live = false },
				func() { h.Reported = false }, func() { h.Granted = true }, func() { h.Corrupt = true }} {
				was := *h
				worse()
				if before != Allowed && MayDrop(f) == Allowed {
					t.Fatalf("%+v was refused (%s), and allowed with %+v", was, before, *h)
				}
				*h = was
			}
		}
		if before == Allowed {
			domains := make(map[string]bool)
			for _, h := range f.Holders[1:] {
				if h.Current && h.Confirmed && h.Live && h.Reported && !h.Granted && !h.Corrupt && !h.Gone {
					domains[domainKey(&h)] = true
				}
			}
			if len(domains) < f.Desired {
				t.Fatalf("allowed with %d good others of %d", len(domains), f.Desired)
			}
		}
	})
}

func TestMayDelete(t *testing.T) {
	base := DeleteFacts{Asked: time.Hour, Now: time.Hour + 59*time.Second, For: time.Minute, SameProcess: true, Identity: true, Generation: true}
	if !MayDelete(base) {
		t.Error("a valid grant is refused")
	}
	for name, change := range map[string]func(*DeleteFacts){
		"ran out":          func(f *DeleteFacts) { f.Now = time.Hour + time.Minute },
		"of before":        func(f *DeleteFacts) { f.Now = 0 },
		"other process":    func(f *DeleteFacts) { f.SameProcess = false },
		"other location":   func(f *DeleteFacts) { f.Identity = false },
		"other generation": func(f *DeleteFacts) { f.Generation = false },
	} {
		f := base
		change(&f)
		if MayDelete(f) {
			t.Errorf("%s: a grant that is not valid is acted on", name)
		}
	}
}

func TestMayCount(t *testing.T) {
	for _, c := range []struct {
		f    CountFacts
		want bool
	}{
		{CountFacts{Life: 5, MessageLife: 5, Turn: 3, DropTurn: 2}, true},
		{CountFacts{Life: 5, MessageLife: 5, Turn: 2, DropTurn: 2}, false},
		{CountFacts{Life: 5, MessageLife: 4, Turn: 3, DropTurn: 2}, false},
	} {
		if MayCount(c.f) != c.want {
			t.Errorf("%+v: want %v", c.f, c.want)
		}
	}
}

func TestShouldDropChoosesTheFullest(t *testing.T) {
	hosts := []Host{{Capacity: 1000, Room: 900}, {Capacity: 1000, Room: 100}, {Capacity: 1000, Room: 110}, {Capacity: 1000, Room: 890}}
	all := []int{0, 1, 2, 3}
	var chosen []int
	for _, h := range all {
		if ShouldDrop(hosts, all, h, Tidy, 2, 2) {
			chosen = append(chosen, h)
		}
	}
	if len(chosen) != 2 || chosen[0] != 1 || chosen[1] != 2 {
		t.Errorf("chosen %v, want the two full ones", chosen)
	}
	if ShouldDrop(hosts, []int{0, 1}, 1, Leave, 2, 2) {
		t.Error("the last two are let go")
	}
	if !ShouldDrop(hosts, []int{0, 1, 3}, 0, Starved, 2, 3) {
		t.Error("room is needed, and an extra replica is kept")
	}
}
