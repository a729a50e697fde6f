package restore

import "testing"

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
