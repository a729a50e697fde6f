package desired

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	v1 "clusterbackup/api/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// Apply implements Store. Files that were edited meanwhile are taken in before.
func (s *Files) Apply(_ context.Context, obj v1.Object, opts ApplyOptions) (Applied, error) {
	s.mu.Lock()
	changes, _ := s.refresh()
	applied, change, err := s.apply(obj, opts)
	s.mu.Unlock()
	if change != (Change{}) {
		changes = append(changes, change)
	}
	s.watchers.tell(changes...)
	return applied, err
}

func (s *Files) apply(obj v1.Object, opts ApplyOptions) (Applied, Change, error) {
	kind, name := v1.KindOf(obj), obj.GetName()
	if errs := v1.Validate(obj); len(errs) > 0 {
		return Applied{}, Change{}, fmt.Errorf("%s: %w: %w", v1.Ref(kind, name), ErrInvalid, errs.ToAggregate())
	}
	k := keyOf(kind, name)
	present := s.live(k)
	if present != nil && present.object == nil {
		return Applied{}, Change{}, fmt.Errorf("%s: %w: a newer release made it, and this one does not understand it; apply it there", k, ErrConflict)
	}
	if err := checkPresent(k, present, opts.MustCreate, opts.IfResourceVersion); err != nil {
		return Applied{}, Change{}, err
	}
	next, result, err := succeed(present, obj, opts.System, s.now())
	if err != nil || result == Unchanged {
		return Applied{Result: result, Object: next}, Change{}, err
	}
	if opts.DryRun {
		return Applied{Result: result, Object: next}, Change{}, nil
	}
	r, err := s.version(next, nil)
	if err != nil {
		return Applied{}, Change{}, err
	}
	change, err := s.commit(r)
	if err != nil {
		return Applied{}, Change{}, err
	}
	return Applied{Result: result, Object: r.copy()}, change, nil
}

func checkPresent(k key, present *resource, mustCreate bool, version string) error {
	switch {
	case mustCreate && present != nil:
		return fmt.Errorf("%s: %w: it exists already", k, ErrConflict)
	case version != "" && present == nil:
		return fmt.Errorf("%s: %w: it was deleted meanwhile", k, ErrConflict)
	case version != "" && present.version.String() != version:
		return fmt.Errorf("%s: %w: it was changed meanwhile, by host %s at %s; look at it again", k, ErrConflict, present.version.Host, present.version.Time.Format(time.RFC3339))
	}
	return nil
}

// succeed decides what a resource becomes when a user wants it to be obj.
func succeed(present *resource, obj v1.Object, system bool, now time.Time) (v1.Object, Result, error) {
	next := obj.DeepCopyObject().(v1.Object)
	v1.SetKind(next)
	v1.ClearStatus(next)
	next.SetDeletionTimestamp(nil)
	next.SetResourceVersion("")
	if present == nil {
		if !system {
			next.SetAnnotations(systemKept(next.GetAnnotations(), nil))
		}
		next.SetUID(uuid.NewUUID())
		next.SetCreationTimestamp(metav1.NewTime(now.UTC().Truncate(time.Second)))
		next.SetGeneration(1)
		return next, Created, nil
	}
	was := present.object
	if !system {
		next.SetAnnotations(systemKept(next.GetAnnotations(), was.GetAnnotations()))
	}
	next.SetUID(was.GetUID())
	next.SetCreationTimestamp(was.GetCreationTimestamp())
	next.SetGeneration(was.GetGeneration())
	oldSpec, oldRest, err := wanted(was)
	if err != nil {
		return nil, "", err
	}
	newSpec, newRest, err := wanted(next)
	switch {
	case err != nil:
		return nil, "", err
	case newSpec != oldSpec:
		next.SetGeneration(was.GetGeneration() + 1)
	case newRest == oldRest:
		return present.copy(), Unchanged, nil
	}
	return next, Configured, nil
}

// systemKept is what a user wants of annotations, with the system's own left as they were.
func systemKept(user, present map[string]string) map[string]string {
	kept := map[string]string{}
	maps.Copy(kept, user)
	system := func(name, _ string) bool { return strings.HasPrefix(name, SystemPrefix) }
	maps.DeleteFunc(kept, system)
	for name, value := range present {
		if system(name, value) {
			kept[name] = value
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// version makes an object this host's next version of a resource. Made is of a version that it replaces besides the one known.
func (s *Files) version(obj v1.Object, made map[v1.HostName]uint32) (*resource, error) {
	made = maps.Clone(made)
	if last := s.all[keyOf(v1.KindOf(obj), obj.GetName())]; last != nil {
		if made == nil {
			made = map[v1.HostName]uint32{}
		}
		for host, n := range last.version.Made {
			made[host] = max(made[host], n)
		}
	}
	v, err := s.clock.next(s.opts.Host, made)
	if err != nil {
		return nil, err
	}
	r, err := newResource(obj, v)
	if err != nil && errors.Is(err, errEdited) {
		err = fmt.Errorf("%s: %w: it does not survive being written and read", v1.RefOf(obj), ErrInvalid)
	}
	return r, err
}

// Delete implements Store. The tombstone has the whole resource, so that it can be looked up in deleted/ what it was.
func (s *Files) Delete(_ context.Context, kind, name string, opts DeleteOptions) error {
	s.mu.Lock()
	changes, _ := s.refresh()
	change, err := s.delete(keyOf(kind, name), opts)
	s.mu.Unlock()
	if change != (Change{}) {
		changes = append(changes, change)
	}
	s.watchers.tell(changes...)
	return err
}

func (s *Files) delete(k key, opts DeleteOptions) (Change, error) {
	present := s.live(k)
	if present == nil || present.object == nil {
		return Change{}, fmt.Errorf("%s: %w", k, ErrNotFound)
	}
	if err := checkPresent(k, present, false, opts.IfResourceVersion); err != nil || opts.DryRun {
		return Change{}, err
	}
	gone := present.copy()
	now := metav1.NewTime(s.now().UTC().Truncate(time.Second))
	gone.SetDeletionTimestamp(&now)
	r, err := s.version(gone, nil)
	if err != nil {
		return Change{}, err
	}
	return s.commit(r)
}
