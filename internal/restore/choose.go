package restore

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/manifest"
)

// wanted is the version of a file that is restored, and who has it.
type wanted struct {
	Digest  v1.Digest `cbor:"1,keyasint"`
	Size    int64     `cbor:"2,keyasint"`
	ModTime int64     `cbor:"3,keyasint"`
	Mode    uint32    `cbor:"4,keyasint"`
	// Outdated: the version that should be restored has no live replica; this is the latest that has.
	Outdated bool `cbor:"5,keyasint,omitempty"`
	// Newer: it is newer than the listing.
	Newer   bool     `cbor:"6,keyasint,omitempty"`
	Sources []source `cbor:"7,keyasint"`
}

// source is one place to fetch it from.
type source struct {
	Holder  int        `cbor:"1,keyasint"`
	Version v1.RelPath `cbor:"2,keyasint,omitempty"`
}

// choose decides which version of a file is restored. nil: none has a live replica; lost tells whether one should.
//
// latest is the listing's greatest generation; zero when there is no listing, and then whatever is current is wanted.
func choose(r *row, listed bool, latest v1.Generation, at int64) (want *wanted, lost bool) {
	if at != 0 {
		return chooseAt(r, at), false
	}
	if r.Entry != nil && r.Entry.Type != manifest.File {
		return nil, false
	}
	newer := slices.DeleteFunc(slices.Clone(r.Held), func(h held) bool { return !isNewer(&h, r.Entry, listed, latest) })
	if len(newer) > 0 {
		want = newest(newer)
		want.Newer = listed
		return want, false
	}
	if r.Entry == nil {
		return nil, false // deleted, and kept by holders
	}
	exact := slices.DeleteFunc(slices.Clone(r.Held), func(h held) bool { return !matches(&h, r.Entry) })
	if len(exact) > 0 {
		want = newest(exact)
		want.ModTime, want.Mode = r.Entry.ModTime, r.Entry.Mode
		return want, false
	}
	if len(r.Held) == 0 {
		return nil, true
	}
	want = newest(r.Held)
	want.Outdated = true
	return want, false
}

// isNewer tells whether a replica was made after the listing. Only a generation beyond all of the listing's proves that: others
// that it does not have were deleted or replaced.
func isNewer(h *held, e *manifest.Entry, listed bool, latest v1.Generation) bool {
	if h.Version != "" {
		return false
	}
	if !listed {
		return true
	}
	return h.Gen.Compare(latest) > 0 && (e == nil || h.Gen.Compare(e.Generation) > 0)
}

// matches tells whether a replica is the version that the listing names.
func matches(h *held, e *manifest.Entry) bool {
	switch {
	case !e.Digest.IsZero():
		return v1.Digest(h.Digest) == e.Digest
	case !h.Gen.IsZero() && !e.Generation.IsZero():
		return h.Gen == e.Generation && h.Size == e.Size
	}
	return h.Size == e.Size && h.ModTime == e.ModTime
}

// newest picks the version of the greatest generation, where that is not known of the latest time; where holders differ about its
// bytes, those that most of them have.
func newest(all []held) *wanted {
	best := slices.MaxFunc(all, func(a, b held) int {
		return cmp.Or(a.Gen.Compare(b.Gen), cmp.Compare(current(&a), current(&b)), cmp.Compare(a.ModTime, b.ModTime),
			cmp.Compare(count(all, &a), count(all, &b)), slices.Compare(a.Digest, b.Digest))
	})
	return version(all, &best)
}

func current(h *held) int {
	if h.Version == "" {
		return 1
	}
	return 0
}

// count is how many holders have these bytes.
func count(all []held, h *held) (n int) {
	for i := range all {
		if slices.Equal(all[i].Digest, h.Digest) {
			n++
		}
	}
	return n
}

// version gathers all places that have the same bytes as best, replicas first.
func version(all []held, best *held) *wanted {
	want := &wanted{Digest: v1.Digest(best.Digest), Size: best.Size, ModTime: best.ModTime, Mode: best.Mode}
	same := slices.DeleteFunc(slices.Clone(all), func(h held) bool { return !slices.Equal(h.Digest, best.Digest) })
	slices.SortStableFunc(same, func(a, b held) int { return cmp.Compare(current(&b), current(&a)) })
	for _, h := range same {
		want.Sources = append(want.Sources, source{Holder: h.Holder, Version: h.Version})
	}
	return want
}

