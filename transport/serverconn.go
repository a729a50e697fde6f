package transport

import (
	"context"
	"fmt"
	"net"
	"time"

	"clusterbackup/transport/internal/wire"
)

// serverConn is the answering side of a connection.
type serverConn struct {
	conn
	s *Server

	// guarded by conn.mu
	active   map[uint64]*exchange // requests without their last frame of reply
	lastID   uint64
	holding  int64 // bytes of requests in bodies
	draining bool
	idle     chan struct{} // closed when draining and active is empty
}

// maxHolding is how many messages of the largest size one connection may have
// in bodies; more is refused.
const maxHolding = 4

func newServerConn(s *Server, nc net.Conn) *serverConn {
	sc := &serverConn{s: s, active: map[uint64]*exchange{}, idle: make(chan struct{})}
	sc.init(nc, s.o, sc, wire.Request)
	return sc
}

func (sc *serverConn) greet(wire.Preface) {}

func (sc *serverConn) begins(id uint64) (*incoming, error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if id <= sc.lastID {
		return nil, fmt.Errorf("request %d after request %d: %w", id, sc.lastID, wire.ErrProtocol)
	}
	if sc.draining {
		return nil, nil // the client knows and asks elsewhere
	}
	sc.lastID = id
	if len(sc.active)+int(sc.out.finals.Load()) >= sc.o.inFlight {
		return nil, sc.refuse(id, Overloaded, fmt.Sprintf("more than %d requests in flight", sc.o.inFlight))
	}
	ex := newExchange(sc, id)
	sc.active[id] = ex
	sc.load.Store(int32(len(sc.active)))
	return ex.in, nil
}

// refuse answers a request that will not be looked at. sc.mu is held.
func (sc *serverConn) refuse(id uint64, code Code, msg string) error {
	if !sc.out.failure(id, code, msg) {
		return fmt.Errorf("peer does not read what it is answered: %w", wire.ErrProtocol)
	}
	sc.out.flush(false) // by a goroutine, one at most
	return nil
}

// remove ends ex; sc.mu is held.
func (sc *serverConn) remove(ex *exchange) {
	if sc.active[ex.id] != ex {
		return
	}
	delete(sc.active, ex.id)
	sc.load.Store(int32(len(sc.active)))
	if sc.draining && len(sc.active) == 0 {
		close(sc.idle)
	}
}

// arrived hands a request to its handler, or to the loops over All.
func (sc *serverConn) arrived(in *incoming) {
	sc.mu.Lock()
	ex := sc.active[in.id]
	if ex == nil || ex.state != waiting {
		kick := sc.forget(in)
		sc.unlockAndFlush(kick)
		return
	}
	ex.state = queued
	sc.mu.Unlock()
	if in.env.Timeout > 0 {
		ex.deadline = time.Now().Add(in.env.Timeout)
	}
	if in.env.Method == "" {
		sc.s.queue.push(ex)
		return
	}
	h := sc.s.route(in.env.Method)
	if h == nil {
		ex.refuse(Unknown, fmt.Sprintf("no handler of %q here", in.env.Method))
		return
	}
	if ex.begin() {
		sc.s.workers.run(func() { ex.handle(h) })
	}
}

func (sc *serverConn) ended(*incoming) {}
func (sc *serverConn) over(uint64)     {}

func (sc *serverConn) tooLarge(in *incoming) {
	sc.mu.Lock()
	ex := sc.active[in.id]
	sc.mu.Unlock()
	if ex != nil {
		ex.refuse(TooLarge, fmt.Sprintf("request is larger than MaxMessage (%d bytes)", sc.o.maxMessage))
	}
}

// replied frees the slot of a reply that was sent in pieces.
func (sc *serverConn) replied(id uint64) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if ex := sc.active[id]; ex != nil {
		sc.remove(ex)
	}
}

func (sc *serverConn) steered(h wire.Header, _ []byte) error {
	if h.Type != wire.Cancel {
		return fmt.Errorf("frame of type %d from a client: %w", h.Type, wire.ErrProtocol)
	}
	sc.mu.Lock()
	ex := sc.active[h.ID]
	if ex == nil {
		sc.mu.Unlock()
		return nil
	}
	kick := ex.canceled()
	sc.unlockAndFlush(kick)
	ex.end(context.Canceled)
	return nil
}

func (sc *serverConn) died(error) {
	sc.mu.Lock()
	all := make([]*exchange, 0, len(sc.active))
	for _, ex := range sc.active {
		all = append(all, ex)
	}
	sc.mu.Unlock()
	for _, ex := range all {
		ex.end(context.Canceled)
	}
}

// drain says that no more requests are taken, waits for the replies to the
// others, and then for the client to leave, for a moment.
func (sc *serverConn) drain(ctx context.Context) {
	sc.mu.Lock()
	if !sc.draining {
		sc.draining = true
		if len(sc.active) == 0 {
			close(sc.idle)
		}
		sc.out.steer(wire.Header{Type: wire.GoAway, ID: sc.lastID}.Append(nil))
	}
	sc.mu.Unlock()
	sc.out.flush(false)
	select {
	case <-sc.idle:
		leave, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		ctx = leave
	case <-sc.dead:
	case <-ctx.Done():
	}
	select {
	case <-sc.dead:
	case <-ctx.Done():
		sc.die(fault(Closed, "server is shut down"))
	}
}
