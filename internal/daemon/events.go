package daemon

import (
	"slices"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// keptEvents bounds the memory of a host: the newest this many distinct events.
const keptEvents = 1000

// events remembers what happened lately on this host. Equal events are counted, not repeated.
type events struct {
	host v1.HostName

	mu   sync.Mutex
	kept []admin.Event // by Last, oldest first
}

// note records that something happened to an object. Type is admin.EventNormal or admin.EventWarning.
func (e *events) note(kind, name, eventType, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	event := admin.Event{First: now, Type: eventType, Reason: reason, Kind: kind, Name: name, Host: e.host, Message: message}
	if i := slices.IndexFunc(e.kept, func(o admin.Event) bool {
		return o.Kind == kind && o.Name == name && o.Reason == reason && o.Message == message
	}); i >= 0 {
		event.First, event.Count = e.kept[i].First, e.kept[i].Count
		e.kept = slices.Delete(e.kept, i, i+1)
	}
	event.Last, event.Count = now, event.Count+1
	e.kept = append(e.kept, event)
	if len(e.kept) > keptEvents {
		e.kept = slices.Delete(e.kept, 0, len(e.kept)-keptEvents)
	}
}

// list returns the events that query chooses, oldest first.
func (e *events) list(query admin.EventQuery) []admin.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	var chosen []admin.Event
	for _, event := range e.kept {
		if (query.Kind == "" || query.Kind == event.Kind) && (query.Name == "" || query.Name == event.Name) {
			chosen = append(chosen, event)
		}
	}
	if query.Limit > 0 && len(chosen) > query.Limit {
		chosen = chosen[len(chosen)-query.Limit:]
	}
	return chosen
}
