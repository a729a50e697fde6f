package controllers

import (
	"slices"
	"strings"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/location"
)

// LocationSet is the locations of this host as the location loop keeps them: open ones for use, and for all of them how they
// stand. The zero value is empty.
type LocationSet struct {
	mu   sync.Mutex
	kept map[v1.LocationName]*keptLocation
}

// keptLocation is one location; opened is nil while it is not there.
type keptLocation struct {
	name    v1.LocationName
	opened  *location.Location
	path    string
	noNew   bool
	drain   bool
	err     error // why it is not open
	since   time.Time
	use     *use // of what is opened
	waiting map[v1.SourceName]string
	// generation is the metadata.generation that is in force.
	generation int64
}

// LocationState is how a location stands.
type LocationState struct {
	Name v1.LocationName
	// Err says why it is not open; nil when it is.
	Err   error
	Since time.Time
	UID   string
	Space location.Space
	// Draining: it is to be emptied.
	Draining bool
	// Generation is the metadata.generation that is in force.
	Generation int64
	// Waiting says, for people, what it waits for; empty: nothing.
	Waiting string
}

// Use implements Locations.
func (s *LocationSet) Use() (open []*OpenLocation, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var used []*use
	for _, k := range s.kept {
		if k.opened != nil && !k.opened.Rebuilding() {
			open = append(open, k.user())
			used = append(used, k.use)
		}
	}
	slices.SortFunc(open, func(a, b *OpenLocation) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return open, func() {
		for _, u := range used {
			u.users.Done()
		}
	}
}

// UseOne returns one location if it is open, nil if not. It is not closed until done is called.
func (s *LocationSet) UseOne(name v1.LocationName) (l *OpenLocation, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[name]
	if k == nil || k.opened == nil || k.opened.Rebuilding() {
		return nil, func() {}
	}
	return k.user(), k.use.users.Done
}

// user counts one more user.
func (k *keptLocation) user() *OpenLocation {
	k.use.users.Add(1)
	return &OpenLocation{Location: onDisk{k.opened}, Name: k.name, NoNew: k.noNew, Draining: k.drain, Disk: k.opened, Until: k.use}
}

// States tells how every location stands, sorted by name.
func (s *LocationSet) States() []LocationState {
	open, done := s.Use()
	defer done()
	s.mu.Lock()
	var states []LocationState
	for _, k := range s.kept {
		err := k.err
		if err == nil && k.opened != nil && k.opened.Rebuilding() {
			err = location.ErrRebuilding
		}
		states = append(states, LocationState{Name: k.name, Err: err, Since: k.since, Waiting: k.waitingText(), Draining: k.drain, Generation: k.generation})
	}
	s.mu.Unlock()
	slices.SortFunc(states, func(a, b LocationState) int { return strings.Compare(string(a.Name), string(b.Name)) })
	for i := range states {
		if n := slices.IndexFunc(open, func(o *OpenLocation) bool { return o.Name == states[i].Name }); n >= 0 {
			states[i].UID, states[i].Space = open[n].UID(), open[n].Space()
		}
	}
	return states
}

func (k *keptLocation) waitingText() string {
	var texts []string
	for source, text := range k.waiting {
		texts = append(texts, string(source)+": "+text)
	}
	slices.Sort(texts)
	return strings.Join(texts, "; ")
}

// Waiting implements Locations.
func (s *LocationSet) Waiting(name v1.LocationName, source v1.SourceName, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[name]
	switch {
	case k == nil:
	case text == "":
		delete(k.waiting, source)
	case k.waiting == nil:
		k.waiting = map[v1.SourceName]string{source: text}
	default:
		k.waiting[source] = text
	}
}

// get returns what is kept of a location, making it if need be.
func (s *LocationSet) get(name v1.LocationName) *keptLocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[v1.LocationName]*keptLocation{}
	}
	if s.kept[name] == nil {
		s.kept[name] = &keptLocation{name: name, since: time.Now()}
	}
	return s.kept[name]
}

func (s *LocationSet) forget(name v1.LocationName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, name)
}

// opened makes a location usable.
func (s *LocationSet) open(k *keptLocation, l *location.Location, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k.opened, k.path, k.use = l, path, newUse()
	if k.err != nil {
		k.err, k.since = nil, time.Now()
	}
}

// want notes what is wanted of a location from now on.
func (s *LocationSet) want(k *keptLocation, generation int64, noNew, drain bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k.generation, k.noNew, k.drain = generation, noNew, drain
}

// close makes a location unusable for a reason, tells those who use it, waits until they are done, and closes it.
func (s *LocationSet) close(k *keptLocation, reason error) error {
	s.mu.Lock()
	opened := k.opened
	k.opened = nil
	if k.err == nil {
		k.since = time.Now()
	}
	k.err = reason
	s.mu.Unlock()
	if opened == nil {
		return nil
	}
	k.use.finish(reason)
	return opened.Close()
}

// Close closes all of them.
func (s *LocationSet) Close() {
	s.mu.Lock()
	kept := make([]*keptLocation, 0, len(s.kept))
	for _, k := range s.kept {
		kept = append(kept, k)
	}
	s.mu.Unlock()
	for _, k := range kept {
		_ = s.close(k, location.ErrClosed)
	}
}
