package location

import (
	"slices"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

func TestListingsTellWhenAVersionCame(t *testing.T) {
	h := newHome(t)
	l := h.open()
	at := func(day int64) int64 { return day * int64(24*time.Hour) }
	gen := func(epoch, seq uint64) v1.Generation { return v1.Generation{Epoch: epoch, Seq: seq} }
	for _, one := range []Listing{
		{at(1), gen(7, 5)},
		{at(2), gen(7, 5)}, // nothing came
		{at(3), gen(7, 3)}, // the latest was deleted
		{at(4), gen(7, 9)},
		{at(2), gen(7, 10)}, // a clock went back
		{at(5), gen(9, 4)},  // the catalog was lost, and made anew
	} {
		fatalIf(t, l.NoteListing(photos, one))
	}
	l = h.reopen(l)
	known, err := l.Listings(photos)
	fatalIf(t, err)
	if want := []Listing{{at(1), gen(7, 5)}, {at(4), gen(7, 9)}, {at(5), gen(9, 4)}}; !slices.Equal(known, want) {
		t.Fatalf("listings %v", known)
	}
	for _, tc := range []struct {
		gen          v1.Generation
		seen, absent int64
	}{
		{gen(7, 1), at(1), 0}, {gen(7, 5), at(1), 0}, {gen(7, 6), at(4), at(1)}, {gen(7, 9), at(4), at(1)}, {gen(7, 10), 0, at(4)},
		{gen(9, 4), at(5), 0}, // perhaps it was there before the catalog was made anew
		{gen(9, 5), 0, at(5)}, {gen(8, 1), 0, 0}, {v1.Generation{}, 0, 0},
	} {
		if seen, absent := Seen(known, tc.gen); seen != tc.seen || absent != tc.absent {
			t.Errorf("%v was seen at %d, absent at %d; want %d, %d", tc.gen, seen, absent, tc.seen, tc.absent)
		}
	}
	// What is long ago is forgotten.
	fatalIf(t, l.NoteListing(photos, Listing{at(403), gen(9, 9)}))
	if known, _ = l.Listings(photos); len(known) != 3 || known[0].Time != at(4) {
		t.Errorf("listings %v", known)
	}
}

func TestSinceIsOfTheBytes(t *testing.T) {
	h := newHome(t)
	now := time.Unix(1_800_000_000, 0)
	h.cfg.Clock = func() time.Time { return now }
	l := h.open()
	since := func(want int64) {
		t.Helper()
		if rec, _, _ := l.Get(photos, "a"); rec.Since != want {
			t.Errorf("since %d, want %d", rec.Since, want)
		}
	}
	first := now.Unix()
	put(t, l, file{"a", "one", 1})
	since(first)
	now = now.Add(time.Hour)
	put(t, l, file{"a", "one", 2}) // the same bytes, once more
	since(first)
	_, err := l.Verify(t.Context(), photos, []v1.RelPath{"a"}, VerifyOptions{})
	fatalIf(t, err)
	since(first)
	put(t, l, file{"a", "two", 3})
	since(now.Unix())
	if kept := versionsOf(t, l, "a"); len(kept) != 1 || kept[0].Since.Unix() != now.Unix() || kept[0].Record.Since != first {
		t.Errorf("kept %+v", kept)
	}
	audit(t, h.reopen(l))
}
