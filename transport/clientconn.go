package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"clusterbackup/transport/internal/wire"
)

// clientConn is the asking side of a connection.
type clientConn struct {
	conn
	link *link

	// guarded by conn.mu
	calls    map[uint64]*call // requests without their last frame of reply
	lastID   uint64
	limit    int // of calls
	queue    []chan struct{}
	used     []*call // to be used again
	draining bool    // no new requests
}

// call is one request in flight.
type call struct {
	cc      *clientConn
	id      uint64
	at      uint64 // position of its first frame in the outbox
	up      *outgoing
	done    chan struct{} // holds a token when in or err is set
	reply   incoming      // where it is read to
	begun   bool          // reply is in use
	in      *incoming     // reply, when it is there
	err     error
	left    bool          // the caller has gone
	sending chan struct{} // closed when the request's stream is sent; nil without
}

func newClientConn(l *link, nc net.Conn) *clientConn {
	cc := &clientConn{link: l, calls: map[uint64]*call{}, limit: wire.MinInFlight}
	cc.init(nc, l.c.o, cc, wire.Reply)
	cc.conn.start()
	return cc
}

func (cc *clientConn) run() {
	cc.o.event(Event{Kind: Connected, Server: cc.link.c.server, Peer: cc.peer})
	err := cc.conn.run()
	cc.o.event(Event{Kind: Disconnected, Server: cc.link.c.server, Peer: cc.peer, Err: err, Received: cc.read.Load(), Sent: cc.written.Load()})
}

func (cc *clientConn) greetedOnce() bool { return cc.greeted.Load() }

func (cc *clientConn) greet(p wire.Preface) {
	cc.mu.Lock()
	cc.limit = int(p.InFlight)
	cc.wakeAll()
	cc.mu.Unlock()
	cc.link.greeted()
}

// request queues a request; errAgain if the connection is of no use any more.
func (cc *clientConn) request(w *wait, env *wire.Envelope, p *parcel) (*call, error) {
	if cc.packs() && p.flags&wire.Compressed == 0 {
		*p = pack(*p)
	}
	cc.mu.Lock()
	for {
		if cc.err != nil || cc.draining {
			cc.mu.Unlock()
			return nil, errAgain
		}
		if len(cc.calls) < cc.limit {
			break
		}
		turn := make(chan struct{})
		cc.queue = append(cc.queue, turn)
		cc.mu.Unlock()
		select {
		case <-turn:
		case <-w.ctx.Done():
			return nil, cc.gaveUp(w, turn)
		case <-w.c:
			return nil, cc.gaveUp(w, turn)
		}
		cc.mu.Lock()
	}
	k := cc.newCall()
	cc.lastID++
	k.id = cc.lastID
	cc.calls[k.id] = k
	cc.load.Store(int32(len(cc.calls)))
	k.up, k.at = cc.out.begin(wire.Request, k.id, env, p, p.flags)
	cc.mu.Unlock()
	cc.out.flush(true)
	if p.src != nil {
		k.upload(w, p.src)
	}
	return k, nil
}

// newCall returns a call, a used one if there is one. cc.mu is held.
func (cc *clientConn) newCall() *call {
	if n := len(cc.used); n > 0 {
		k := cc.used[n-1]
		cc.used = cc.used[:n-1]
		return k
	}
	return &call{cc: cc, done: make(chan struct{}, 1)}
}

// recycle takes k back, whose reply was whole and is decoded.
func (k *call) recycle() {
	cc := k.cc
	*k = call{cc: cc, done: k.done}
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if len(cc.used) < 64 {
		cc.used = append(cc.used, k)
	}
}

// gaveUp leaves the queue for a slot; a turn that came meanwhile goes on.
func (cc *clientConn) gaveUp(w *wait, turn chan struct{}) error {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if i := slices.Index(cc.queue, turn); i >= 0 {
		cc.queue = slices.Delete(cc.queue, i, i+1)
	} else {
		cc.wakeOne()
	}
	return w.over("wait for one of the requests in flight to end")
}

func (cc *clientConn) wakeOne() {
	if len(cc.queue) > 0 {
		close(cc.queue[0])
		cc.queue = cc.queue[1:]
	}
}

