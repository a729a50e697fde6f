package controllers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/tree"
)

// SourceSet is the sources of this host as the scan loop keeps them. The zero value is empty.
type SourceSet struct {
	mu   sync.Mutex
	kept map[v1.SourceName]*keptSource
}

// RunningSource is a source that this host answers for.
type RunningSource struct {
	Name        v1.SourceName
	Coordinator *coordinator.Coordinator
	Catalog     *catalog.Catalog
	Root        string
	// OneFileSystem: what is mounted below the root is not of it.
	OneFileSystem bool
	// Until ends when it is to be closed: who uses it for long stops then.
	Until context.Context
	// Listing is what this host knows it from, where it acts for the source's.
	Listing Listing

	tree *currentTree
}

// Listing is a source's listing in a location of this host, of which Unknown files have no digest.
type Listing struct {
	Location v1.LocationName
	Time     time.Time
	Unknown  int64
}

// Check fails unless the source's tree is there, and is the known one.
func (r *RunningSource) Check() error {
	t := r.tree.get()
	if t == nil {
		return errNoTree
	}
	_, err := t.Identity()
	return err
}

// Summer computes the digests of files while they are sent to holders, which the coordinator asks for when they are there. nil: the tree
// is not there.
func (r *RunningSource) Summer() *tree.Summer {
	t := r.tree.get()
	if t == nil {
		return nil
	}
	return t.Summer(func(path v1.RelPath) (known bool) {
		_ = r.Catalog.View(func(tx *catalog.Tx) error {
			_, e, err := tx.Find(path)
			known = e != nil && !e.Digest.IsZero()
			return err
		})
		return known
	})
}

type keptSource struct {
	name    v1.SourceName
	running *RunningSource // nil while nothing can be answered for it
	opened  openedAs
	tree    *currentTree
	root    tree.Identity // of the latest root there was
	use     *use          // of what is running
	err     error         // why the tree is not available; nil when it is
	since   time.Time
	scan    Scan
	// generation is the metadata.generation that is in force.
	generation int64
	rescan     bool // scan whenever the latest scan was
}

// openedAs is what a running source was opened with: another one of these means to open it anew.
type openedAs struct {
	path    string
	exclude string
	oneFS   bool
	uid     string
}

// Scan is the outcome of the latest scan.
type Scan struct {
	// Ended is when the latest one that could read the root ended; zero: none yet. Took is how long it took.
	Ended time.Time
	Took  time.Duration
	// Clean: every folder could be read.
	Clean bool
	// Problems are the first hundred paths that could not be read or are not backed up, ProblemCount counts all, Unreadable those
	// that could not be read.
	Problems                 []v1.Problem
	ProblemCount, Unreadable int64
}

// SourceState is how a source of this host stands.
type SourceState struct {
	Name v1.SourceName
	// Err says why the tree is not available; nil when it is.
	Err   error
	Since time.Time
	Scan  Scan
	// Generation is the metadata.generation that is in force.
	Generation int64
}

// Use returns a source that this host answers for, nil if it doesn't (yet). It is not closed until done is called.
func (s *SourceSet) Use(name v1.SourceName) (running *RunningSource, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[name]
	if k == nil || k.running == nil {
		return nil, func() {}
	}
	k.use.users.Add(1)
	return k.running, k.use.users.Done
}

// Failed tells whether a source could lately not be answered for.
func (s *SourceSet) Failed(name v1.SourceName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[name]
	return k != nil && k.err != nil && time.Since(k.since) < 10*time.Minute
}

// States tells how every source of this host stands, sorted by name.
func (s *SourceSet) States() []SourceState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var states []SourceState
	for _, k := range s.kept {
		states = append(states, SourceState{Name: k.name, Err: k.err, Since: k.since, Scan: k.scan, Generation: k.generation})
	}
	slices.SortFunc(states, func(a, b SourceState) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return states
}

// Rescan has the next reconcile of a source scan it, whenever the latest scan was.
func (s *SourceSet) Rescan(name v1.SourceName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.kept[name]; k != nil {
		k.rescan = true
	}
}

func (s *SourceSet) get(name v1.SourceName) *keptSource {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[v1.SourceName]*keptSource{}
	}
	if s.kept[name] == nil {
		s.kept[name] = &keptSource{name: name, since: time.Now()}
	}
	return s.kept[name]
}

// change changes a kept source under the lock.
func (s *SourceSet) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// setErr notes why the tree is not available; it returns whether that is news.
func (s *SourceSet) setErr(k *keptSource, err error) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if (k.err == nil) != (err == nil) {
		k.since = time.Now()
	}
	news = (k.err == nil) != (err == nil) || err != nil && k.err.Error() != err.Error()
	k.err = err
	return news
}

// start begins to answer for a source.
func (s *SourceSet) start(k *keptSource, running *RunningSource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k.use = newUse()
	running.Until = k.use
	k.running = running
}

// errStopped is why the use of a source ends.
var errStopped = errors.New("the source is no longer answered for as it was")

// stop ends answering for a source: it tells those who use it, and waits until they are done.
func (s *SourceSet) stop(k *keptSource) error {
	s.mu.Lock()
	running := k.running
	k.running = nil
	s.mu.Unlock()
	if running == nil {
		return nil
	}
	k.use.finish(errStopped)
	return running.Catalog.Close()
}

func (s *SourceSet) forget(name v1.SourceName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, name)
}

// Close stops all of them.
func (s *SourceSet) Close() {
	s.mu.Lock()
	kept := make([]*keptSource, 0, len(s.kept))
	for _, k := range s.kept {
		kept = append(kept, k)
	}
	s.mu.Unlock()
	for _, k := range kept {
		_ = s.stop(k)
	}
}

// currentTree is the source's tree as it is opened now: the coordinator keeps it while the tree is opened anew after the root
// went away and came back.
type currentTree struct {
	mu   sync.Mutex
	tree *tree.Tree
}

func (c *currentTree) get() *tree.Tree {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tree
}

func (c *currentTree) set(t *tree.Tree) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tree = t
}
