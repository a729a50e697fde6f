package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/manifest"
	"clusterbackup/internal/tree"
	"clusterbackup/reconcile"
)

// ActingReconciler finds out who acts for the host of a source that is silent for longer than repairAfter (L3), and does so where that is
// this host. Nobody agrees upon it: where two act at once, because they hear different hosts, both only order copies.
type ActingReconciler struct {
	Desired Desired
	Host    v1.HostName
	// Set has the sources that this host acts for.
	Set *SourceSet
	// Catalogs is the folder of their catalogs, of which none outlives the daemon.
	Catalogs string
	// Coordinator fills in what every coordinator of this host shares; Host, Source, Cluster, Catalog and Tree are set for each.
	Coordinator coordinator.Config
	// LastSeen is when a host was heard of; zero: never since the daemon started.
	LastSeen func(v1.HostName) time.Time
	// Listings asks all hosts which listings of a source they have; those that don't answer have none.
	Listings func(context.Context, v1.SourceName) ([]ListingAt, error)
	// Open opens the listing of a source that lies in a location of this host, and tells its version.
	Open func(context.Context, v1.SourceName, v1.LocationName) (listing io.ReadCloser, version string, err error)
	// Chosen is told who acts for a source; "": nobody.
	Chosen func(v1.SourceName, v1.HostName)
	// Event is told what people should know of a source.
	Event func(name v1.SourceName, warning bool, reason, message string)
	// Answering is told when this host begins to act for a source's.
	Answering func(name v1.SourceName)
	Log       logr.Logger

	mu sync.Mutex
	// listening is since when hosts were listened to, looked when that was looked at last: while this host sleeps nobody is silent.
	listening, looked time.Time
	found             map[v1.SourceName]finding
}

// finding is who was found to act for a source.
type finding struct {
	by ListingAt
	at time.Time
}

// ListingAt is a listing of a source in a location.
type ListingAt struct {
	Host       v1.HostName
	Location   v1.LocationName
	Generation v1.Generation
	Time       time.Time
	// Acting: the host acts for the source's already. Failed: it tried to lately, and could not.
	Acting, Failed bool
}

// whoActs chooses, alike for all who see the same: of the hosts that have the newest listing one that acts already, else the first by
// name.
func whoActs(listings []ListingAt) (best ListingAt, ok bool) {
	newest := func(a, b ListingAt) int {
		return cmp.Or(b.Generation.Compare(a.Generation), b.Time.Compare(a.Time))
	}
	listings = slices.DeleteFunc(slices.Clone(listings), func(l ListingAt) bool { return l.Failed || l.Generation.IsZero() })
	if len(listings) == 0 {
		return best, false
	}
	slices.SortFunc(listings, func(a, b ListingAt) int {
		after := func(l ListingAt) int {
			if l.Acting {
				return 0
			}
			return 1
		}
		return cmp.Or(newest(a, b), cmp.Compare(after(a), after(b)), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Location, b.Location))
	})
	return listings[0], true
}

// Reconcile implements reconcile.Reconciler.
func (r *ActingReconciler) Reconcile(ctx context.Context, name v1.SourceName) (reconcile.Result, error) {
	want, cluster := sourceNamed(r.Desired, name), r.Desired.Cluster().Spec
	if want == nil || want.Spec.Host == r.Host {
		return reconcile.Result{}, r.end(name)
	}
	again := reconcile.Result{RequeueAfter: min(cluster.PollInterval.Duration, cluster.HostTimeout.Duration/3)}
	silent := r.silent(want.Spec.Host, cluster)
	defer r.look(cluster)
	if !silent {
		return again, r.end(name)
	}
	by, err := r.find(ctx, name, cluster)
	switch {
	case err != nil:
		return reconcile.Result{}, err
	case by.Host == r.Host:
		if err = r.act(ctx, want, by); err != nil {
			r.fail(name, err)
		}
	default:
		err = r.stop(name)
	}
	if err != nil {
		by.Host = ""
	}
	r.Chosen(name, by.Host)
	return again, err
}

// look notes that hosts are being listened to.
func (r *ActingReconciler) look(cluster v1.ClusterSpec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Sub(r.looked) > cluster.HostTimeout.Duration {
		r.listening = now
	}
	r.looked = now
}

// silent tells whether a host was not heard of for longer than repairAfter, and is not in maintenance.
func (r *ActingReconciler) silent(host v1.HostName, cluster v1.ClusterSpec) bool {
	r.look(cluster)
	r.mu.Lock()
	last := r.listening
	r.mu.Unlock()
	if seen := r.LastSeen(host); seen.After(last) {
		last = seen
	}
	now := time.Now()
	if h := hostNamed(r.Desired, host); h != nil && h.Spec.CordonedUntil != nil && now.Before(h.Spec.CordonedUntil.Time) {
		return false
	}
	return now.Sub(last) > cluster.RepairAfter.Duration
}

// askAgain is after how many poll intervals it is asked again who acts, as long as that host is heard of.
const askAgain = 4

// find returns who acts for a source; a zero one: nobody can.
func (r *ActingReconciler) find(ctx context.Context, name v1.SourceName, cluster v1.ClusterSpec) (ListingAt, error) {
	r.mu.Lock()
	f := r.found[name]
	r.mu.Unlock()
	live := f.by.Host == r.Host || time.Since(r.LastSeen(f.by.Host)) <= cluster.HostTimeout.Duration
	if f.by.Host != "" && live && time.Since(f.at) < askAgain*cluster.PollInterval.Duration {
		return f.by, nil
	}
	listings, err := r.Listings(ctx, name)
	if err != nil {
		return ListingAt{}, fmt.Errorf("find who acts for the source's host: %w", err)
	}
	by, _ := whoActs(listings)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.found == nil {
		r.found = map[v1.SourceName]finding{}
	}
	r.found[name] = finding{by, time.Now()}
	return by, nil
}

