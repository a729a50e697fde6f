package controllers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/location"
	"clusterbackup/reconcile"
)

// sumsQuiet is how long a source's replicas have to be at rest before its checksum file is written.
const sumsQuiet = time.Second

// Versions past their retention are looked for often enough that none is kept for a tenth longer, between these bounds.
const (
	expireOften  = time.Second
	expireSeldom = 10 * time.Minute
)

// LocationReconciler keeps one location of this host open while it is there and is the one it was, and its housekeeping done.
type LocationReconciler struct {
	Desired Desired
	Host    v1.HostName
	Set     *LocationSet
	Config  location.Config // Root, Name, Capacity, Reserve and Init are set for each location
	// SourceDeleted tells whether a source was deleted on purpose: known to have been, not merely unknown here.
	SourceDeleted func(v1.SourceName) bool
	// Spare tells which files of a source of this host need not lie in a location of this host.
	Spare func(ctx context.Context, source v1.SourceName, at v1.LocationName, paths []v1.RelPath) ([]v1.RelPath, error)
	// Event is told when a location comes or goes.
	Event func(name v1.LocationName, warning bool, reason, message string)
	// Opened is told when a location has been opened.
	Opened func()
	Log    logr.Logger

	expired map[v1.LocationName]time.Time // touched by one key's reconcile at a time; see Workers
}

// Reconcile implements reconcile.Reconciler. It is to run with one worker.
func (r *LocationReconciler) Reconcile(ctx context.Context, name v1.LocationName) (reconcile.Result, error) {
	want := locationNamed(r.Desired, name)
	if want == nil || want.Spec.Host != r.Host {
		return reconcile.Result{}, r.drop(name, want == nil)
	}
	k := r.Set.get(name)
	err := r.ensure(ctx, k, want)
	r.Set.want(k, want.Generation, want.Spec.Cordoned || r.hostCordoned(), want.Spec.Draining || r.hostDraining())
	if err == nil { // else the set says why, and it is looked at again below
		if err := r.keepHouse(ctx, k); err != nil {
			r.Log.Error(err, "Housekeeping failed", "location", name)
		}
	}
	return reconcile.Result{RequeueAfter: r.interval()}, nil
}

func (r *LocationReconciler) interval() time.Duration {
	return min(r.Desired.Cluster().Spec.PollInterval.Duration, 15*time.Second)
}

func (r *LocationReconciler) hostCordoned() bool {
	h := hostNamed(r.Desired, r.Host)
	return h != nil && h.Spec.Cordoned
}

func (r *LocationReconciler) hostDraining() bool {
	h := hostNamed(r.Desired, r.Host)
	return h != nil && h.Spec.Draining
}

// drop closes a location that is no longer this host's. Its files stay where they are; deleted for good, a later location
// of the same name may be another folder.
func (r *LocationReconciler) drop(name v1.LocationName, deleted bool) error {
	k := r.Set.get(name)
	err := r.Set.close(k, location.ErrClosed)
	r.Set.forget(name)
	if deleted {
		err = errors.Join(err, location.Forget(r.Config.IndexDir, name))
	}
	return err
}

// ensure has the location open if, and only if, it is there and is the one it was.
func (r *LocationReconciler) ensure(ctx context.Context, k *keptLocation, want *v1.Location) error {
	if k.opened != nil && k.path != want.Spec.Path {
		if err := r.Set.close(k, location.ErrClosed); err != nil {
			return err
		}
	}
	if k.opened != nil {
		if err := k.opened.Check(ctx); err != nil {
			return r.lost(k, err)
		}
		k.opened.SetLimits(limitsOf(want))
		return nil
	}
	opened, err := r.openLocation(k.name, want)
	if err != nil {
		return r.lost(k, err)
	}
	r.Set.open(k, opened, want.Spec.Path)
	r.Event(k.name, false, "Opened", "location is there: "+want.Spec.Path)
	r.Opened()
	return nil
}

func (r *LocationReconciler) openLocation(name v1.LocationName, want *v1.Location) (*location.Location, error) {
	config := r.Config
	config.Name, config.Root, config.Init = name, want.Spec.Path, true
	if config.Uptime == nil {
		config.Uptime = uptime
	}
	config.Capacity, config.Reserve = limitsOf(want)
	if err := r.makeParents(name, want.Spec.Path); err != nil {
		return nil, err
	}
	return location.Open(config)
}

// makeParents makes the folders above a location that was never open before. Later it doesn't: then a folder that is missing is
// a disk that is missing.
func (r *LocationReconciler) makeParents(name v1.LocationName, path string) error {
	if location.Known(r.Config.IndexDir, name) {
		return nil
	}
	return os.MkdirAll(filepath.Dir(path), 0o755)
}

// lost closes the location and says why, once for each reason.
func (r *LocationReconciler) lost(k *keptLocation, err error) error {
	if k.err == nil || k.err.Error() != err.Error() {
		r.Event(k.name, true, ReasonOfLocation(err), err.Error())
		r.Log.Info("Location is not available", "location", k.name, "reason", err.Error())
	}
	if closeErr := r.Set.close(k, err); closeErr != nil {
		r.Log.Error(closeErr, "Close failed", "location", k.name)
	}
	return err
}

