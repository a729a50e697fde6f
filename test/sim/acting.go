package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/coordinator"
)

// acting is a host that acts for a source, as its clients call it.
type acting struct {
	client controllers.Client
	host   *host
	source *source
	cat    *catalog.Catalog
	coord  *coordinator.Coordinator
	ticker *proc
}

// list keeps a listing of the source, now and then.
func (s *source) list() {
	version := s.coord.ManifestVersion()
	if version == "" || version == s.listed || s.listing != nil && s.w.rng.IntN(4) > 0 {
		return
	}
	var listing bytes.Buffer
	if err := s.coord.WriteManifest(context.Background(), "cluster", &listing); err != nil {
		s.w.fail("list %s: %v", s.name, err)
	}
	s.listing, s.listed = listing.Bytes(), version
}

// act has a host act for a source; nil: it does already.
func (w *world) act(h *host, s *source) *acting {
	a := &acting{client: controllers.Client{Source: s.name, Coordinator: h.name, Acting: true}, host: h, source: s}
	if w.acting[a.client] != nil {
		return nil
	}
	now := func() time.Time { return w.clock.time().Add(h.skew) }
	path := filepath.Join(w.dir, fmt.Sprintf("%s-%s-acting.db", s.name, h.name))
	var err error
	if a.cat, _, err = controllers.OpenListed(context.Background(), path, catalog.Options{Clock: now, NoSync: true}, bytes.NewReader(s.listing)); err != nil {
		w.fail("open listing of %s: %v", s.name, err)
		return nil
	}
	a.coord, err = coordinator.New(coordinator.Config{Source: s.spec(), Cluster: w.cluster(), Host: s.host.name, Catalog: a.cat, Tree: controllers.NoTree{}, Clock: now,
		Acting: true, Hosts: w.hostInfos, Log: logr.Discard(), Life: w.rng.Uint64() | 1})
	if err != nil {
		w.fail("act for %s: %v", s.name, err)
		return nil
	}
	w.say("%s acts for %s", h.name, s.name)
	w.acting[a.client] = a
	a.ticker = start(&w.clock, func(p *proc) {
		for {
			if err := a.coord.Tick(context.Background()); err != nil {
				w.fail("tick of %s, acting for %s: %v", h.name, s.name, err)
			}
			p.sleep(w.cfg.Tick)
		}
	})
	for _, client := range w.hosts {
		if client != s.host && client.up && client.copies != nil {
			client.copies.Enqueue(a.client)
		}
	}
	return a
}

// end ends it, unless that was done.
func (a *acting) end() {
	w := a.host.w
	if w.acting[a.client] != a {
		return
	}
	delete(w.acting, a.client)
	w.say("%s no longer acts for %s", a.host.name, a.source.name)
	for _, h := range w.hosts {
		if h.up && h.copies != nil {
			h.copies.Enqueue(a.client)
		}
	}
	a.ticker.kill()
	if err := a.cat.Close(); err != nil {
		w.fail("close catalog: %v", err)
	}
}

// actNoMore ends all that a host's process did for others.
func (w *world) actNoMore(h *host) {
	for _, c := range w.actingClients(nil) {
		if a := w.acting[c]; a.host == h {
			a.end()
		}
	}
}

// actingClients are what a host is a client of besides the sources' own coordinators; nil: what any host is.
func (w *world) actingClients(h *host) (clients []controllers.Client) {
	for c, a := range w.acting {
		if a.source.host != h {
			clients = append(clients, c)
		}
	}
	slices.SortFunc(clients, func(a, b controllers.Client) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Coordinator, b.Coordinator))
	})
	return clients
}

// fetchHeld brings files over from another host's disk, with the bytes that lie there.
func (h *host) fetchHeld(c controllers.Client, f controllers.Fetch) error {
	p, from := h.w.clock.running, h.w.byName[f.Origin.Host]
	if from == h {
		h.w.fail("%s is to copy from itself", h.name)
	}
	received := int64(0)
	for _, file := range f.Files {
		if r := from.disk.get(c.Source, file.Path); r != nil {
			received += r.size
		}
	}
	p.sleep(batchStart + time.Duration(float64(received)/h.w.cfg.Rate*1e9))
	if !h.w.net.connected(h, from) || from.disk.away {
		return errDown
	}
	for _, file := range f.Files {
		if r := from.disk.get(c.Source, file.Path); r != nil && r.size <= f.MaxSize {
			h.disk.partial[f.Dest][file.Path] = arrival{content: r.content, size: r.size, modTime: r.modTime}
			h.w.stats.acted++
		}
	}
	return nil
}

