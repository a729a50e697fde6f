package placement

import (
	"testing"

	v1 "clusterbackup/api/v1"
)

// What the asker's host holds in another location counts only when the replica to be dropped does not, and once.
func TestMayDropBeside(t *testing.T) {
	good := func(host v1.HostName, location v1.LocationName) Holder {
		return Holder{Host: host, Location: location, Current: true, Confirmed: true, Live: true, Reported: true}
	}
	with := func(h Holder, change func(*Holder)) Holder {
		change(&h)
		return h
	}
	outdated := with(good("b", "1"), func(h *Holder) { h.Current = false })
	for _, test := range []struct {
		name    string
		holders []Holder
		want    Refusal
	}{
		{"outdated beside current", []Holder{outdated, good("b", "2"), good("c", "1")}, Allowed},
		{"unconfirmed beside current", []Holder{with(good("b", "1"), func(h *Holder) { h.Confirmed = false }), good("b", "2"), good("c", "1")}, Allowed},
		{"current beside current", []Holder{good("b", "1"), good("b", "2"), good("c", "1")}, TooFew},
		{"two beside count once", []Holder{outdated, good("b", "2"), good("b", "3")}, TooFew},
		{"one domain counts once", []Holder{outdated, with(good("b", "2"), func(h *Holder) { h.Domain = "d" }), with(good("c", "1"), func(h *Holder) { h.Domain = "d" })}, TooFew},
		{"beside not heard of", []Holder{outdated, with(good("b", "2"), func(h *Holder) { h.Live = false }), good("c", "1")}, TooFew},
		{"beside not reported", []Holder{outdated, with(good("b", "2"), func(h *Holder) { h.Reported = false }), good("c", "1")}, TooFew},
		{"beside about to be dropped", []Holder{outdated, with(good("b", "2"), func(h *Holder) { h.Granted = true }), good("c", "1")}, TooFew},
		{"beside corrupt", []Holder{outdated, with(good("b", "2"), func(h *Holder) { h.Corrupt = true }), good("c", "1")}, TooFew},
		{"granted already", []Holder{with(outdated, func(h *Holder) { h.Granted = true }), good("b", "2"), good("c", "1")}, NotHeld},
		{"only the other location has it", []Holder{good("b", "2"), good("c", "1"), good("d", "1")}, NotHeld},
	} {
		if got := MayDrop(&DropFacts{Host: "b", Location: "1", Desired: 2, Holders: test.holders}); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
