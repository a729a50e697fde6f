package coordinator

import (
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// judged lets an admission judge windows in which hosts copy at a rate that depends on how many they are, and returns how many are let
// in at the end.
func judged(a *admission, windows int, rate func(hosts int) float64) int {
	for range windows {
		a.waited = true
		a.judge(rate(a.limit()))
	}
	a.tried = 0
	return a.limit()
}

func TestAdmissionFindsHowManyHostsPay(t *testing.T) {
	for name, c := range map[string]struct {
		rate        func(int) float64
		least, most int
	}{
		"one host fills the link":   {func(int) float64 { return 100 }, leastAdmitted, leastAdmitted},
		"more hosts slow it down":   {func(n int) float64 { return 1000 / float64(n) }, leastAdmitted, leastAdmitted},
		"each host adds as much":    {func(n int) float64 { return 10 * float64(n) }, 40, 1 << 20},
		"twenty hosts fill it":      {func(n int) float64 { return 10 * float64(min(n, 20)) }, 13, 30},
		"nothing comes for a while": {func(int) float64 { return 0 }, leastAdmitted, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judged(&admission{}, 12, c.rate); got < c.least || got > c.most {
				t.Errorf("%d hosts are let in, want %d to %d", got, c.least, c.most)
			}
		})
	}
}

func TestAdmissionTriesNothingWhenNobodyWaits(t *testing.T) {
	var a admission
	now := testStart
	for range 100 {
		a.confirmed(1000, now)
		now = now.Add(time.Second)
	}
	if a.limit() != leastAdmitted {
		t.Errorf("%d are let in, though nobody was refused", a.limit())
	}
}

// The fifth host is told to come again, and finds a place when one of the others is done.
func TestOnlySomeHostsCopyAtOnce(t *testing.T) {
	names := []v1.HostName{"a", "b", "c", "d", "e"}
	w := newWorld(t, t, 1, names...)
	defer w.stop()
	w.room(20, names...)
	w.many(15, mib)
	for _, name := range names {
		w.peers[name].meet()
	}
	got := map[v1.HostName][]Claimed{}
	for _, name := range names {
		got[name] = w.peers[name].claim(2)
	}
	if len(got["d"]) != 2 || len(got["e"]) != 0 {
		t.Fatalf("claims: %d for the fourth, %d for the fifth", len(got["d"]), len(got["e"]))
	}
	if more := w.peers["a"].claim(1); len(more) != 1 {
		t.Error("a host that copies is refused more")
	}
	for _, f := range got["b"] {
		w.peers["b"].release(f, ReasonFailed)
	}
	if len(w.peers["e"].claim(2)) == 0 {
		t.Error("there is a place now, and the fifth is refused still")
	}
}
