package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Server takes connections and hands out the datagrams that arrive on them: to
// the handlers of Handle and HandleStream by name, the others to the loops over
// All. It may be used by many goroutines at once.
type Server struct {
	o      *options
	routes atomic.Pointer[map[string]func(*Datagram)]

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*serverConn]struct{}
	count     int // connections, those that shake hands too
	stopping  bool
	stopped   chan struct{}   // closed when stopping
	cut       context.Context // ends when what is left is cut off
	cutOff    context.CancelFunc
	addr      net.Addr
	wg        sync.WaitGroup // accepting and reading goroutines
	workers   workers        // of handlers
	queue     queue
}

// NewServer returns a server that serves nothing yet: see Serve and ServeConn.
func NewServer(opts ...Option) *Server {
	s := &Server{
		o:         gather(opts),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*serverConn]struct{}{},
		stopped:   make(chan struct{}),
	}
	if s.o.conns == 0 {
		s.o.conns = defaultMaxConns
	}
	s.cut, s.cutOff = context.WithCancel(context.Background())
	s.queue.init()
	return s
}

// Listen returns a server that takes connections at an address: host:port, or
// unix:path. Port 0 takes a free one; see Addr.
func Listen(addr string, opts ...Option) (*Server, error) {
	s := NewServer(opts...)
	if s.o.err != nil {
		return nil, s.o.err
	}
	network, address := split(addr)
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	if err := s.mayListen(l); err != nil {
		l.Close()
		return nil, err
	}
	s.addr = l.Addr()
	s.wg.Go(func() { s.Serve(l) })
	return s, nil
}

// mayListen refuses to listen in plain for other machines.
func (s *Server) mayListen(l net.Listener) error {
	t, ok := l.Addr().(*net.TCPAddr)
	if ok && s.o.tls == nil && !t.IP.IsLoopback() {
		return fault(Denied, "listen on %v in plain is refused: use option TLS, or an address of localhost", l.Addr())
	}
	return nil
}

// Addr is the address that Listen took, nil for a server made otherwise.
func (s *Server) Addr() net.Addr { return s.addr }

// Serve takes connections from l until the server is shut down, when it returns
// an error that is Closed, or until l fails. With option TLS, connections that
// are not TLS already become it. Several listeners may be served at once.
func (s *Server) Serve(l net.Listener) error {
	if s.o.err != nil {
		return s.o.err
	}
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		l.Close()
		return fault(Closed, "server is shut down")
	}
	s.listeners[l] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	defer l.Close()
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			if s.admit() {
				s.wg.Go(func() { s.serve(nc) })
			} else {
				nc.Close()
			}
			continue
		}
		if s.isStopping() {
			return fault(Closed, "server is shut down")
		}
		if !passing(err) {
			return fmt.Errorf("transport: accept: %w", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-s.stopped:
		}
	}
}

// passing reports whether accepting may succeed later: no descriptors left, or
// a connection that was gone already.
func passing(err error) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
		return false
	}
	var ne interface{ Temporary() bool }
	return errors.As(err, &ne) && ne.Temporary()
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// admit counts a connection, if there is room for it.
func (s *Server) admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= s.o.conns {
		return false
	}
	s.count++
	return true
}

// ServeConn serves one connection until it ends, and tells why it did. It owns
// nc.
func (s *Server) ServeConn(nc net.Conn) error {
	if s.o.err != nil {
		nc.Close()
		return s.o.err
	}
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		nc.Close()
		return fault(Closed, "server is shut down")
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	if !s.admit() {
		nc.Close()
		return fault(Overloaded, "server has %d connections already", s.o.conns)
	}
	return s.serve(nc)
}

func (s *Server) serve(nc net.Conn) error {
	defer func() {
		s.mu.Lock()
		s.count--
		s.mu.Unlock()
	}()
	nc, err := s.handshake(nc)
	if err != nil {
		nc.Close()
		s.o.event(Event{Kind: Refused, Peer: Peer{addr: nc.RemoteAddr(), local: nc.LocalAddr()}, Err: err})
		return err
	}
	sc := newServerConn(s, nc)
	sc.conn.start()
	s.mu.Lock()
	s.conns[sc] = struct{}{}
	stopping := s.stopping
	s.mu.Unlock()
	if stopping { // it came too late, and is told so in good order
		s.wg.Go(func() { sc.drain(s.cut) })
	}
	s.o.event(Event{Kind: Connected, Peer: sc.peer})
	err = sc.conn.run()
	s.mu.Lock()
	delete(s.conns, sc)
	s.mu.Unlock()
	s.o.event(Event{Kind: Disconnected, Peer: sc.peer, Err: err, Received: sc.read.Load(), Sent: sc.written.Load()})
	return err
}

// handshake makes nc a TLS connection if it has to be one.
func (s *Server) handshake(nc net.Conn) (net.Conn, error) {
	t, ok := nc.(*tls.Conn)
	if _, other := nc.(tlsConn); !ok && !other && s.o.tls != nil {
		t = tls.Server(&cork{Conn: nc}, s.o.tls)
		nc, ok = t, true
	}
	if !ok {
		return nc, confined(nc)
	}
	ctx, cancel := context.WithTimeout(s.cut, s.o.wait)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return nc, fault(Denied, "handshake with %v: %w", nc.RemoteAddr(), err)
	}
	return nc, nil
}

// Shutdown ends the server in good order: no new connections and requests,
// those that are there are answered, the loops over All end. It returns when all
// is done, or with ctx, when what is left is cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.wg.Wait()
		s.workers.wg.Wait()
	}()
	select {
	case <-done:
		s.queue.close()
		s.workers.close()
		return nil
	case <-ctx.Done():
	}
	s.queue.close()
	s.workers.close()
	s.cutOff()
	s.wg.Wait()
	return expired(ctx, "shut down")
}

// stop takes nothing new, and has the connections there are drained.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.stopping = true
		close(s.stopped)
	}
	for l := range s.listeners {
		l.Close()
	}
	clear(s.listeners)
	for sc := range s.conns {
		s.wg.Go(func() { sc.drain(s.cut) })
	}
}

// Close ends the server at once; requests under way are cut off.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(ctx)
	return nil
}