func (cc *clientConn) wakeAll() {
	for len(cc.queue) > 0 {
		cc.wakeOne()
	}
}

// finish ends k; its slot is free. cc.mu is held.
func (cc *clientConn) finish(k *call) {
	delete(cc.calls, k.id)
	cc.load.Store(int32(len(cc.calls)))
	cc.wakeOne()
	if k.up != nil {
		cc.out.drop(k.up)
	}
	if cc.draining && len(cc.calls) == 0 {
		cc.spawn(func() { cc.die(fault(Unavailable, "server at %v is shutting down", cc.nc.RemoteAddr())) })
	}
}

// settle gives k its outcome. cc.mu is held.
func (k *call) settle(in *incoming, err error) {
	k.in, k.err = in, err
	select {
	case k.done <- struct{}{}:
	default:
	}
}

// wait waits for the reply.
func (k *call) wait(w *wait) error {
	select {
	case <-k.done:
	case <-w.ctx.Done():
		return k.giveUp(w)
	case <-w.c:
		return k.giveUp(w)
	}
	if k.err == nil && k.sending != nil && !k.in.stream() {
		select { // the source is the caller's again when Send returns
		case <-k.sending:
		case <-w.ctx.Done():
		}
	}
	return k.err
}

func (k *call) giveUp(w *wait) error {
	select {
	case <-k.done: // both at once: the reply counts
		return k.err
	default:
	}
	err := w.over("wait for the reply of " + k.cc.link.c.server)
	err.Sent = !k.cc.out.unsent(k.at)
	k.cancel()
	return err
}

// cancel tells the server that the reply is not wanted; the slot is free when
// the server has answered.
func (k *call) cancel() {
	cc := k.cc
	cc.mu.Lock()
	if k.left {
		cc.mu.Unlock()
		return
	}
	k.left = true
	in := cc.ins[k.id]
	if in == nil {
		in = k.in
	}
	if in != nil && in.stream() || cc.ins[k.id] != nil {
		cc.forget(in)
	}
	if cc.calls[k.id] != k { // it has ended, but was not read to its end
		cc.mu.Unlock()
		cc.out.flush(false)
		return
	}
	if k.up != nil {
		cc.out.drop(k.up)
	}
	cc.out.steer(wire.Header{Type: wire.Cancel, ID: k.id}.Append(nil))
	cc.mu.Unlock()
	cc.out.flush(false)
}

// upload sends a request's stream, in a goroutine: the reply may begin before
// it ends.
func (k *call) upload(w *wait, src source) {
	sending, s := make(chan struct{}), streamWriter{ctx: w.ctx, o: &k.cc.out, m: k.up}
	k.sending = sending
	go func() {
		defer close(sending)
		err := src.send(&s)
		switch {
		case s.ctx.Err() != nil: // what was sent is not all: an end would say so
			k.cc.mu.Lock()
			if k.in != nil && k.in.stream() {
				k.in.end(expired(s.ctx, "read stream"))
			}
			k.cc.mu.Unlock()
			k.cancel()
		case err != nil && !s.gone:
			k.cc.mu.Lock()
			if k.cc.calls[k.id] == k && !k.left {
				k.settle(nil, fault(Encode, "read what is to be sent: %w", err))
			}
			k.cc.mu.Unlock()
			k.cancel()
		default:
			s.end(nil)
		}
	}()
}

// The side of a connection that asks.

func (cc *clientConn) begins(id uint64) (*incoming, error) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if id > cc.lastID {
		return nil, fmt.Errorf("reply to request %d, which was not sent: %w", id, wire.ErrProtocol)
	}
	k := cc.calls[id]
	if k == nil || k.left {
		return nil, nil
	}
	if k.begun {
		return nil, fmt.Errorf("second reply to request %d: %w", id, wire.ErrProtocol)
	}
	k.begun = true
	return &k.reply, nil
}

func (cc *clientConn) arrived(in *incoming) {
	cc.mu.Lock()
	k := cc.calls[in.id]
	kick := false
	switch {
	case k == nil:
		kick = cc.forget(in)
	case k.left:
		kick = cc.forget(in)
		if !in.stream() || in.err == io.EOF {
			cc.finish(k)
		}
	case in.stream():
		if in.err != nil {
			cc.finish(k)
		}
		k.settle(in, nil)
	default:
		kick = cc.consumed(in)
		cc.finish(k)
		k.settle(in, nil)
	}
	cc.unlockAndFlush(kick)
}

