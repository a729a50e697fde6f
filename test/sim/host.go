package sim

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
)

// host is a machine: a disk with a location, and the processes that look after it.
type host struct {
	w         *world
	name      v1.HostName
	location  v1.LocationName
	site      string
	up        bool
	ended     time.Duration // when it was up last, if it isn't
	side      int           // of a split network
	skew      time.Duration // of its clock
	draining  bool
	disk      *disk
	downRate  float64
	downloads int
	sources   []*source // of its own
	remotes   map[*source]*remote
	procs     []*proc
	verifier  *controllers.VerifyReconciler
	copies    *queue[controllers.Client]
	drops     *queue[controllers.Client]
	verifies  *queue[v1.LocationName]
	calls     map[*call]bool
}

func (w *world) addHost(i int, capacity int64) *host {
	h := &host{w: w, name: v1.HostName(fmt.Sprintf("h%02d", i)), site: fmt.Sprintf("site%d", i),
		downRate: w.cfg.Rate, calls: make(map[*call]bool)}
	h.location = v1.LocationName(h.name + "-disk")
	h.disk = newDisk(h, capacity)
	w.hosts = append(w.hosts, h)
	w.byName[h.name] = h
	return h
}

// start begins the host's process: coordinators of its sources, and the loops of a client of each other source.
func (h *host) start() {
	h.up = true
	for _, s := range h.sources {
		s.open()
	}
	if h.disk.capacity > 0 {
		h.startLoops()
	}
	h.run(h.keep)
}

// The daemon's workers.
const (
	copiesAtOnce = 4
	dropsAtOnce  = 2
)

func (h *host) startLoops() {
	h.remotes = make(map[*source]*remote)
	env, shortage, counters := h.env(), &controllers.Shortage{}, &controllers.Counters{}
	sessions := &controllers.Sessions{ID: h.w.rng.Uint64(), Env: env, Dial: func(c controllers.Client) controllers.Coordinator {
		if c.Acting {
			return &toActing{h: h, client: c}
		}
		r := &remote{h: h, to: h.w.source(c.Source)}
		h.remotes[r.to] = r
		return r
	}}
	wanted := func(c controllers.Client) bool { return !c.Acting || h.w.acting[c] != nil }
	retention := func(name v1.SourceName) v1.Retention { return controllers.RetentionIn(desired{h.w}, name) }
	copier := &controllers.CopyReconciler{Sessions: sessions, Locations: locations{h}, Wanted: wanted, Fetch: h.fetch, Allowed: func() bool { return true }, Event: func(v1.LocationName, bool, string, string) {},
		Retention: retention, Manifest: noManifest, Shortage: shortage, Counters: counters, Env: env, Log: logr.Discard()}
	dropper := &controllers.DropReconciler{Sessions: sessions, Locations: locations{h}, Wanted: wanted, Retention: retention, Shortage: shortage,
		Counters: counters, Log: logr.Discard()}
	h.verifier = &controllers.VerifyReconciler{Desired: desired{h.w}, Sessions: sessions, Locations: locations{h}, Counters: counters,
		Event: func(v1.SourceName, bool, string, string) {}, Env: env, Log: logr.Discard()}
	h.copies, h.drops, h.verifies = newQueue(h, copier, copiesAtOnce), newQueue(h, dropper, dropsAtOnce), newQueue(h, h.verifier, 1)
	h.verifies.seldom = h.w.cfg.Poll
	copier.Drops, dropper.Copies = h.drops, h.copies
	for _, i := range h.w.rng.Perm(len(h.w.sources)) { // each host begins with another
		if s := h.w.sources[i]; s.host != h {
			h.copies.Enqueue(controllers.Client{Source: s.name, Coordinator: s.host.name})
		}
	}
	for _, c := range h.w.actingClients(h) {
		h.copies.Enqueue(c)
	}
	h.verifies.Enqueue(h.location)
}

// noManifest is all that is fetched of manifests.
func noManifest(context.Context, controllers.Client, *controllers.OpenLocation, string) error {
	return nil
}