// errActing: whoever acts for another lets nothing go.
var errActing = errors.New("only the source's own coordinator permits that")

// toActing is a coordinator that acts for another host, as a client's process reaches it. Its messages are lost and handled twice like
// all others; what is late there is of no interest, since nothing that it answers lets anything go.
type toActing struct {
	h      *host
	client controllers.Client
}

var _ controllers.Coordinator = (*toActing)(nil)

func askActing[Q, A any](r *toActing, q *Q, handle func(*coordinator.Coordinator, context.Context, v1.HostName, *Q) (*A, error)) (*A, error) {
	w, n := r.h.w, &r.h.w.net
	w.stats.requests++
	w.clock.running.sleep(n.delay())
	a := w.acting[r.client]
	if a == nil || !n.connected(r.h, a.host) || w.rng.Float64() < n.loss {
		w.stats.lost++
		w.clock.running.sleep(w.cfg.CallTimeout)
		return nil, errTimeout
	}
	answer, err := handle(a.coord, context.Background(), r.h.name, q)
	if w.rng.Float64() < n.repeat {
		_, _ = handle(a.coord, context.Background(), r.h.name, q)
	}
	w.clock.running.sleep(n.delay())
	return answer, err
}

// Hello implements controllers.Coordinator.
func (r *toActing) Hello(_ context.Context, q *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	return askActing(r, q, (*coordinator.Coordinator).Hello)
}

// Inventory implements controllers.Coordinator.
func (r *toActing) Inventory(_ context.Context, q *coordinator.Inventory) (*coordinator.InventoryAnswer, error) {
	return askActing(r, q, (*coordinator.Coordinator).Inventory)
}

// Claim implements controllers.Coordinator.
func (r *toActing) Claim(_ context.Context, q *coordinator.Claim) (*coordinator.ClaimAnswer, error) {
	return askActing(r, q, (*coordinator.Coordinator).Claim)
}

// Renew implements controllers.Coordinator.
func (r *toActing) Renew(_ context.Context, q *coordinator.Renew) (*coordinator.RenewAnswer, error) {
	return askActing(r, q, (*coordinator.Coordinator).Renew)
}

// Release implements controllers.Coordinator.
func (r *toActing) Release(_ context.Context, q *coordinator.Release) (*coordinator.ReleaseAnswer, error) {
	for _, f := range q.Files {
		r.h.w.say("%s gives %s of %s back to %s: %s", r.h.name, f.Path, r.client.Source, r.client.Coordinator, f.Reason)
	}
	return askActing(r, q, (*coordinator.Coordinator).Release)
}

// Confirm implements controllers.Coordinator.
func (r *toActing) Confirm(_ context.Context, q *coordinator.Confirm) (*coordinator.ConfirmAnswer, error) {
	return askActing(r, q, (*coordinator.Coordinator).Confirm)
}

// Report implements controllers.Coordinator.
func (r *toActing) Report(_ context.Context, q *coordinator.Report) (*coordinator.ReportAnswer, error) {
	return askActing(r, q, (*coordinator.Coordinator).Report)
}

// refused is a violation: no client asks one that acts to let anything go.
func (r *toActing) refused(message string) error {
	r.h.w.fail("%s asks %s, which acts for another, for %s of %s", r.h.name, r.client.Coordinator, message, r.client.Source)
	return errActing
}

// Relieve implements controllers.Coordinator.
func (r *toActing) Relieve(context.Context, *coordinator.Relieve) (*coordinator.RelieveAnswer, error) {
	return nil, r.refused("relief")
}

// Drop implements controllers.Coordinator.
func (r *toActing) Drop(context.Context, *coordinator.Drop) (*coordinator.DropAnswer, error) {
	return nil, r.refused("a drop")
}

// Dropped implements controllers.Coordinator.
func (r *toActing) Dropped(context.Context, *coordinator.Dropped) (*coordinator.DroppedAnswer, error) {
	return nil, r.refused("what was dropped")
}

// Retire implements controllers.Coordinator.
func (r *toActing) Retire(context.Context, *coordinator.Retire) (*coordinator.RetireAnswer, error) {
	return nil, r.refused("retirement")
}

// Retired implements controllers.Coordinator.
func (r *toActing) Retired(context.Context, *coordinator.Retired) (*coordinator.RetiredAnswer, error) {
	return nil, r.refused("what was retired")
}
