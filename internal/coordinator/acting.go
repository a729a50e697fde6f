package coordinator

import (
	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// A coordinator that acts for a source's host ([Config.Acting]) has the source's listing for a catalog and no tree. It orders copies from
// one holder to another, which is always safe, and nothing else:
//
//   - Its catalog is amnesic for good: no drop is granted, no relief is planned, no replica is called unknown (S7).
//   - What it answers is cut down to what concerns copies ([HelloAnswer.CopiesOnly] and its like). Its clients do the same once more.
//   - A replica counts if its digest is the listing's. Any other version may be the newer one: it counts nothing, and its host is
//     given no copy of the file.
//   - Files come from replicas that count, of holders that are there.
//   - The listing is handed on to those that have none.
//   - Its generations are its own and are told to nobody: what is copied has none until the source's own coordinator confirms it.

// whyActing is for people.
const whyActing = "another host acts for the source's, which is silent: until that one is back nothing is dropped"

// Origin is a location that files are to be copied from in the source's stead.
type Origin struct {
	Host     v1.HostName     `cbor:"1,keyasint"`
	Location v1.LocationName `cbor:"2,keyasint"`
}

// CopiesOnly is the answer without what goes beyond copies of underserved files, and the listing for those that have none.
func (a *HelloAnswer) CopiesOnly() *HelloAnswer {
	return &HelloAnswer{Life: a.Life, Turn: a.Turn, NeedInventory: a.NeedInventory, Inventory: a.Inventory, Claimable: a.Claimable,
		Manifest: a.Manifest, PollAfter: a.PollAfter, Needed: a.Needed}
}

// CopiesOnly is the answer without verdicts.
func (a *InventoryAnswer) CopiesOnly() *InventoryAnswer { return &InventoryAnswer{Want: a.Want} }

// CopiesOnly is the answer with those files alone that come from another holder, can be checked when they arrive, and replace nothing.
func (a *ClaimAnswer) CopiesOnly() *ClaimAnswer {
	only := &ClaimAnswer{Lease: a.Lease, RetryAfter: a.RetryAfter, Largest: a.Largest, Origin: a.Origin}
	for _, f := range a.Files {
		if a.Origin != nil && !f.Digest.IsZero() && !f.Held && !f.Extra {
			f.Gen = v1.Generation{}
			only.Files = append(only.Files, f)
		}
	}
	return only
}

// CopiesOnly is the answer in which all that does not count is left as it is.
func (a *ConfirmAnswer) CopiesOnly() *ConfirmAnswer {
	only := &ConfirmAnswer{Answers: make([]Confirmation, len(a.Answers))}
	for i := range a.Answers {
		only.Answers[i].Outcome = OutcomeStale
		if a.Answers[i].Outcome == OutcomeYes {
			only.Answers[i].Outcome = OutcomeYes
		}
	}
	return only
}

// asListed is what a record (nil: not there) makes of a replica where the listing is all that is known of the source.
func asListed(e *catalog.Entry, rec *Record, id catalog.HolderID) *catalog.Replica {
	switch {
	case rec == nil:
		return nil
	case e.Live() && rec.Size == e.Size && rec.ModTime == e.ModTime && rec.Digest == e.Digest && !e.Digest.IsZero():
		return &catalog.Replica{Holder: id, State: catalog.Confirmed, Seq: e.Seq, Verified: rec.Verified}
	}
	return &catalog.Replica{Holder: id, State: catalog.Stale}
}

// yesOrStale leaves no other outcomes.
func yesOrStale(checks []checking) {
	for i := range checks {
		if checks[i].outcome != OutcomeYes {
			checks[i].decide(OutcomeStale)
		}
	}
}

// idle is how many more failure domains have some version of a class's files than have the one that counts. Where nobody brings an
// outdated replica up to date, no copy may go there, and none is spared by it.
func (v *view) idle(class *catalog.Class) int {
	if !v.acting {
		return 0
	}
	return -v.missing(v.taken(class), 0) - v.spread(class.Confirmed, notGone)
}

// copyable tells whether files of a class can be copied now: from the source, or from a holder that is there.
func (v *view) copyable(class *catalog.Class) bool {
	return !v.acting || len(v.origins(class.Confirmed)) > 0
}

// origins are those of the holders that can be copied from now.
func (v *view) origins(holders []catalog.HolderID) (able []catalog.HolderID) {
	for _, id := range holders {
		if f := v.holder(id); f.heard && f.reported {
			able = append(able, id)
		}
	}
	return able
}

// ofOrigin tells whether a file can be given to the claimer, who has no version of it, from where the answer's other files come from.
// The first one chooses, each time another holder.
func (k *picker) ofOrigin(e *catalog.Entry) bool {
	v := k.p.view
	for _, r := range e.Replicas {
		if v.holder(r.Holder).Host == k.h.name {
			return false
		}
	}
	confirmed, _ := catalog.Sets(e)
	able := v.origins(confirmed)
	if len(able) == 0 || e.Digest.IsZero() {
		return false
	}
	if k.origin == nil {
		id := able[k.c.origins%uint64(len(able))]
		k.c.origins++
		k.origin = &id
	}
	for _, id := range able {
		if id == *k.origin {
			return true
		}
	}
	return false
}

// allReported tells whether all of a host's locations have said what they hold. The caller holds c.mu.
func (h *host) allReported() bool {
	for _, l := range h.locations {
		if l.listed && !l.reported {
			return false
		}
	}
	return true
}