// ReasonOfLocation is one CamelCase word for why a location is not available.
func ReasonOfLocation(err error) string {
	switch {
	case err == nil:
		return "Open"
	case errors.Is(err, location.ErrMissing):
		return "Missing"
	case errors.Is(err, location.ErrForeign):
		return "OtherCluster"
	case errors.Is(err, location.ErrIdentity):
		return "OtherDisk"
	case errors.Is(err, location.ErrCorruptIndex):
		return "IndexDamaged"
	case errors.Is(err, location.ErrRebuilding):
		return "Rebuilding"
	case errors.Is(err, location.ErrNotEmpty):
		return "NotEmpty"
	case errors.Is(err, location.ErrBusy):
		return "InUse"
	}
	return "Unusable"
}

// limitsOf is a location's capacity and reserve in bytes; 0: none is given.
func limitsOf(l *v1.Location) (capacity, reserve int64) {
	if l.Spec.Capacity != nil {
		capacity = l.Spec.Capacity.Value()
	}
	if l.Spec.Reserve != nil {
		reserve = l.Spec.Reserve.Value()
	}
	return capacity, reserve
}

// keepHouse brings the checksum files up to date, retires what was held of sources that were deleted, and expires versions.
func (r *LocationReconciler) keepHouse(ctx context.Context, k *keptLocation) error {
	l := k.opened
	if l.Rebuilding() {
		return nil
	}
	sources, err := l.Sources()
	if err != nil {
		return err
	}
	for _, source := range sources {
		if err := r.keepSource(ctx, l, source); err != nil {
			return err
		}
	}
	if err := l.FlushSums(ctx, sumsQuiet); err != nil {
		return err
	}
	now, err := l.AgingTime()
	if err != nil {
		return err
	}
	if r.expired == nil {
		r.expired = map[v1.LocationName]time.Time{}
	}
	if time.Since(r.expired[k.name]) < r.expireInterval() {
		_, err = l.Thin(ctx, now, r.retention)
		return err
	}
	r.expired[k.name] = time.Now()
	for _, source := range sources {
		if err := r.retireOwn(ctx, l, k.name, source); err != nil {
			return err
		}
	}
	_, err = l.Expire(ctx, now, r.retention)
	return err
}

func (r *LocationReconciler) expireInterval() time.Duration {
	interval := expireSeldom
	for _, s := range r.Desired.Sources() {
		keep := RetentionOf(s)
		interval = min(interval, keep.Deleted.Duration/10, keep.Versions.Duration/10)
	}
	return max(interval, expireOften)
}

// keepSource remembers how long a source has its deleted files kept, and retires what is held of one that was deleted.
func (r *LocationReconciler) keepSource(ctx context.Context, l *location.Location, source v1.SourceName) error {
	if want := sourceNamed(r.Desired, source); want != nil {
		return l.NoteDeleted(source, RetentionOf(want).Deleted.Duration)
	}
	if !r.SourceDeleted(source) {
		return nil
	}
	return r.retireSource(ctx, l, source)
}

// retireSource moves all replicas of a deleted source to versions/, where its retention, or the default one if that is longer, runs
// out by this host's clock.
func (r *LocationReconciler) retireSource(ctx context.Context, l *location.Location, source v1.SourceName) error {
	keep := max(RetentionOf(nil).Deleted.Duration, l.NotedDeleted(source))
	return retireEach(ctx, l, source, keep, func(paths []v1.RelPath) ([]v1.RelPath, error) { return paths, nil })
}

// retireOwn moves replicas of a source that has come to be on this host to versions/, where they lie for as long as deleted files do:
// they count nowhere. It waits for each file until enough others hold it.
func (r *LocationReconciler) retireOwn(ctx context.Context, l *location.Location, name v1.LocationName, source v1.SourceName) error {
	want := sourceNamed(r.Desired, source)
	if want == nil || want.Spec.Host != r.Host {
		return nil
	}
	return retireEach(ctx, l, source, RetentionOf(want).Deleted.Duration, func(paths []v1.RelPath) ([]v1.RelPath, error) {
		spare, err := r.Spare(ctx, source, name, paths)
		return slices.DeleteFunc(spare, func(path v1.RelPath) bool {
			return !apart(filepath.Join(want.Spec.Path, string(path)), filepath.Join(l.SourceDir(source), string(path)))
		}), err
	})
}

// apart tells whether a source's file is surely not the replica itself, which it is if the source's path leads, by a link or a mount,
// to where its replicas are.
func apart(file, replica string) bool {
	a, err := os.Stat(file)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	b, err := os.Stat(replica)
	return err == nil && !os.SameFile(a, b)
}

// retireEach retires those replicas of a source that which picks, folder by folder.
func retireEach(ctx context.Context, l *location.Location, source v1.SourceName, keep time.Duration, which func([]v1.RelPath) ([]v1.RelPath, error)) error {
	for folder, err := range l.Folders(source, "") {
		if err != nil {
			return err
		}
		paths := make([]v1.RelPath, len(folder.Records))
		for i, record := range folder.Records {
			paths[i] = record.Path
		}
		if paths, err = which(paths); err != nil {
			return err
		}
		if len(paths) == 0 {
			continue
		}
		errs, err := l.Retire(ctx, source, paths, keep, nil)
		if err := errors.Join(append(errs, err)...); err != nil {
			return err
		}
	}
	return nil
}

func (r *LocationReconciler) retention(source v1.SourceName) location.Retention {
	keep := RetentionIn(r.Desired, source)
	return location.Retention{Deleted: keep.Deleted.Duration, Versions: keep.Versions.Duration, MaxVersions: int(*keep.MaxVersions)}
}
