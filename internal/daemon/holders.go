package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/location"
	"clusterbackup/internal/manifest"
	"clusterbackup/transport"
)

// chunk is how many bytes of a manifest travel at once.
const chunk = 64 << 10

// holders tells what the locations of this host hold, and asks other hosts the same: all that a restore needs, with or without
// the source's host.
type holders struct {
	host      v1.HostName
	desired   *view
	locations *controllers.LocationSet
	// acting are the sources that this host acts for.
	acting *controllers.SourceSet
	peers  *peers
}

var _ admin.Holders = (*holders)(nil)

type (
	holdersRequest  struct{ Source v1.SourceName }
	holdingsRequest struct {
		Source   v1.SourceName
		Location v1.LocationName
		Prefix   v1.RelPath
	}
)

// register answers the same questions of other hosts, about this host's locations alone.
func (h *holders) register(server *transport.Server) {
	transport.Handle(server, "cb.Holders", func(ctx context.Context, peer transport.Peer, q holdersRequest) ([]admin.Holder, error) {
		if _, err := hostOf(peer); err != nil {
			return nil, err
		}
		return h.here(ctx, q.Source)
	})
	transport.HandleStream(server, "cb.HolderManifest", func(ctx context.Context, peer transport.Peer, q holdingsRequest) iter.Seq2[[]byte, error] {
		if _, err := hostOf(peer); err != nil {
			return failing[[]byte](err)
		}
		return h.manifestHere(ctx, q)
	})
	transport.HandleStream(server, "cb.Holdings", func(ctx context.Context, peer transport.Peer, q holdingsRequest) iter.Seq2[admin.Holding, error] {
		if _, err := hostOf(peer); err != nil {
			return failing[admin.Holding](err)
		}
		return h.holdingsHere(ctx, q)
	})
}

func failing[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}

// Holders implements admin.Holders: every host with a location is asked, at once.
func (h *holders) Holders(ctx context.Context, source v1.SourceName) ([]admin.Holder, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var mu sync.Mutex
	var all []admin.Holder
	var asking sync.WaitGroup
	for host, locations := range h.byHost() {
		asking.Go(func() {
			found, err := h.at(ctx, host, source)
			if err != nil {
				found = nil
				for _, l := range locations {
					found = append(found, admin.Holder{HolderKey: admin.HolderKey{Host: host, Location: l}, Why: "host does not answer"})
				}
			}
			for i := range found {
				found[i].Address, found[i].Live = h.peers.address(host), found[i].Why == ""
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
		})
	}
	asking.Wait()
	if len(all) == 0 && h.desired.source(source) == nil {
		return nil, notFound(v1.KindSource, string(source))
	}
	slices.SortFunc(all, func(a, b admin.Holder) int { return strings.Compare(string(a.Location), string(b.Location)) })
	return all, nil
}

func (h *holders) byHost() map[v1.HostName][]v1.LocationName {
	hosts := map[v1.HostName][]v1.LocationName{}
	for _, l := range h.desired.Locations() {
		hosts[l.Spec.Host] = append(hosts[l.Spec.Host], v1.LocationName(l.Name))
	}
	return hosts
}

func (h *holders) at(ctx context.Context, host v1.HostName, source v1.SourceName) ([]admin.Holder, error) {
	if host == h.host {
		return h.here(ctx, source)
	}
	found, err := askHost[[]admin.Holder](ctx, h.peers, host, "cb.Holders", &holdersRequest{source})
	if err != nil {
		return nil, err
	}
	for i := range *found {
		(*found)[i].Host = host // whatever it says
	}
	return *found, nil
}

// here lists the open locations of this host that hold something of source, and those that are not open, which may.
func (h *holders) here(ctx context.Context, source v1.SourceName) ([]admin.Holder, error) {
	open, done := h.locations.Use()
	defer done()
	running, acted := h.acting.Use(source)
	acted()
	var found []admin.Holder
	for _, l := range open {
		held, err := l.Held(source)
		if err != nil {
			return nil, err
		}
		if held.Replicas+held.Versions == 0 {
			continue
		}
		holder := admin.Holder{HolderKey: admin.HolderKey{Host: h.host, Location: l.Name}, Files: held.Replicas, Acting: running != nil, CannotAct: h.acting.Failed(source)}
		if header, err := manifestHeader(ctx, l, source); err == nil {
			holder.Manifest, holder.ManifestTime = header.Generation, header.Time
		}
		found = append(found, holder)
	}
	for _, l := range h.locations.States() {
		if l.Err != nil {
			found = append(found, admin.Holder{HolderKey: admin.HolderKey{Host: h.host, Location: l.Name}, Why: l.Err.Error()})
		}
	}
	return found, nil
}

func manifestHeader(ctx context.Context, l *controllers.OpenLocation, source v1.SourceName) (manifest.Header, error) {
	file, err := l.Disk.OpenManifest(ctx, source)
	if err != nil {
		return manifest.Header{}, err
	}
	defer file.Close()
	header, _, err := manifest.Read(file)
	return header, err
}

// Manifest implements admin.Holders.
func (h *holders) Manifest(ctx context.Context, source v1.SourceName, holder admin.HolderKey) iter.Seq2[[]byte, error] {
	q := holdingsRequest{Source: source, Location: holder.Location}
	if holder.Host == h.host {
		return h.manifestHere(ctx, q)
	}
	return transport.CallStream[[]byte](ctx, h.peers.client(holder.Host), "cb.HolderManifest", q)
}

func (h *holders) manifestHere(ctx context.Context, q holdingsRequest) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		l, done := h.locations.UseOne(q.Location)
		if l == nil {
			done()
			yield(nil, notOpen(q.Location))
			return
		}
		file, err := l.Disk.OpenManifest(ctx, q.Source)
		done()
		if errors.Is(err, os.ErrNotExist) {
			err = admin.Errorf(admin.NotFound, "source/"+string(q.Source), "location %s has no manifest of it", q.Location)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		defer file.Close()
		streamChunks(file, yield)
	}
}

