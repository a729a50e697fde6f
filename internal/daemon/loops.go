package daemon

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
	"clusterbackup/reconcile"
)

// loops are the controllers of a host and what they share.
type loops struct {
	host      *host
	sources   *controllers.SourceSet
	acting    *controllers.SourceSet // that this host acts for
	locations *controllers.LocationSet
	counters  *controllers.Counters
	verifier  *controllers.VerifyReconciler
	manifests *manifests
	copier    *controllers.CopyReconciler
	sessions  *controllers.Sessions
	sent      sentBytes

	config *reconcile.Controller[struct{}]
	scan   *reconcile.Controller[v1.SourceName]
	tick   *reconcile.Controller[v1.SourceName]
	copy   *reconcile.Controller[controllers.Client]
	drop   *reconcile.Controller[controllers.Client]
	locate *reconcile.Controller[v1.LocationName]
	verify *reconcile.Controller[v1.LocationName]

	standIn    *reconcile.Controller[v1.SourceName]
	tickActing *reconcile.Controller[v1.SourceName]

	mu    sync.Mutex
	known keys
	// acts has who acts for the sources of silent hosts.
	acts map[v1.SourceName]v1.HostName

	// download waits until that many bytes may come, by this host's limit for all that it copies.
	download func(context.Context, int) error
}

// keys are what the controllers work on now.
type keys struct {
	sources   map[v1.SourceName]bool
	others    map[v1.SourceName]bool // sources of other hosts
	locations map[v1.LocationName]bool
	clients   map[controllers.Client]bool
}

// copiesAtOnce is how many sources are copied from at once.
const copiesAtOnce = 4

func newLoops(h *host, session uint64, metrics *reconcile.Metrics) *loops {
	self := h.identity.Host()
	l := &loops{host: h, sources: &controllers.SourceSet{}, acting: &controllers.SourceSet{}, locations: &controllers.LocationSet{},
		counters: &controllers.Counters{}, acts: map[v1.SourceName]v1.HostName{}}
	l.download = bounded(l.limits, downloadLimit)
	l.manifests = &manifests{dir: filepath.Join(h.options.State, "manifests"), cluster: h.identity.ClusterUID()}
	l.sessions = &controllers.Sessions{ID: session, Dial: l.dial}
	retention := func(name v1.SourceName) v1.Retention { return controllers.RetentionIn(h.desired, name) }
	options := func(workers int) reconcile.Options {
		return reconcile.Options{Workers: workers, Metrics: metrics, Log: h.log, MaxBackoff: time.Minute}
	}
	l.config = reconcile.New("config", &controllers.ConfigReconciler{Desired: h.desired, Host: self, Log: h.log.WithName("config"),
		Pull: h.gossip.pull}, options(1))
	l.scan = reconcile.New("scan", &controllers.ScanReconciler{
		Desired: h.desired, Host: self, Set: l.sources, Catalogs: filepath.Join(h.options.State, "catalogs"),
		Coordinator: coordinator.Config{Host: self, Hosts: l.hostInfos, Deleted: l.locationDeleted, LastSeen: h.peers.lastSeen, Log: h.log.WithName("coordinator")},
		Event:       noteFor[v1.SourceName](h.events, v1.KindSource), Log: h.log.WithName("scan"),
		Answering: func(name v1.SourceName) { l.tick.Enqueue(name) },
	}, options(2))
	l.tick = reconcile.New("tick", controllers.TickReconciler{Desired: h.desired, Set: l.sources}, options(2))
	l.standIn = reconcile.New("acting", l.actor(), options(copiesAtOnce))
	l.tickActing = reconcile.New("tick-acting", controllers.TickReconciler{Desired: h.desired, Set: l.acting}, options(1))
	l.locate = reconcile.New("location", &controllers.LocationReconciler{
		Desired: h.desired, Host: self, Set: l.locations,
		Config:        location.Config{ClusterUID: h.identity.ClusterUID(), IndexDir: filepath.Join(h.options.State, "locations"), Disks: &location.Disks{}, Log: h.log.WithName("location")},
		SourceDeleted: func(name v1.SourceName) bool { return h.store.Deleted(v1.KindSource, string(name)) },
		Spare: func(ctx context.Context, source v1.SourceName, at v1.LocationName, paths []v1.RelPath) ([]v1.RelPath, error) {
			running, done := l.sources.Use(source)
			defer done()
			if running == nil {
				return nil, nil
			}
			return running.Coordinator.Spare(ctx, at, paths)
		},
		Event: noteFor[v1.LocationName](h.events, v1.KindLocation), Log: h.log.WithName("location"),
		Opened: l.kickClients,
	}, options(1))
	l.verifier = &controllers.VerifyReconciler{Desired: h.desired, Sessions: l.sessions, Locations: l.locations, Limit: bounded(l.limits, readLimit),
		Counters: l.counters, Event: noteFor[v1.SourceName](h.events, v1.KindSource), Log: h.log.WithName("verify")}
	l.verify = reconcile.New("verify", l.verifier, options(1))
	shortage := &controllers.Shortage{}
	l.copier = &controllers.CopyReconciler{Sessions: l.sessions, Locations: l.locations, Wanted: l.wanted, Fetch: l.fetch, Allowed: l.copiesAllowed, Retention: retention,
		Manifest: l.fetchManifest, Drops: enqueuer(func(c controllers.Client) { l.drop.Enqueue(c) }), Shortage: shortage, Counters: l.counters,
		Event: noteFor[v1.LocationName](h.events, v1.KindLocation), Log: h.log.WithName("copy")}
	l.copy = reconcile.New("copy", l.copier, options(copiesAtOnce))
	l.drop = reconcile.New("drop", &controllers.DropReconciler{Sessions: l.sessions, Locations: l.locations, Wanted: l.wanted, Retention: retention,
		Shortage: shortage, Copies: enqueuer(func(c controllers.Client) { l.copy.Enqueue(c) }), Counters: l.counters, Log: h.log.WithName("drop")}, options(2))
	return l
}

