package daemon

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"clusterbackup/internal/admin"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/version"
	"clusterbackup/internal/web"
	"clusterbackup/reconcile"
	"clusterbackup/transport"
)

// drainTime is how long open exchanges may take to end when the daemon stops.
const drainTime = 5 * time.Second

// socketRetry is how often the socket is tried again that there was no room for.
const socketRetry = 5 * time.Second

// serve answers on the port, the socket and over HTTP until ctx ends.
func (h *host) serve(ctx context.Context, parts *errgroup.Group) {
	server := transport.NewServer(transport.InFlight(256), h.traffic.observe("server"), transport.Use(h.membersOnly))
	(&coordinators{prefix: ownPrefix, sources: h.loops.sources, peers: h.peers}).register(server)
	(&coordinators{prefix: actingPrefix, sources: h.loops.acting, peers: h.peers}).registerCopies(server)
	h.gossip.register(server)
	h.backend.holders.register(server)
	registerBetween(server, h.backend)
	registerActing(server, h.backend)
	registerManifests(server, h.loops)
	admin.Register(server, h.backend, mayAdminister)
	parts.Go(func() error {
		<-ctx.Done()
		shut, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		server.Shutdown(shut)
		return nil
	})
	send := &senders{tool: h.tool, scratch: h.scratch, sources: h.loops.sources, locations: h.loops.locations,
		sent: &h.loops.sent, limit: bounded(h.loops.limits, uploadLimit), log: h.log.WithName("send")}
	join := &pki.JoinServer{Identity: h.identity, Admit: h.admit}
	datagrams := func(_ context.Context, conn net.Conn) { server.ServeConn(conn) }
	members := func(ctx context.Context, conn net.Conn) {
		if !h.gossip.lost.Load() {
			send.member(ctx, conn)
		}
	}
	port := newSwitchboard(h.identity.ServerTLS(h.maySpeak, alpnDatagrams, alpnRsync, alpnFiles, alpnJoin), h.log, map[string]func(context.Context, net.Conn){
		alpnDatagrams: datagrams,
		alpnRsync:     members,
		alpnFiles:     members,
		alpnJoin: func(ctx context.Context, conn net.Conn) {
			if err := join.ServeConn(ctx, conn); err != nil {
				h.log.Info("Join refused", "peer", conn.RemoteAddr().String(), "reason", err.Error())
			}
		},
	})
	parts.Go(func() error { return port.run(ctx, h.port, port.identifyTLS) })
	socket := newSwitchboard(nil, h.log, map[string]func(context.Context, net.Conn){
		alpnDatagrams: datagrams,
		alpnFiles:     func(ctx context.Context, conn net.Conn) { send.relay(ctx, conn, h.peers) },
	})
	parts.Go(func() error {
		listener := h.socket
		for listener == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(socketRetry):
			}
			// A socket that cannot be made is not worth the daemon's end.
			listener, _ = admin.ListenSocket(h.options.State)
		}
		return socket.run(ctx, listener, socket.identifySocket)
	})
	if h.http != nil {
		gatherers := prometheus.Gatherers{h.registry, reconcile.QueueMetrics()}
		parts.Go(func() error {
			return serveHTTP(ctx, h.http, gatherers, h.ready, web.Handler(h.backend, web.Options{Host: h.identity.Host(), Version: version.Get().Version}))
		})
	}
}

// member tells whether a peer with a genuine certificate is a member now.
func (h *host) member(p pki.Peer) bool {
	if p.Kind == pki.KindAdmin {
		return true
	}
	return pki.Recognise(h.desired.host(p.Host()), p) == nil
}

// maySpeak tells whether a peer with a genuine certificate is spoken with at all: while the resources are lost, hosts are, of which
// membersOnly refuses nearly everything.
func (h *host) maySpeak(p pki.Peer) bool { return h.gossip.lost.Load() || h.member(p) }

// membersOnly refuses what comes over a connection whose peer was removed from the cluster since it was made.
func (h *host) membersOnly(d *transport.Datagram, next func()) {
	if state := d.Peer().TLS(); state != nil {
		if who, err := pki.PeerOf(state); err != nil || !serves(h.gossip.lost.Load(), h.member(who), who.Kind, d.Method()) {
			d.Fail(&transport.Error{Code: transport.Denied, Msg: "not a member of this cluster any more"})
			return
		}
	}
	next()
}

// mayAdminister: the socket's user, administrators, and hosts, which pass on what their own administrators ask.
func mayAdminister(peer transport.Peer) error {
	if peer.TLS() == nil {
		return nil
	}
	_, err := pki.PeerOf(peer.TLS())
	return err
}

// admit makes a newcomer a member and hands it the desired state.
func (h *host) admit(ctx context.Context, m pki.Member) ([]byte, error) {
	if h.gossip.lost.Load() {
		return nil, errLost
	}
	if err := admitMember(ctx, h.store, m); err != nil {
		return nil, err
	}
	h.announce()
	h.events.note("Host", string(m.Name), admin.EventNormal, "Joined", "joined from "+m.Address)
	return h.store.Export()
}

// ready says what keeps this host from doing its work; nil: nothing.
func (h *host) ready() error {
	var errs []error
	if h.gossip.lost.Load() {
		errs = append(errs, errLost)
	}
	for _, s := range h.loops.sources.States() {
		if s.Err != nil {
			errs = append(errs, s.Err)
		}
	}
	for _, l := range h.loops.locations.States() {
		if l.Err != nil {
			errs = append(errs, l.Err)
		}
	}
	return errors.Join(errs...)
}