// streamChunks yields what r reads, chunk by chunk, each a slice of its own.
func streamChunks(r io.Reader, yield func([]byte, error) bool) {
	for {
		buffer := make([]byte, chunk)
		n, err := io.ReadFull(r, buffer)
		if n > 0 && !yield(buffer[:n], nil) {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return
		default:
			yield(nil, err)
			return
		}
	}
}

func notOpen(name v1.LocationName) error {
	return admin.Errorf(admin.Unavailable, "location/"+string(name), "it is not open on its host")
}

// Holdings implements admin.Holders.
func (h *holders) Holdings(ctx context.Context, source v1.SourceName, holder admin.HolderKey, prefix v1.RelPath) iter.Seq2[admin.Holding, error] {
	q := holdingsRequest{Source: source, Location: holder.Location, Prefix: prefix}
	if holder.Host == h.host {
		return h.holdingsHere(ctx, q)
	}
	return transport.CallStream[admin.Holding](ctx, h.peers.client(holder.Host), "cb.Holdings", q)
}

func (h *holders) holdingsHere(ctx context.Context, q holdingsRequest) iter.Seq2[admin.Holding, error] {
	return func(yield func(admin.Holding, error) bool) {
		l, done := h.locations.UseOne(q.Location)
		defer done()
		if l == nil {
			yield(admin.Holding{}, notOpen(q.Location))
			return
		}
		listings, err := l.Disk.Listings(q.Source)
		if err != nil {
			yield(admin.Holding{}, err)
			return
		}
		for record, err := range l.Records(q.Source, string(q.Prefix)) {
			if err == nil && record.Bad {
				continue
			}
			if err == nil {
				err = ctx.Err()
			}
			if !yield(holdingOf(&record, listings), err) || err != nil {
				return
			}
		}
		h.versionsHere(ctx, l, q, listings, yield)
	}
}

func holdingOf(r *location.Record, listings []location.Listing) admin.Holding {
	h := admin.Holding{Path: r.Path, Gen: r.Gen, Digest: r.Digest, Size: r.Size, ModTime: r.ModTime, Mode: r.Mode}
	if r.Since != 0 {
		h.Since = time.Unix(r.Since, 0).UnixNano()
	}
	h.Seen, h.Absent = location.Seen(listings, r.Gen)
	return h
}

func (h *holders) versionsHere(ctx context.Context, l *controllers.OpenLocation, q holdingsRequest, listings []location.Listing, yield func(admin.Holding, error) bool) {
	below := ".clusterbackup/versions/" + string(q.Source) + "/"
	for version, err := range l.Disk.Versions(q.Source, string(q.Prefix)) {
		if err == nil && version.Bad {
			continue
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(admin.Holding{}, fmt.Errorf("list versions: %w", err))
			return
		}
		holding := holdingOf(&version.Record, listings)
		holding.Version = v1.RelPath(strings.TrimPrefix(version.Name, below))
		holding.Until, holding.Expires = version.Since.UnixNano(), l.Disk.EndOf(version.Until).UnixNano()
		if !yield(holding, nil) {
			return
		}
	}
}
