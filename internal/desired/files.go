package desired

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
)

// Files is the Store that keeps each resource in a YAML file. One process at a time works on a folder: the state directory's lock
// sees to that.
type Files struct {
	opts     Options
	folder   folder
	watchers watchers

	mu       sync.RWMutex
	clock    clock
	all      map[key]*resource    // tombstones included
	stamps   map[key]fileStamp    // of the live resources' files, as last read or written
	problems map[string]fileIssue // by file name
}

// fileIssue is why a file is not taken in, and of which state of the file that is true.
type fileIssue struct {
	stamp fileStamp
	err   error
}

// Problem is a file in the folder that could not be taken in. What was known before stays in force.
type Problem struct {
	File string // its path
	Err  error  // names the file too, with line and reason
}

// Open reads a folder of resources, making it if it is missing. A file that cannot be understood is ErrCorrupt, with its name and what to
// do; a file that was edited while no one looked is taken in as a change made now.
func Open(path string, opts Options) (*Files, error) {
	opts.complete()
	if err := v1.ValidateName(string(opts.Host)); err != nil {
		return nil, fmt.Errorf("open resources: host: %w", err)
	}
	f, err := openFolder(path)
	if err != nil {
		return nil, err
	}
	s := &Files{
		opts: opts, folder: f, clock: clock{wall: opts.Clock},
		all: map[key]*resource{}, stamps: map[key]fileStamp{}, problems: map[string]fileIssue{},
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	s.forget()
	f.sweep(opts.Clock().Add(-opts.KeepDeleted))
	return s, nil
}

// load reads everything first and takes in edits last, so that these are after all that is known.
func (s *Files) load() error {
	if err := s.loadTombstones(); err != nil {
		return err
	}
	names, err := s.folder.names("")
	if err != nil {
		return err
	}
	var edited []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch err := s.loadFile(name, names[name]); {
		case errors.Is(err, errEdited):
			edited = append(edited, name)
		case err != nil:
			return err
		}
	}
	for _, name := range edited {
		_, err := s.takeEdited(name)
		if errors.Is(err, ErrClock) {
			return fmt.Errorf("take in %s: %w", filepath.Join(s.folder.path, name), err)
		}
		if err != nil {
			return corrupt(filepath.Join(s.folder.path, name), err)
		}
	}
	return nil
}

func (s *Files) loadTombstones() error {
	names, err := s.folder.names(deletedDir)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		path := filepath.Join(s.folder.path, deletedDir, name)
		r, err := readResource(path)
		if err == nil && (r.live() || r.key().fileName() != name) {
			err = errors.New("it is no deleted resource of that name")
		}
		if err != nil {
			return corrupt(path, err)
		}
		s.all[r.key()] = r
		s.clock.see(r.version)
	}
	return nil
}

// loadFile reads a live resource: errEdited says that it has to be taken in as a change.
func (s *Files) loadFile(name string, stamp fileStamp) error {
	path := filepath.Join(s.folder.path, name)
	k, ok := parseName(name)
	if !ok {
		s.refuse(name, stamp, errName)
		return nil
	}
	r, err := readResource(path)
	switch {
	case errors.Is(err, errEdited):
		if r.version.Host != "" {
			s.clock.see(r.version)
		}
		return err
	case err == nil && !r.live() && r.key() == k:
		return errEdited // brought back from deleted/ by hand
	case err == nil && r.key() != k:
		err = fmt.Errorf("it holds %s, but its name is for %s", r.key(), k)
	}
	if err != nil {
		return corrupt(path, err)
	}
	s.clock.see(r.version)
	if old := s.all[k]; old != nil && old.version.Compare(r.version) > 0 {
		return s.settle(old) // a deletion was interrupted
	}
	if s.all[k] != nil {
		return s.settle(r) // a resource was made again, and that was interrupted
	}
	s.all[k], s.stamps[k] = r, stamp
	return nil
}

// settle writes a resource of which both forms, live and deleted, lie in the folder.
func (s *Files) settle(r *resource) error {
	stamp, err := s.folder.write(r)
	if err != nil {
		return err
	}
	s.put(r, stamp)
	return nil
}

// put makes a resource the current one in memory, after it is on disk.
func (s *Files) put(r *resource, stamp fileStamp) {
	k := r.key()
	s.all[k] = r
	if r.live() {
		s.stamps[k] = stamp
	} else {
		delete(s.stamps, k)
	}
	delete(s.problems, k.fileName())
	s.clock.see(r.version)
}

