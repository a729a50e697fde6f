package desired

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	v1 "clusterbackup/api/v1"
)

var errName = errors.New("its name is not KIND.NAME.yaml with the kind in lower case, as in source.photos.yaml; it is left alone")

var errBusy = errors.New("it is being written")

// Refresh looks for files that were edited, added or removed by hand since the last look, and takes in what it can: a resource that
// was edited or added becomes a change made here and now; one whose file vanished is written again (`cbctl delete` deletes). What it
// cannot take in is in Problems, and in an event once. It costs one stat a resource; Apply, Delete and Merge do it too.
func (s *Files) Refresh(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	changes, err := s.refresh()
	s.mu.Unlock()
	s.watchers.tell(changes...)
	return err
}

func (s *Files) refresh() ([]Change, error) {
	names, err := s.folder.names("")
	if err != nil {
		return nil, err // nothing can be said about any file
	}
	var changes []Change
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if change, ok := s.refreshFile(name, names[name]); ok {
			changes = append(changes, change)
		}
	}
	for name := range s.problems {
		if _, there := names[name]; !there {
			delete(s.problems, name)
		}
	}
	for k := range s.stamps {
		if _, there := names[k.fileName()]; !there {
			s.restore(k)
		}
	}
	return changes, nil
}

// refreshFile takes in one file if it was written since.
func (s *Files) refreshFile(name string, stamp fileStamp) (Change, bool) {
	if issue, broken := s.problems[name]; broken && issue.stamp == stamp {
		return Change{}, false
	}
	k, ok := parseName(name)
	if !ok {
		s.refuse(name, stamp, errName)
		return Change{}, false
	}
	if known, ok := s.stamps[k]; ok && known == stamp {
		return Change{}, false
	}
	if present := s.live(k); present != nil && s.same(present, name) {
		s.stamps[k] = stamp // touched, or put back as it was
		delete(s.problems, name)
		return Change{}, false
	}
	change, err := s.takeEdited(name)
	switch {
	case errors.Is(err, ErrClock), errors.Is(err, errBusy):
		s.refuse(name, fileStamp{}, err) // it is worth another try, with the same file
	case err != nil:
		s.refuse(name, stamp, err)
	case change != (Change{}):
		s.event(k, "FileTaken", filepath.Join(s.folder.path, name)+" was edited by hand and taken in")
	}
	return change, change != (Change{})
}

func (s *Files) same(present *resource, name string) bool {
	r, err := readResource(filepath.Join(s.folder.path, name))
	return err == nil && r.version.Compare(present.version) == 0
}

// takeEdited makes what a user wrote into a file a change made here and now, and rewrites the file with what the store adds.
// When it asks for nothing new the change is zero.
func (s *Files) takeEdited(name string) (Change, error) {
	path := filepath.Join(s.folder.path, name)
	k, ok := parseName(name)
	if !ok {
		return Change{}, errName
	}
	stamp := stampOf(path)
	data, err := os.ReadFile(path)
	if err != nil {
		return Change{}, err
	}
	obj, err := s.decode(k, path, data)
	if err != nil {
		return Change{}, err
	}
	next, result, err := s.edited(k, obj)
	if err != nil {
		return Change{}, err
	}
	r := s.all[k]
	if result != Unchanged {
		if r, err = s.version(next, madeBy(data)); err != nil {
			return Change{}, err
		}
	}
	if stampOf(path) != stamp {
		return Change{}, errBusy
	}
	delete(s.problems, name)
	s.stamps[k] = stamp // it may be overwritten: r has all of it
	change, err := s.commit(r)
	if result == Unchanged {
		change = Change{}
	}
	return change, err
}

// decode reads what a user wrote, and checks it as an applied object is checked.
func (s *Files) decode(k key, path string, data []byte) (v1.Object, error) {
	obj, err := decodeOne(data, path)
	if err != nil {
		return nil, err
	}
	if found := keyOf(v1.KindOf(obj), obj.GetName()); found != k {
		return nil, fmt.Errorf("it holds %s, but its name is for %s", found, k)
	}
	return obj, s.fits(obj)
}

// madeBy is how many versions each host had made of a resource when its file was written, as far as the file still says so.
func madeBy(data []byte) map[v1.HostName]uint32 {
	r, _ := parseFile(data)
	if r == nil {
		return nil
	}
	return r.version.Made
}

// decodeOne reads a file as strictly as `cbctl apply` would.
func decodeOne(data []byte, path string) (v1.Object, error) {
	docs, err := v1.Decode(data, path)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fmt.Errorf("%s: it holds %d resources, want 1", path, len(docs))
	}
	return docs[0].Object, nil
}

// fits checks an edited object against the others, as the server does for applied ones.
func (s *Files) fits(obj v1.Object) error {
	var present []v1.Object
	for _, r := range s.all {
		if r.live() && r.object != nil {
			present = append(present, r.object)
		}
	}
	errs, _ := v1.ValidateChange(present, []v1.Object{obj})
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrInvalid, errs[0])
	}
	return nil
}

// edited is the object to be stored for what a user wrote: what is the store's affair comes from what is known, or from the file
// when nothing is (it was edited while no daemon ran).
func (s *Files) edited(k key, obj v1.Object) (v1.Object, Result, error) {
	if present := s.live(k); present != nil && present.object != nil {
		return succeed(present, obj, false, s.now())
	}
	if obj.GetUID() == "" || obj.GetCreationTimestamp().Time.IsZero() {
		return succeed(nil, obj, true, s.now())
	}
	obj.SetDeletionTimestamp(nil)
	obj.SetGeneration(obj.GetGeneration() + 1)
	return obj, Configured, nil
}

// refuse remembers that a file is not taken in, and says so once for each time it was written.
func (s *Files) refuse(name string, stamp fileStamp, why error) {
	path := filepath.Join(s.folder.path, name)
	before := s.problems[name]
	s.problems[name] = fileIssue{stamp: stamp, err: fmt.Errorf("%s: %w", path, why)}
	if before.err != nil && before.stamp == stamp {
		return
	}
	k, _ := parseName(name)
	s.event(k, "FileRefused", fmt.Sprintf("%s is not taken in: %v; what was in force stays so", path, why))
}

// restore writes a file that vanished.
func (s *Files) restore(k key) {
	if _, err := os.Lstat(s.folder.file(k)); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	stamp, err := s.folder.write(s.all[k])
	if err != nil {
		s.event(k, "FileRefused", fmt.Sprintf("%s vanished and cannot be written again: %v", s.folder.file(k), err))
		return
	}
	s.stamps[k] = stamp
	s.event(k, "FileRestored", fmt.Sprintf("%s vanished and was written again; `cbctl delete %s` deletes the resource", s.folder.file(k), k))
}
