package daemon

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/coordinator"
	"clusterbackup/transport"
)

// actor makes the reconciler that acts for silent hosts. Its catalogs live no longer than the daemon.
func (l *loops) actor() *controllers.ActingReconciler {
	h := l.host
	catalogs := filepath.Join(cmp.Or(h.scratch, scratchDir(h.options.State)), "acting")
	return &controllers.ActingReconciler{
		Desired: h.desired, Host: h.identity.Host(), Set: l.acting, Catalogs: catalogs,
		Coordinator: coordinator.Config{Hosts: l.hostInfos, Deleted: l.locationDeleted, LastSeen: h.peers.lastSeen, Log: h.log.WithName("acting")},
		LastSeen:    h.peers.lastSeen, Listings: l.listings, Open: l.openListing, Chosen: l.chosen,
		Event:     noteFor[v1.SourceName](h.events, v1.KindSource),
		Answering: func(name v1.SourceName) { l.tickActing.Enqueue(name) }, Log: h.log.WithName("acting"),
	}
}

// listings asks every host for the listings of a source, and does not wait long for those that are silent too.
func (l *loops) listings(ctx context.Context, source v1.SourceName) ([]controllers.ListingAt, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	holders, err := l.host.backend.holders.Holders(ctx, source)
	if err != nil {
		return nil, err
	}
	var all []controllers.ListingAt
	for _, h := range holders {
		if h.Live {
			all = append(all, controllers.ListingAt{Host: h.Host, Location: h.Location, Generation: h.Manifest, Time: h.ManifestTime, Acting: h.Acting, Failed: h.CannotAct})
		}
	}
	return all, nil
}

// openListing opens the listing of a source in a location of this host.
func (l *loops) openListing(ctx context.Context, source v1.SourceName, at v1.LocationName) (_ io.ReadCloser, version string, err error) {
	location, done := l.locations.UseOne(at)
	if location == nil {
		done()
		return nil, "", notOpen(at)
	}
	version, err = location.ManifestVersion(source)
	if err != nil {
		done()
		return nil, "", err
	}
	file, err := location.Disk.OpenManifest(ctx, source)
	if err != nil {
		done()
		return nil, "", err
	}
	return inUse{file, done}, version, nil
}

// openActing opens the listing from which this host acts for a source's.
func (l *loops) openActing(ctx context.Context, source v1.SourceName) (io.ReadCloser, error) {
	running, done := l.acting.Use(source)
	defer done()
	if running == nil {
		return nil, notActing(source)
	}
	file, _, err := l.openListing(ctx, source, running.Listing.Location)
	return file, err
}

func notActing(source v1.SourceName) error {
	return &transport.Error{Code: codeNoSource, Msg: fmt.Sprintf("this host does not act for the host of source %s", source)}
}

// inUse is a file of a location that stays open with it.
type inUse struct {
	io.ReadCloser
	done func()
}

func (f inUse) Close() error {
	defer f.done()
	return f.ReadCloser.Close()
}

// chosen notes who acts for a source, "" for nobody, and has this host be its client.
func (l *loops) chosen(source v1.SourceName, by v1.HostName) {
	l.mu.Lock()
	was := l.acts[source]
	if l.acts[source] = by; by == "" {
		delete(l.acts, source)
	}
	l.mu.Unlock()
	if was != by {
		l.kick()
	}
}

// actsFor is the host that acts for a source's, "" if none does as far as this one knows.
func (l *loops) actsFor(source v1.SourceName) v1.HostName {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acts[source]
}

// dial reaches the coordinator that a client speaks with.
func (l *loops) dial(c controllers.Client) controllers.Coordinator {
	switch {
	case !c.Acting:
		return remote{l.host.peers, c.Coordinator, ownPrefix}
	case c.Coordinator == l.host.identity.Host():
		return local{l.acting, c.Coordinator}
	}
	return remote{l.host.peers, c.Coordinator, actingPrefix}
}

// local is the coordinator of a source that this host acts for, as its own locations ask it.
type local struct {
	acting *controllers.SourceSet
	self   v1.HostName
}

var _ controllers.Coordinator = local{}

func askHere[Q, A any](ctx context.Context, l local, source v1.SourceName, q *Q,
	f func(*coordinator.Coordinator, context.Context, v1.HostName, *Q) (*A, error)) (*A, error) {
	running, done := l.acting.Use(source)
	defer done()
	if running == nil {
		return nil, notActing(source)
	}
	return f(running.Coordinator, ctx, l.self, q)
}

func (l local) Hello(ctx context.Context, q *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Hello)
}

func (l local) Inventory(ctx context.Context, q *coordinator.Inventory) (*coordinator.InventoryAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Inventory)
}

func (l local) Claim(ctx context.Context, q *coordinator.Claim) (*coordinator.ClaimAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Claim)
}

func (l local) Renew(ctx context.Context, q *coordinator.Renew) (*coordinator.RenewAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Renew)
}

func (l local) Release(ctx context.Context, q *coordinator.Release) (*coordinator.ReleaseAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Release)
}

func (l local) Confirm(ctx context.Context, q *coordinator.Confirm) (*coordinator.ConfirmAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Confirm)
}

func (l local) Report(ctx context.Context, q *coordinator.Report) (*coordinator.ReportAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Report)
}

func (l local) Relieve(ctx context.Context, q *coordinator.Relieve) (*coordinator.RelieveAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Relieve)
}

func (l local) Drop(ctx context.Context, q *coordinator.Drop) (*coordinator.DropAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Drop)
}

func (l local) Dropped(ctx context.Context, q *coordinator.Dropped) (*coordinator.DroppedAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Dropped)
}

func (l local) Retire(ctx context.Context, q *coordinator.Retire) (*coordinator.RetireAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Retire)
}

func (l local) Retired(ctx context.Context, q *coordinator.Retired) (*coordinator.RetiredAnswer, error) {
	return askHere(ctx, l, q.Source, q, (*coordinator.Coordinator).Retired)
}