func (cc *clientConn) ended(in *incoming) {
	if k := cc.calls[in.id]; k != nil {
		cc.finish(k)
	}
}

func (cc *clientConn) over(id uint64) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if k := cc.calls[id]; k != nil && k.left { // else died tells the caller
		cc.finish(k)
	}
}

func (cc *clientConn) tooLarge(in *incoming) {
	cc.mu.Lock()
	k := cc.calls[in.id]
	if k != nil {
		e := fault(TooLarge, "reply is larger than MaxMessage (%d bytes)", cc.o.maxMessage)
		e.Sent = true
		k.settle(nil, e)
	}
	cc.mu.Unlock()
	if k != nil {
		k.cancel()
	}
}

func (cc *clientConn) replied(uint64) {}

func (cc *clientConn) steered(h wire.Header, p []byte) error {
	switch h.Type {
	case wire.Failure:
		return cc.failed(h.ID, p)
	case wire.GoAway:
		cc.goAway(h.ID)
		return nil
	}
	return fmt.Errorf("frame of type %d from a server: %w", h.Type, wire.ErrProtocol)
}

func (cc *clientConn) failed(id uint64, p []byte) error {
	code, msg, err := wire.ParseFailure(p)
	if err != nil {
		return err
	}
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if id > cc.lastID {
		return fmt.Errorf("failure of request %d, which was not sent: %w", id, wire.ErrProtocol)
	}
	k := cc.calls[id]
	if k == nil {
		return nil
	}
	e := &Error{Code: Code(code), Msg: msg, Remote: true, Sent: true}
	in := cc.ins[id]
	delete(cc.ins, id)
	switch {
	case k.left:
	case in != nil && in.stream():
		in.end(e)
	default:
		if in != nil {
			cc.consumed(in)
		}
		k.settle(nil, e)
	}
	cc.finish(k)
	return nil
}

// goAway moves to another connection; what the server will not look at is
// asked again there.
func (cc *clientConn) goAway(last uint64) {
	cc.link.leave(cc)
	cc.mu.Lock()
	defer cc.mu.Unlock()
	cc.draining = true
	cc.wakeAll()
	for _, k := range cc.calls {
		if k.id > last {
			k.settle(nil, errAgain)
			cc.finish(k)
		}
	}
	if len(cc.calls) == 0 {
		cc.spawn(func() { cc.die(fault(Unavailable, "server at %v is shutting down", cc.nc.RemoteAddr())) })
	}
}

func (cc *clientConn) died(err error) {
	cc.link.lost(cc, err)
	cc.mu.Lock()
	defer cc.mu.Unlock()
	cc.wakeAll()
	for _, k := range cc.calls {
		delete(cc.calls, k.id)
		if k.in != nil {
			continue // a stream: it was told
		}
		switch unsent := cc.out.unsent(k.at); {
		case unsent && !errors.Is(err, Closed):
			k.settle(nil, errAgain)
		default:
			e := *fault(Unavailable, "%w", err)
			if x, ok := err.(*Error); ok {
				e = *x
			}
			e.Sent = !unsent && !errors.Is(err, Denied)
			k.settle(nil, &e)
		}
	}
}

// ping waits for a sign of life.
func (cc *clientConn) ping(w *wait) error {
	pong := make(chan struct{})
	cc.mu.Lock()
	cc.pingID++
	id := cc.pingID
	if cc.err != nil {
		cc.mu.Unlock()
		return errAgain
	}
	if cc.pongs == nil {
		cc.pongs = map[uint64]chan struct{}{}
	}
	cc.pongs[id] = pong
	cc.mu.Unlock()
	defer func() { cc.mu.Lock(); delete(cc.pongs, id); cc.mu.Unlock() }()
	cc.out.steer(wire.Header{Type: wire.Ping, ID: id}.Append(nil))
	cc.out.flush(true)
	select {
	case <-pong:
		return nil
	case <-cc.dead:
		return errAgain
	case <-w.ctx.Done():
	case <-w.c:
	}
	return w.over("wait for a sign of life of " + cc.link.c.server)
}
