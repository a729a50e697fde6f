package restore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	v1 "clusterbackup/api/v1"
)

// content is what a source has from a time on; 0: the file is deleted.
type content struct {
	from int64
	what byte
	seq  uint64
}

// history is a source's, a change each hundred, and what two holders have made of it: the second looks at it now and then.
type history struct {
	source []content
	held   []held
	prompt bool // the second looks as often as the first
}

func contentAt(source []content, at int64) (c content) {
	for _, s := range source {
		if s.from <= at {
			c = s
		}
	}
	return c
}

func newHistory(r *rand.Rand) *history {
	h := &history{prompt: r.IntN(2) == 0}
	for i := range int64(2 + r.IntN(5)) {
		if what := "\x00ABC"[r.IntN(4)]; contentAt(h.source, 1000).what != what {
			h.source = append(h.source, content{100 + 100*i, what, uint64(i + 1)})
		}
	}
	h.follow(0, func() bool { return true })
	h.follow(1, func() bool { return h.prompt || r.IntN(3) == 0 })
	h.listings()
	if r.IntN(3) == 0 {
		for i := range h.held { // the second's index was lost
			if v := &h.held[i]; v.Holder == 1 {
				v.Gen, v.Since, v.Seen, v.Absent = v1.Generation{}, 0, 0, 0
			}
		}
	}
	return h
}

// follow has a holder look at the source.
func (h *history) follow(holder int, looks func() bool) {
	var now *held
	for at := int64(110); at < 1000; at += 50 {
		c := contentAt(h.source, at)
		if !looks() {
			continue
		}
		if now != nil && now.Digest[0] != c.what {
			now.Until, now.Version = at, v1.RelPath(fmt.Sprint(at))
			h.held = append(h.held, *now)
			now = nil
		}
		if c.what == 0 {
			continue
		}
		if now == nil {
			digest := v1.Digest{c.what}
			now = &held{Holder: holder, Digest: digest[:], Since: at}
		}
		now.Gen, now.ModTime = v1.Generation{Epoch: 1, Seq: c.seq}, c.from
	}
	if now != nil {
		h.held = append(h.held, *now)
	}
}

// listings are made soon after each change.
func (h *history) listings() {
	for i := range h.held {
		v := &h.held[i]
		for _, s := range h.source {
			if s.seq < v.Gen.Seq {
				v.Absent = s.from + 5
			} else if v.Seen == 0 {
				v.Seen = s.from + 5
			}
		}
	}
}

// TestEachInstantHasItsContent: whatever one holder missed, what another had at a time comes back. A file that was deleted for a while
// may be there in that while if a holder slept through it, but not otherwise.
func TestEachInstantHasItsContent(t *testing.T) {
	for seed := range uint64(20_000) {
		h := newHistory(rand.New(rand.NewPCG(seed, 1)))
		for at := int64(80); at < 1000; at += 100 {
			got, want := byte(0), contentAt(h.source, at).what
			if chosen := chooseAt(&row{Held: h.held}, at); chosen != nil {
				got = chosen.Digest[0]
			}
			if got != want && (want != 0 || h.prompt) {
				t.Fatalf("seed %d: at %d there was %q and comes %q: %+v\nheld: %+v", seed, at, want, got, h.source, h.held)
			}
		}
	}
}