// stop ends the process.
func (h *host) stop() {
	if !h.up {
		return
	}
	h.up, h.ended = false, h.w.clock.now
	h.forget()
	if h.remotes != nil {
		h.copies.stop()
		h.drops.stop()
		h.verifies.stop()
	}
	for _, p := range slices.Clone(h.procs) {
		p.kill()
	}
	h.procs, h.remotes = nil, nil
	for _, s := range h.sources {
		s.close()
	}
	h.disk.reserved = 0
	h.w.net.cut()
	h.w.actNoMore(h)
}

// run runs a part of the host's process. A panic is a violation, with its stack in the trace.
func (h *host) run(body func(*proc)) *proc {
	var p *proc
	p = start(&h.w.clock, func(*proc) {
		defer func() {
			h.procs = slices.DeleteFunc(h.procs, func(other *proc) bool { return other == p })
			if r := recover(); r != nil {
				if r != (killed{}) {
					h.w.fail("panic on %s: %v\n%s", h.name, r, debug.Stack())
				}
			}
		}()
		body(p)
	})
	h.procs = append(h.procs, p)
	return p
}

// env is what the loops get of the machine: virtual time, seeded chance, processes.
func (h *host) env() controllers.Env {
	c := &h.w.clock
	return controllers.Env{
		Now: c.time, Boottime: func() time.Duration { return c.now }, Random: h.w.rng.Uint64,
		Lock:  func() sync.Locker { return &lock{clock: c} },
		Every: h.every, Together: h.together,
	}
}

func (h *host) every(ctx context.Context, d time.Duration, do func(context.Context)) (stop func()) {
	return h.run(func(p *proc) {
		for {
			p.sleep(d)
			do(ctx)
		}
	}).kill
}

func (h *host) together(ctx context.Context, n int, do func(context.Context) error) (first error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wake := func() {}
	left := n
	for range n {
		h.run(func(*proc) {
			if err := do(ctx); err != nil && first == nil {
				first = err
				cancel()
			}
			if left--; left == 0 {
				h.w.clock.after(0, wake)
			}
		})
	}
	h.w.clock.running.pause(func(w func()) { wake = w })
	return first
}

// fetch brings files of a source over, as rsync does: each with the time that it had when it was listed, at the start, and with
// the bytes that it has when it is read, at the end.
func (h *host) fetch(_ context.Context, c controllers.Client, f controllers.Fetch) error {
	if c.Acting {
		return h.fetchHeld(c, f)
	}
	s := h.w.source(c.Source)
	received := int64(0)
	listed := make(map[v1.RelPath]int64) // their times
	for _, file := range f.Files {
		if now := s.files[file.Path]; now != nil && !s.away && now.entry.Size <= f.MaxSize {
			listed[file.Path] = now.entry.ModTime
			received += now.entry.Size
		}
	}
	if err := h.w.net.transfer(s, h, received); err != nil {
		return err
	}
	for path, modTime := range listed {
		if now := s.files[path]; now != nil && !s.away {
			h.disk.partial[f.Dest][path] = arrival{content: now.content, size: now.entry.Size, modTime: modTime}
		}
	}
	return nil
}

// keep lets go of versions when their time is over, by the host's own clock.
func (h *host) keep(p *proc) {
	for {
		h.disk.expire(h.w.clock.now)
		p.sleep(h.w.spread(6 * time.Hour))
	}
}

// verify has the host read all that it holds, soon.
func (h *host) verify() {
	h.run(func(*proc) {
		l := &controllers.OpenLocation{Location: h.disk, Name: h.location}
		for _, s := range h.w.sources {
			spec := s.spec()
			if err := h.verifier.Verify(context.Background(), l, &spec, controllers.Reading{}, nil); err != nil {
				h.w.fail("verify %s on %s: %v", s.name, h.name, err)
			}
		}
	})
}

// desired is what is wanted in a world.
type desired struct{ w *world }

// Sources implements controllers.Desired.
func (d desired) Sources() (all []*v1.Source) {
	for _, s := range d.w.sources {
		spec := s.spec()
		all = append(all, &spec)
	}
	return all
}

// Locations implements controllers.Desired.
func (d desired) Locations() []*v1.Location { return nil }

// Hosts implements controllers.Desired.
func (d desired) Hosts() []*v1.Host { return nil }

// Cluster implements controllers.Desired.
func (d desired) Cluster() *v1.Cluster { return &v1.Cluster{Spec: d.w.cluster()} }