// enqueuer makes a queue's Enqueue of a function.
type enqueuer func(controllers.Client)

func (e enqueuer) Enqueue(c controllers.Client) { e(c) }

func noteFor[N ~string](e *events, kind string) func(N, bool, string, string) {
	return func(name N, warning bool, reason, message string) {
		eventType := admin.EventNormal
		if warning {
			eventType = admin.EventWarning
		}
		e.note(kind, string(name), eventType, reason, message)
	}
}

// start runs every controller until ctx ends.
func (l *loops) start(ctx context.Context, parts *errgroup.Group) {
	for _, run := range []func(context.Context) error{l.config.Run, l.scan.Run, l.tick.Run, l.standIn.Run, l.tickActing.Run, l.locate.Run, l.verify.Run, l.copy.Run, l.drop.Run} {
		parts.Go(func() error { return run(ctx) })
	}
	parts.Go(func() error { return l.keep(ctx) })
}

// keep does what is due now and then: certificates are renewed, rates are noted.
func (l *loops) keep(ctx context.Context) error {
	every := time.NewTicker(10 * time.Second)
	defer every.Stop()
	var renewal time.Time
	for {
		l.host.backend.rates.take(time.Now())
		l.host.backend.observe()
		if time.Now().After(renewal) {
			renewal = time.Now().Add(time.Hour)
			if _, renewed, err := l.host.identity.Renew(); err != nil {
				l.host.log.Error(err, "Certificate not renewed")
			} else if renewed {
				l.host.log.Info("Certificate renewed")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// kick has every controller look at every key there is, and at those that are gone since.
func (l *loops) kick() {
	now := keys{map[v1.SourceName]bool{}, map[v1.SourceName]bool{}, map[v1.LocationName]bool{}, map[controllers.Client]bool{}}
	self := l.host.identity.Host()
	for _, s := range l.host.desired.Sources() {
		name := v1.SourceName(s.Name)
		if s.Spec.Host == self {
			now.sources[name] = true
			continue
		}
		now.others[name] = true
		now.clients[controllers.Client{Source: name, Coordinator: s.Spec.Host}] = true
		if by := l.actsFor(name); by != "" {
			now.clients[controllers.Client{Source: name, Coordinator: by, Acting: true}] = true
		}
	}
	for _, loc := range l.host.desired.Locations() {
		if loc.Spec.Host == self {
			now.locations[v1.LocationName(loc.Name)] = true
		}
	}
	l.mu.Lock()
	before := l.known
	l.known = now
	l.mu.Unlock()
	l.config.Enqueue(struct{}{})
	for name := range union(now.sources, before.sources) {
		l.scan.Enqueue(name)
	}
	for name := range union(now.others, before.others) {
		l.standIn.Enqueue(name)
	}
	for name := range union(now.locations, before.locations) {
		l.locate.Enqueue(name)
		l.verify.EnqueueAfter(name, time.Minute)
	}
	for client := range before.clients {
		if !now.clients[client] {
			l.copier.Forget(client)
			l.sessions.Forget(client)
			l.copy.Enqueue(client)
		}
	}
	for client := range now.clients {
		l.copy.Enqueue(client)
	}
}

// kickClients has every coordinator asked soon: there is a location that was not there before.
func (l *loops) kickClients() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for client := range l.known.clients {
		l.copy.Enqueue(client)
	}
}

func union[K comparable](a, b map[K]bool) map[K]bool {
	all := map[K]bool{}
	for _, m := range []map[K]bool{a, b} {
		for k := range m {
			all[k] = true
		}
	}
	return all
}

// wanted tells whether a client still is one: a key that is in the queue may have gone since.
func (l *loops) wanted(c controllers.Client) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known.clients[c]
}

// rescan has a source scanned soon.
func (l *loops) rescan(name v1.SourceName) {
	l.sources.Rescan(name)
	l.scan.Enqueue(name)
}

// hostInfos is what desired state says of the hosts, as coordinators want it.
func (l *loops) hostInfos() []coordinator.HostInfo {
	hosts := l.host.desired.Hosts()
	lends := map[v1.HostName][]v1.LocationName{}
	for _, location := range l.host.desired.Locations() {
		lends[location.Spec.Host] = append(lends[location.Spec.Host], v1.LocationName(location.Name))
	}
	infos := make([]coordinator.HostInfo, len(hosts))
	for i, h := range hosts {
		name := v1.HostName(h.Name)
		infos[i] = coordinator.HostInfo{Name: name, Labels: h.Labels, Cordoned: h.Spec.Cordoned, Draining: h.Spec.Draining, Locations: lends[name]}
		if h.Spec.Limits != nil {
			infos[i].Windows = h.Spec.Limits.Windows
		}
		if h.Spec.CordonedUntil != nil {
			infos[i].MaintenanceUntil = h.Spec.CordonedUntil.Time
		}
	}
	return infos
}

func (l *loops) locationDeleted(name v1.LocationName) bool {
	return l.host.store.Deleted(v1.KindLocation, string(name))
}

func (l *loops) limits() v1.Limits {
	if self := l.host.desired.host(l.host.identity.Host()); self != nil && self.Spec.Limits != nil {
		return *self.Spec.Limits
	}
	return v1.Limits{}
}

// copiesAllowed tells whether the time of day is within the host's windows.
func (l *loops) copiesAllowed() bool { return v1.WithinWindows(l.limits().Windows, time.Now()) }