func readResource(path string) (*resource, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseFile(data)
}

func corrupt(path string, why error) error {
	return fmt.Errorf("read %s: %w: %w; it was left as it is: correct it, or move the whole folder %s away (the other hosts have all resources too, and hand them back)",
		path, ErrCorrupt, why, folderOf(path))
}

// folderOf is the folder of resources that a file lies in. It is moved away whole: without a single file a host may not know again
// those that would hand it back.
func folderOf(path string) string {
	dir := filepath.Dir(path)
	if filepath.Base(dir) == deletedDir {
		return filepath.Dir(dir)
	}
	return dir
}

// forget lets go of tombstones that are older than they are kept.
func (s *Files) forget() {
	for k, r := range s.all {
		if !r.live() && s.outdated(r) {
			// If it cannot be removed, it is tried again at the next start.
			_ = os.Remove(s.folder.tombstone(k))
			delete(s.all, k)
		}
	}
}

// outdated tells whether a tombstone is no longer kept nor passed on.
func (s *Files) outdated(r *resource) bool {
	return !r.live() && s.opts.Clock().Sub(r.deleted) > s.opts.KeepDeleted
}

// Get implements Store.
func (s *Files) Get(_ context.Context, kind, name string) (v1.Object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.all[keyOf(kind, name)]
	if !r.live() || r.object == nil {
		return nil, notFound(kind, name)
	}
	return r.copy(), nil
}

// List implements Store.
func (s *Files) List(_ context.Context, kind string) ([]v1.Object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var objects []v1.Object
	for k, r := range s.all {
		if k.kind == strings.ToLower(kind) && r.live() && r.object != nil {
			objects = append(objects, r.copy())
		}
	}
	slices.SortFunc(objects, func(a, b v1.Object) int { return strings.Compare(a.GetName(), b.GetName()) })
	return objects, nil
}

// Watch implements Store.
func (s *Files) Watch(notify func(Change)) (stop func()) { return s.watchers.add(notify) }

// Problems are the files that could not be taken in, by name, and resources that only a newer release understands.
func (s *Files) Problems() []Problem {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var problems []Problem
	for name, issue := range s.problems {
		problems = append(problems, Problem{File: filepath.Join(s.folder.path, name), Err: issue.err})
	}
	for k, r := range s.all {
		if r.live() && r.object == nil {
			path := s.folder.file(k)
			problems = append(problems, Problem{File: path, Err: fmt.Errorf("%s: this release does not understand it; it is kept and passed on, but has no effect here", path)})
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.File, b.File) })
	return problems
}

// live is the current resource of a key, nil if it is not there or was deleted.
func (s *Files) live(k key) *resource {
	if r := s.all[k]; r.live() {
		return r
	}
	return nil
}

// commit makes a version current: on disk, then in memory. What lies broken in its place is put aside first.
func (s *Files) commit(r *resource) (Change, error) {
	if err := s.putAside(r.key()); err != nil {
		return Change{}, err
	}
	stamp, err := s.folder.write(r)
	if err != nil {
		return Change{}, err
	}
	s.put(r, stamp)
	return Change{Kind: r.kind, Name: r.name, Deleted: !r.live()}, nil
}

// putAside saves from being overwritten what is not a file of the store's own: one that could not be taken in, or was not seen yet.
func (s *Files) putAside(k key) error {
	if known, ok := s.stamps[k]; ok && stampOf(s.folder.file(k)) == known {
		return nil
	}
	data, err := os.ReadFile(s.folder.file(k))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("put %s aside: %w", s.folder.file(k), err)
	}
	kept, err := s.folder.keep(k, s.clock.now(), data)
	if err != nil {
		return err
	}
	s.event(k, "FileRefused", fmt.Sprintf("a newer version of %s replaced a file that was not taken in; that is kept as %s", k, kept))
	return nil
}

func (s *Files) event(k key, reason, message string) {
	kind := k.kind
	if known, ok := v1.ResourceFor(k.kind); ok {
		kind = known.Kind
	}
	s.opts.Events(Event{Kind: kind, Name: k.name, Reason: reason, Message: message})
}

func (s *Files) now() time.Time { return s.opts.Clock() }