// chooseAt picks the version that was current at a time: of those that existed by then, the one that stopped being current first after
// it.
func chooseAt(r *row, at int64) *wanted {
	there := slices.DeleteFunc(slices.Clone(r.Held), func(h held) bool {
		return isRotten(r, &h) || !existed(r.Held, &h, at) || ended(r.Held, &h) <= at
	})
	if len(there) == 0 {
		return nil
	}
	best := slices.MinFunc(there, func(a, b held) int {
		return cmp.Or(cmp.Compare(ended(r.Held, &a), ended(r.Held, &b)), b.Gen.Compare(a.Gen), cmp.Compare(b.ModTime, a.ModTime))
	})
	return version(r.Held, &best)
}

// isRotten tells whether a replica or version that no generation is known of (an index that was made from the files takes them as they
// are) claims to be, by its size and time, what others know to have other bytes.
func isRotten(r *row, h *held) bool {
	known := func(o *held) bool {
		return !o.Gen.IsZero() || r.Entry != nil && r.Entry.Digest == v1.Digest(o.Digest)
	}
	return slices.ContainsFunc(r.Held, func(o held) bool {
		return known(&o) && o.Size == h.Size && o.ModTime == h.ModTime && !slices.Equal(o.Digest, h.Digest)
	}) && !slices.ContainsFunc(r.Held, func(o held) bool { return known(&o) && slices.Equal(o.Digest, h.Digest) })
}

// ended is when a version stopped being current: when the first of the holders that had its bytes replaced it. What ended before its
// own holder had it, or set aside what was there before, were the same bytes at an earlier time.
func ended(all []held, h *held) int64 {
	if h.Until == 0 {
		return math.MaxInt64 // it still is current
	}
	first, begun := h.Until, max(h.Since, endBefore(all, h))
	for i := range all {
		if o := &all[i]; slices.Equal(o.Digest, h.Digest) && o.Until > begun && !earlier(o, h) {
			first = min(first, o.Until)
		}
	}
	return first
}

// endBefore is when the holder of a version set aside what was there before it; 0: it has nothing of that.
func endBefore(all []held, h *held) (end int64) {
	for i := range all {
		if o := &all[i]; o.Holder == h.Holder && (o.Until < h.Until || h.Until == 0) {
			end = max(end, o.Until)
		}
	}
	return end
}

// existed tells whether the source had a version at a time. Who held its bytes by then, or saw a listing with it, proves that it had;
// the last listing before that time without it, that it had not. Where nobody knows, the modification time has to do: a file that was
// brought from elsewhere has an old one.
func existed(all []held, h *held, at int64) bool {
	absent, before := false, endBefore(all, h)
	for i := range all {
		o := &all[i]
		if !slices.Equal(o.Digest, h.Digest) || earlier(o, h) {
			continue
		}
		own := o.Holder == h.Holder && o.Version == h.Version
		for _, known := range []int64{o.Since, o.Seen} {
			if known != 0 && known <= at && (own || known > before) {
				return true
			}
		}
		absent = absent || o.Absent != 0
	}
	return !absent && h.ModTime <= at
}

// earlier tells whether a version is known to have been there before another. Generations of two epochs do not tell.
func earlier(a, b *held) bool {
	return !a.Gen.IsZero() && a.Gen.Epoch == b.Gen.Epoch && a.Gen.Compare(b.Gen) < 0
}

// reportUnlisted names a file that a holder has as a current replica, though the listing says that there is none: it was deleted since,
// as a rule, but nobody who looks for it shall think that this was all.
func (r *restore) reportUnlisted(path v1.RelPath, known *row) {
	if known.Entry != nil {
		return
	}
	for i := range known.Held {
		if known.Held[i].Version == "" {
			r.report(path, Unlisted, fmt.Sprintf("%s has it, but the listing that was followed does not: it was deleted, or that listing is not the whole; it is not restored",
				r.holders[known.Held[i].Holder]))
			return
		}
	}
}

// plan decides for every file, and adds up.
func (r *restore) plan() error {
	var latest v1.Generation
	if r.listing != nil {
		latest = r.listing.Generation
	}
	var at int64
	if !r.opts.At.IsZero() {
		at = r.opts.At.UnixNano()
	}
	put := changes{table: r.table}
	any, kept := false, false
	err := r.table.each(func(path v1.RelPath, known *row) error {
		want, lost := choose(known, r.listing != nil, latest, at)
		kept = kept || len(known.Held) > 0
		any = any || r.asked(path) && (known.Entry != nil && at == 0 || want != nil || lost)
		if lost {
			r.report(path, Lost, "no live holder has it")
		}
		if want == nil {
			if r.asked(path) && at == 0 {
				r.reportUnlisted(path, known)
			}
			return nil
		}
		r.progress.Files++
		r.progress.Bytes += want.Size
		return put.add(path, func(row *row) { row.Want = want })
	})
	if err == nil {
		err = put.flush()
	}
	switch {
	case err != nil || any || r.opts.Path == "" && at == 0:
		return err
	case kept && at == 0:
		return ErrDeleted
	}
	return ErrNotFound
}
