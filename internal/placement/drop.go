package placement

import (
	"time"

	v1 "clusterbackup/api/v1"
)

// Holder is what the coordinator knows of one replica of a file, as far as drops depend on it.
type Holder struct {
	Host v1.HostName
	// Location tells a host's locations apart.
	Location v1.LocationName
	// Domain is the host's failure domain; empty: the host alone.
	Domain string
	// Current: the replica is of the file's current generation.
	Current bool
	// Confirmed: its digest was compared, and it was not reported corrupt, missing or lost since.
	Confirmed bool
	// Live: the host was heard within hostTimeout.
	Live bool
	// Reported: since the coordinator started, the host has said that it still holds it.
	Reported bool
	// Granted: a grant to drop it is outstanding, or was and its end is not known.
	Granted bool
	// Corrupt: a report of corruption stands.
	Corrupt bool
	// Gone: the host was declared gone (silent for longer than repairAfter, or removed).
	Gone bool
}

// counts tells whether a drop elsewhere may rely on the replica.
func (h *Holder) counts() bool {
	return h.Current && h.Confirmed && h.Live && h.Reported && !h.Granted && !h.Corrupt && !h.Gone
}

// DropFacts is everything that the answer to "may this host drop its replica" depends on.
type DropFacts struct {
	// Host asks, for its replica in Location.
	Host     v1.HostName
	Location v1.LocationName
	// Desired is how many replicas must remain elsewhere: the source's minReplicas, not what relief raised it to.
	Desired int
	// Amnesic: the catalog is new or older than what a holder has seen, and not all known holders have reported yet (S7).
	Amnesic bool
	// Deleted: the file is gone from its source, believed (S4); such replicas are retired, not dropped.
	Deleted bool
	// Unsettled: the source's file changes or its state cannot be told now.
	Unsettled bool
	// Excess: nobody needs the room. Then the drop also waits for every holder that is silent and not yet declared gone.
	Excess bool
	// Holders is every replica known, of any state, the one to be dropped among them.
	Holders []Holder
}

// Refusal says why a replica may not be dropped; empty: it may. The values are for logs, events and tests.
type Refusal string

// The refusals of MayDrop.
const (
	Allowed      Refusal = ""
	NotDesired   Refusal = "desired count is not known"
	IsAmnesic    Refusal = "catalog is not whole until every known holder has reported"
	IsDeleted    Refusal = "file is deleted in its source: retire it"
	IsUnsettled  Refusal = "file's current version cannot be told"
	TooFew       Refusal = "too few other confirmed, live replicas"
	AwaitsSilent Refusal = "a holder is silent and not yet declared gone"
	NotHeld      Refusal = "host is not known to hold it"
)

// MayDrop is S1: a grant for a file at a host is given only when, besides that host, at least the desired number of
// other hosts (of different failure domains, other than none) hold the current generation, confirmed, live, with no
// grant or corruption report of their own, each having said since the coordinator started that it still holds it.
// What cannot be told is never a yes.
//
// A replica that is outdated or not confirmed leaves nothing counted when it goes: then what the host's other locations
// hold counts like any other host's.
func MayDrop(f *DropFacts) Refusal {
	switch {
	case f.Desired < 1:
		return NotDesired
	case f.Amnesic:
		return IsAmnesic
	case f.Deleted:
		return IsDeleted
	case f.Unsettled:
		return IsUnsettled
	}
	held, beside := f.own()
	others := make(map[string]bool, len(f.Holders))
	for i := range f.Holders {
		h := &f.Holders[i]
		switch {
		case h.Host == f.Host && (!beside || h.Location == f.Location):
		case h.counts():
			others[domainKey(h)] = true
		case f.Excess && !h.Live && !h.Gone:
			return AwaitsSilent
		}
	}
	switch {
	case !held:
		return NotHeld
	case len(others) < f.Desired:
		return TooFew
	}
	return Allowed
}

// own looks at the replica to be dropped. held: it is there. beside: none of what the host holds of the file is counted for
// that replica's sake.
func (f *DropFacts) own() (held, beside bool) {
	beside = true
	for i := range f.Holders {
		if h := &f.Holders[i]; h.Host == f.Host && h.Location == f.Location {
			held = held || !h.Granted
			beside = beside && !(h.Current && h.Confirmed)
		}
	}
	return held, beside
}

// domainKey tells named domains from hosts that are a domain of their own.
func domainKey(h *Holder) string {
	if h.Domain == "" {
		return "host\x00" + string(h.Host)
	}
	return "domain\x00" + h.Domain
}

// CountFacts is what decides whether a holder's word that it holds a file may count.
type CountFacts struct {
	// Life is drawn by the coordinator at its start; the message carries the one its sender knows.
	Life, MessageLife uint64
	// Turn grows with every message of one client to one coordinator. DropTurn is the highest of those of its messages that
	// may have led it to delete (Drop, Retire).
	Turn, DropTurn uint64
}

// MayCount tells whether a Confirm or an Inventory may make replicas count: it must belong to the coordinator's present
// life and have been sent after the sender's latest request to drop. Networks deliver late and twice: what was true before
// a drop must not be believed after it.
func MayCount(f CountFacts) bool {
	return f.Life == f.MessageLife && f.Turn > f.DropTurn
}

// DeleteFacts is what a client knows when it is about to delete a replica under a grant.
type DeleteFacts struct {
	// Asked is when the request for the grant was about to be sent, Now is now, both on the client's monotonic clock.
	Asked, Now time.Duration
	// For is how long the grant is valid.
	For time.Duration
	// SameProcess: the client has not restarted since it asked.
	SameProcess bool
	// Identity: the location's identity was re-read just now and is the known one.
	Identity bool
	// Generation: what lies on disk is the generation that the grant names.
	Generation bool
}

// MayDelete is the client's half of S1. The grant's time runs from before it was asked for, so that however long the
// answer travelled, it ends here before it ends at the coordinator.
func MayDelete(f DeleteFacts) bool {
	return f.SameProcess && f.Identity && f.Generation && f.Now >= f.Asked && f.Now-f.Asked < f.For
}
