package desired

import (
	"maps"
	"slices"
	"sync"
)

// watchers are those who want to hear of changes. The zero value is ready.
type watchers struct {
	mu   sync.Mutex
	next int
	all  map[int]func(Change)
}

func (w *watchers) add(notify func(Change)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[int]func(Change){}
	}
	id := w.next
	w.next++
	w.all[id] = notify
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, id)
	}
}

// tell is called without the store's lock, so that who hears may look.
func (w *watchers) tell(changes ...Change) {
	if len(changes) == 0 {
		return
	}
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.all))
	w.mu.Unlock()
	for _, notify := range all {
		for _, change := range changes {
			notify(change)
		}
	}
}
