package restore

import (
	"testing"

	v1 "clusterbackup/api/v1"
)

func TestWhatExistedAtATime(t *testing.T) {
	const at = 1000
	these, others := []byte("these"), []byte("others")
	for _, tc := range []struct {
		name string
		h    held
		more []held
		want bool
	}{
		{name: "old, and nothing else is known", h: held{ModTime: 900}, want: true},
		{name: "young", h: held{ModTime: 1100}},
		{name: "old, but brought from elsewhere later", h: held{ModTime: 900, Seen: 1200, Absent: 950}},
		{name: "the same, long after the listing before", h: held{ModTime: 900, Absent: 1}},
		{name: "listed by then", h: held{ModTime: 900, Seen: 1000, Absent: 950}, want: true},
		{name: "listed by then, of a clock that goes wrong", h: held{ModTime: 5000, Seen: 1000}, want: true},
		{name: "held by then, and its mode changed since", h: held{ModTime: 900, Since: 990, Seen: 1200, Absent: 1100}, want: true},
		{name: "held by then at another", h: held{ModTime: 900, Since: 1100, Absent: 1050}, more: []held{{Digest: these, Since: 800}}, want: true},
		{name: "another version was held by then", h: held{ModTime: 900, Since: 1100, Absent: 1050}, more: []held{{Digest: others, Since: 800}}},
		{name: "another holder knows that it came later", h: held{ModTime: 900}, more: []held{{Digest: these, ModTime: 900, Absent: 1050}}},
		{name: "moved to another holder, and listed before", h: held{ModTime: 900, Since: 5000, Seen: 100}, want: true},
	} {
		tc.h.Digest = these
		if got := existed(append(tc.more, tc.h), &tc.h, at); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// TestContentThatCameBack: the same bytes at two times are not one long time, nor only the first of them.
func TestContentThatCameBack(t *testing.T) {
	one := func(holder int, content string, seq uint64, since, until int64) held {
		digest := v1.Digest{content[0]}
		h := held{Holder: holder, Digest: digest[:], Gen: v1.Generation{Epoch: 1, Seq: seq}, Since: since, Until: until, ModTime: since}
		if until != 0 {
			h.Version = v1.RelPath(content + string(rune('0'+seq)))
		}
		return h
	}
	unknown := func(all []held) []held { // as an index tells that was built anew
		for i := range all {
			all[i].Gen, all[i].Since = v1.Generation{}, 0
		}
		return all
	}
	rotten := func(since, modTime, until int64) held {
		h := unknown([]held{one(1, "X", 0, since, until)})[0]
		h.ModTime = modTime
		return h
	}
	fourTimes := func(holder int, late int64) []held {
		return []held{one(holder, "A", 1, 100+late, 200+late), one(holder, "B", 2, 200+late, 300+late), one(holder, "A", 3, 300+late, 400+late), one(holder, "C", 4, 400+late, 0)}
	}
	deleted := func(holder int, late int64) []held {
		return []held{one(holder, "A", 1, 100+late, 200+late), one(holder, "A", 3, 300+late, 0)}
	}
	for _, tc := range []struct {
		name string
		held []held
		want string // at 50, 150, 250, …
	}{
		{"at one holder", fourTimes(0, 0), "-ABAC"},
		{"at two, one of them slow", append(fourTimes(0, 30), fourTimes(1, 0)...), "-ABAC"},
		{"at two, one of them with a new index", append(unknown(fourTimes(0, 5)), fourTimes(1, 0)...), "-ABAC"},
		{"at one, with a new index", unknown(fourTimes(0, 0)), "-ABAC"},
		{"at two, one of them away while it was other", append(fourTimes(0, 0), one(1, "A", 3, 100, 410), one(1, "C", 4, 410, 0)), "-ABAC"},
		{"at two, one of them away for long", append(fourTimes(0, 0), one(1, "A", 1, 100, 900), one(1, "C", 4, 900, 0)), "-ABAC"},
		{"at two, one of them with rotten bytes that nobody knows", append(fourTimes(0, 0), rotten(100, 100, 190), one(1, "A", 1, 190, 210), one(1, "B", 2, 210, 0)), "-ABAC"},
		{"at two, one of them with rotten bytes still", append(fourTimes(0, 0), rotten(400, 400, 0)), "-ABAC"},
		{"at one, with bytes that only a new index knows", append(fourTimes(0, 0)[1:], rotten(90, 90, 210)), "-XBAC"},
		{"deleted for a while", deleted(0, 0), "-A-AA"},
		{"deleted for a while, and copied to another since", append(deleted(0, 0), one(1, "A", 3, 420, 0)), "-A-AA"},
		{"deleted for a while, at one with a new index", append(unknown(deleted(0, 0)), deleted(1, 0)...), "-A-AA"},
	} {
		got := ""
		for i := range tc.want {
			want := chooseAt(&row{Held: tc.held}, int64(50+100*i))
			if want == nil {
				got += "-"
				continue
			}
			got += string(want.Digest[:1])
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}
