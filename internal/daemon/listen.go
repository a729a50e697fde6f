package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"clusterbackup/internal/admin"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/rsync"
	"clusterbackup/internal/stream"
	"clusterbackup/transport"
)

// The protocols on a host's one port, by ALPN. On the socket, which has no TLS, a connection's first byte tells: see identifySocket.
const (
	alpnDatagrams = transport.ALPN
	alpnRsync     = rsync.ALPN
	alpnFiles     = stream.ALPN
	alpnJoin      = pki.JoinProtocol
)

// handshakeTimeout bounds how long a connection may take to say who it is.
const handshakeTimeout = 10 * time.Second

// maxHandshakes bounds how many connections may be saying it at once: strangers take no more than that.
const maxHandshakes = 256

// switchboard accepts connections and hands each to the part that speaks its protocol. It owns every connection until that part
// returns.
type switchboard struct {
	tls    *tls.Config
	log    logr.Logger
	serve  map[string]func(context.Context, net.Conn)
	tokens chan struct{}
	wg     sync.WaitGroup
}

func newSwitchboard(config *tls.Config, log logr.Logger, serve map[string]func(context.Context, net.Conn)) *switchboard {
	return &switchboard{tls: config, log: log, serve: serve, tokens: make(chan struct{}, maxHandshakes)}
}

// run accepts until ctx ends, then waits for every connection's part to return.
func (s *switchboard) run(ctx context.Context, l net.Listener, identify func(context.Context, net.Conn) (net.Conn, string, error)) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer s.wg.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of descriptors, aborted connection: it passes
			s.log.Error(err, "Accept failed")
			time.Sleep(50 * time.Millisecond)
			continue
		}
		select {
		case s.tokens <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return nil
		}
		s.wg.Go(func() { s.handle(ctx, conn, identify) })
	}
}

func (s *switchboard) handle(ctx context.Context, conn net.Conn, identify func(context.Context, net.Conn) (net.Conn, string, error)) {
	defer conn.Close()
	shake, cancel := context.WithTimeout(ctx, handshakeTimeout)
	identified, protocol, err := identify(shake, conn)
	cancel()
	<-s.tokens
	if err != nil {
		s.log.V(1).Info("Connection refused", "peer", conn.RemoteAddr().String(), "reason", err.Error())
		return
	}
	if serve := s.serve[protocol]; serve != nil {
		unwatch := context.AfterFunc(ctx, func() { identified.SetDeadline(time.Now().Add(handshakeTimeout)) })
		defer unwatch()
		serve(ctx, identified)
	}
}

// identifyTLS shakes hands: afterwards the peer is a member of the cluster, or a newcomer that speaks alpnJoin alone.
func (s *switchboard) identifyTLS(ctx context.Context, conn net.Conn) (net.Conn, string, error) {
	secured := tls.Server(conn, s.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, "", err
	}
	return secured, secured.ConnectionState().NegotiatedProtocol, nil
}

// identifySocket reads the one byte with which a program on this host says what it wants to speak.
func (s *switchboard) identifySocket(ctx context.Context, conn net.Conn) (net.Conn, string, error) {
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetReadDeadline(deadline)
		defer conn.SetReadDeadline(time.Time{})
	}
	var kind [1]byte
	if _, err := io.ReadFull(conn, kind[:]); err != nil {
		return nil, "", err
	}
	switch kind[0] {
	case admin.SocketDatagrams:
		return conn, alpnDatagrams, nil
	case admin.SocketFiles:
		return conn, alpnFiles, nil
	}
	return nil, "", errors.New("unknown protocol on the socket")
}
