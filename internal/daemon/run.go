package daemon

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/desired"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/rsync"
	"clusterbackup/reconcile"
)

// Options are what `cbd run` is told.
type Options struct {
	State     string
	HTTP      string // empty: none
	LogLevel  string
	LogFormat string
	Stderr    io.Writer
}

// gcPercent is by how much the heap grows between two collections, unless GOGC says otherwise. What stays on it is small beside what passes
// through: at Go's own 100, an eighth of the processor time of a first backup went into collecting.
const gcPercent = 200

// Run is a host's daemon: it returns nil when ctx ends and everything has come to its end.
func Run(ctx context.Context, o Options) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log, err := newLog(o.Stderr, o.LogLevel, o.LogFormat)
	if err != nil {
		return err
	}
	lock, err := pki.Lock(o.State)
	if errors.Is(err, pki.ErrLocked) {
		return fmt.Errorf("run: another daemon is running on this state directory: %w", err)
	}
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	defer lock.Close()
	h, err := open(ctx, o, log)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	defer h.close()
	return h.run(ctx)
}

// host is one host's daemon, wired.
type host struct {
	options  Options
	log      logr.Logger
	identity *pki.Identity
	store    *desired.Files
	desired  *view
	tool     rsync.Tool
	scratch  string // "": the system's folder for such things
	events   *events
	peers    *peers
	gossip   *gossip
	changes  chan struct{} // something was changed here and is to be announced
	loops    *loops
	backend  *backend
	registry *prometheus.Registry
	traffic  *transportMetrics
	port     net.Listener
	socket   net.Listener // nil: there is no room for one yet
	http     net.Listener // nil: none
}

// open opens everything that may be refused: a corrupted state, a missing rsync, a port in use.
func open(ctx context.Context, o Options, log logr.Logger) (*host, error) {
	h := &host{options: o, log: log, registry: prometheus.NewRegistry()}
	if err := h.open(ctx); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *host) open(ctx context.Context) (err error) {
	o := h.options
	if h.identity, err = pki.Open(o.State, pki.Options{Log: h.log}); err != nil {
		return err
	}
	if h.tool, err = rsync.Find(ctx); err != nil {
		return err
	}
	self := h.identity.Host()
	h.events = &events{host: self}
	h.store, err = desired.Open(resourcesDir(o.State), desired.Options{Host: self, Events: func(e desired.Event) {
		h.events.note(e.Kind, e.Name, admin.EventWarning, e.Reason, e.Message)
	}})
	if err != nil {
		return err
	}
	if h.scratch, err = h.makeScratch(); err != nil {
		return err
	}
	h.desired = &view{store: h.store}
	h.traffic = newTransportMetrics(h.registry)
	h.peers = newPeers(h.identity, h.addressOf, h.traffic.observe("client"))
	h.gossip = &gossip{store: h.store, peers: h.peers, log: h.log.WithName("config")}
	if err := h.gossip.findLost(ctx, resourcesDir(o.State)); err != nil {
		return err
	}
	h.changes = make(chan struct{}, 1)
	if err := h.listen(); err != nil {
		return err
	}
	if err := h.wire(); err != nil {
		return err
	}
	return nil
}

func scratchDir(state string) string { return filepath.Join(state, "scratch") }

// makeScratch makes the folder for what lives no longer than the daemon; "" is the system's, where STATE has no room for one.
func (h *host) makeScratch() (string, error) {
	dir := scratchDir(h.options.State)
	// What an earlier daemon that was killed left there is nobody's any more.
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
	if full(err) {
		h.log.Error(err, "The state directory's disk is full: what needs to write there does not work, what only reads does, restores from this host's locations among it", "folder", h.options.State)
		return "", nil
	}
	return dir, err
}

// full tells whether something failed for want of room alone.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// addressOf is where a host is to be reached; "" if there is no such host.
func (h *host) addressOf(name v1.HostName) string {
	if host := h.desired.host(name); host != nil {
		return host.Spec.Address
	}
	return ""
}

// listen takes the port, the socket and, if wanted, the HTTP port. The state directory's lock is held, so a socket that is
// there already is a dead daemon's.
func (h *host) listen() (err error) {
	if h.port, err = net.Listen("tcp", h.identity.Cluster().Listen); err != nil {
		return fmt.Errorf("listen on the cluster's port: %w", err)
	}
	if h.socket, err = admin.ListenSocket(h.options.State); full(err) {
		h.log.Error(err, "Programs on this host are not answered until there is room for the socket; others are: `cbctl --server ADDR:PORT --identity FILE`")
	} else if err != nil {
		return fmt.Errorf("listen for administrators: %w", err)
	}
	if h.options.HTTP != "" {
		if h.http, err = net.Listen("tcp", h.options.HTTP); err != nil {
			return fmt.Errorf("listen for HTTP: %w; choose another --http, or --http '' for none", err)
		}
	}
	return nil
}

func (h *host) close() {
	for _, l := range []net.Listener{h.port, h.socket, h.http} {
		if l != nil {
			l.Close()
		}
	}
	if h.peers != nil {
		h.peers.close()
	}
	if h.loops != nil {
		h.loops.locations.Close()
		h.loops.sources.Close()
		h.loops.acting.Close()
	}
}

// run serves and reconciles until ctx ends or a part of it fails.
func (h *host) run(ctx context.Context) error {
	parts, ctx := errgroup.WithContext(ctx)
	h.loops.start(ctx, parts)
	h.serve(ctx, parts)
	parts.Go(func() error { return watchdog(ctx) })
	parts.Go(func() error { return h.announceChanges(ctx) })
	stop := h.store.Watch(func(desired.Change) {
		h.desired.changed()
		h.loops.kick()
	})
	defer stop()
	h.loops.kick()
	h.log.Info("Running", "host", h.identity.Host(), "listen", h.port.Addr().String(), "rsync", h.tool.String())
	tellManager(ready)
	<-ctx.Done()
	tellManager(stopping)
	err := parts.Wait()
	h.log.Info("Stopped")
	return err
}

// announce has the other hosts told soon that something was changed here.
func (h *host) announce() {
	select {
	case h.changes <- struct{}{}:
	default: // it is to be told already
	}
}

func (h *host) announceChanges(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.changes:
			h.gossip.announce(ctx, h.desired.Hosts())
		}
	}
}

func (h *host) wire() error {
	h.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var id [8]byte
	rand.Read(id[:])
	h.loops = newLoops(h, binary.BigEndian.Uint64(id[:]), reconcile.NewMetrics(h.registry))
	held := &holders{host: h.identity.Host(), desired: h.desired, locations: h.loops.locations, acting: h.loops.acting, peers: h.peers}
	h.backend = &backend{
		holders: held, identity: h.identity, store: h.store, desired: h.desired, sources: h.loops.sources, locations: h.loops.locations,
		verifier: h.loops.verifier, peers: h.peers, events: h.events, conditions: &conditions{}, verifications: &verifications{}, rates: &rates{counters: h.loops.counters, sent: &h.loops.sent},
		underway: h.loops.copier.Underway, actsFor: h.loops.actsFor,
		announce: h.announce, rescan: h.loops.rescan,
	}
	h.registry.MustRegister(&collector{host: h.identity.Host(), desired: h.desired, sources: h.loops.sources, acting: h.loops.acting, locations: h.loops.locations,
		counters: h.loops.counters, peers: h.peers, sent: h.loops.sent.total})
	return nil
}