// end is what to do when nobody is to act for a source's host: it is back, or never was away.
func (r *ActingReconciler) end(name v1.SourceName) error {
	r.mu.Lock()
	delete(r.found, name)
	r.mu.Unlock()
	r.Chosen(name, "")
	err := r.stop(name)
	r.Set.forget(name)
	return err
}

// fail leaves acting to others for a while.
func (r *ActingReconciler) fail(name v1.SourceName, err error) {
	k := r.Set.get(name)
	r.Set.setErr(k, nil)
	r.Set.setErr(k, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.found, name)
}

// stop ends acting, if this host does.
func (r *ActingReconciler) stop(name v1.SourceName) error {
	k := r.Set.get(name)
	acted := k.running != nil
	err := r.Set.stop(k)
	if !acted {
		return err
	}
	if removed := os.Remove(r.catalogPath(name)); !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	r.Event(name, false, "ActingEnded", "this host acts for the source's no more")
	r.Log.Info("Acting no more", "source", name)
	return err
}

func (r *ActingReconciler) catalogPath(name v1.SourceName) string {
	return filepath.Join(r.Catalogs, string(name)+".db")
}

// act has a coordinator answer for a source whose listing lies in a location of this host.
func (r *ActingReconciler) act(ctx context.Context, want *v1.Source, by ListingAt) error {
	k := r.Set.get(v1.SourceName(want.Name))
	cluster := r.Desired.Cluster().Spec
	basis := openedAs{path: string(by.Location), uid: by.Generation.String() + by.Time.String()}
	if k.running != nil && k.opened == basis {
		k.running.Coordinator.Update(*want, cluster)
		return nil
	}
	if err := r.Set.stop(k); err != nil {
		return err
	}
	cat, from, version, err := r.fill(ctx, k.name, by.Location)
	if err != nil {
		return err
	}
	config := r.Coordinator
	config.Source, config.Cluster, config.Catalog, config.Tree = *want, cluster, cat, NoTree{}
	config.Host, config.Acting, config.Listing = want.Spec.Host, true, version
	config.Log = config.Log.WithValues("source", k.name)
	config.Events = func(reason, message string) { r.Event(k.name, true, reason, message) }
	c, err := coordinator.New(config)
	if err != nil {
		return errors.Join(err, cat.Close())
	}
	r.Set.change(func() { k.opened = basis })
	r.Set.start(k, &RunningSource{Name: k.name, Coordinator: c, Catalog: cat, Listing: from})
	r.Event(k.name, true, "Acting", fmt.Sprintf("host %s is silent for longer than %s: this host has the newest listing of the source and orders copies in its stead; nothing is dropped",
		want.Spec.Host, cluster.RepairAfter.Duration))
	r.Log.Info("Acting for a silent host", "source", k.name, "host", want.Spec.Host, "generation", by.Generation.String())
	r.Answering(k.name)
	return nil
}

// fill makes a catalog of the listing in a location of this host.
func (r *ActingReconciler) fill(ctx context.Context, name v1.SourceName, at v1.LocationName) (cat *catalog.Catalog, from Listing, version string, err error) {
	listing, version, err := r.Open(ctx, name, at)
	if err != nil {
		return nil, Listing{}, "", fmt.Errorf("open listing: %w", err)
	}
	defer listing.Close()
	cat, from, err = OpenListed(ctx, r.catalogPath(name), catalog.Options{Clock: r.Coordinator.Clock, NoSync: true}, listing)
	from.Location = at
	return cat, from, version, err
}

// OpenListed makes a catalog of a listing, in place of whatever is at path. The caller closes it. The Listing says nothing of where it lies.
func OpenListed(ctx context.Context, path string, o catalog.Options, listing io.Reader) (*catalog.Catalog, Listing, error) {
	header, entries, err := manifest.Read(listing)
	if err != nil {
		return nil, Listing{}, err
	}
	from := Listing{Time: header.Time}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, Listing{}, err
	}
	cat, err := catalog.Open(path, o)
	if err != nil {
		return nil, Listing{}, err
	}
	if err := cat.Fill(ctx, filesOf(entries, &from.Unknown)); err != nil {
		return nil, Listing{}, errors.Join(err, cat.Close())
	}
	return cat, from, nil
}

// filesOf are the files of a listing that can be told by their bytes: those whose digest was known when it was made. It counts the others.
func filesOf(entries iter.Seq2[manifest.Entry, error], unknown *int64) iter.Seq2[catalog.Listed, error] {
	return func(yield func(catalog.Listed, error) bool) {
		for e, err := range entries {
			switch {
			case err != nil:
			case e.Type != manifest.File:
				continue
			case e.Digest.IsZero():
				*unknown++
				continue
			}
			if !yield(catalog.Listed{Path: e.Path, Size: e.Size, ModTime: e.ModTime, Mode: e.Mode, Digest: e.Digest}, err) {
				return
			}
		}
	}
}

// NoTree is the tree of a source whose host is not there: it cannot tell.
type NoTree struct{}

// Stat implements coordinator.Tree.
func (NoTree) Stat(context.Context, v1.RelPath) (tree.Entry, error) { return tree.Entry{}, errNoTree }

// Digest implements coordinator.Tree.
func (NoTree) Digest(context.Context, v1.RelPath, tree.Entry) (v1.Digest, error) {
	return v1.Digest{}, errNoTree
}
