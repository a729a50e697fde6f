package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"clusterbackup/transport/internal/wire"
)

// conn is one connection, of either side. The goroutine in read parses frames
// and hands them over; it never waits for application code, nor writes.
//
// Lock order: conn.mu before outbox.mu.
type conn struct {
	o     *options
	nc    net.Conn
	cork  *cork // below nc, if this side made the TLS
	out   outbox
	peer  Peer
	side  side
	takes wire.Type

	wg       sync.WaitGroup // goroutines of the connection; see spawn
	goMu     sync.Mutex
	over     bool // nothing is spawned any more
	peerZstd atomic.Bool
	lastRead atomic.Int64 // Unix nanoseconds
	read     atomic.Int64 // bytes
	written  atomic.Int64
	greeted  atomic.Bool  // the peer's preface arrived
	load     atomic.Int32 // exchanges under way
	pinged   atomic.Int64 // when a sign of life was asked for, 0 if not
	check    *time.Timer

	mu        sync.Mutex
	ins       map[uint64]*incoming // messages of which more is to come
	balance   int64                // body bytes the peer may still send
	window    int64                // balance when nothing is held
	owed      int64                // bytes consumed that the peer was not told of
	overdrawn *incoming            // the message that went below the balance
	err       error                // why the connection is dead
	pongs     map[uint64]chan struct{}
	pingID    uint64
	dead      chan struct{}

	method string // the latest message's, which the next one's is likely to be
}

// side is what a connection's two ends do differently.
type side interface {
	// greet is told the peer's preface.
	greet(wire.Preface)
	// begins returns where message id is to go, nil if it is unwanted.
	begins(id uint64) (*incoming, error)
	// arrived takes a complete message, or a stream that has begun.
	arrived(*incoming)
	// tooLarge is told of a message that was given up for its size.
	tooLarge(*incoming)
	// steered takes a Failure, Cancel or GoAway.
	steered(h wire.Header, p []byte) error
	// replied is told that the last frame of a reply is on its way.
	replied(id uint64)
	// ended is told that a stream has arrived to its end; conn.mu is held.
	ended(*incoming)
	// over is told the last frame of a message that was unwanted or given up.
	over(id uint64)
	// died is told the end of the connection, once.
	died(error)
}

// init makes c ready to start; takes is the kind of message it receives.
func (c *conn) init(nc net.Conn, o *options, s side, takes wire.Type) {
	c.o, c.nc, c.side, c.takes = o, nc, s, takes
	c.peer = peerOf(nc)
	c.cork = corkOf(nc)
	c.ins = map[uint64]*incoming{}
	c.window = int64(o.window)
	c.balance = c.window
	c.dead = make(chan struct{})
	c.out.c = c
	c.out.balance, c.out.stream = wire.MinWindow, wire.MinWindow
	tune(nc)
}

// packs reports whether bodies are to be compressed.
func (c *conn) packs() bool { return c.o.compress && c.peerZstd.Load() }

// write writes b whole.
func (c *conn) write(b []byte) (err error) {
	if c.cork != nil && len(b) > oneRecord {
		_, err = c.cork.through(c.nc, b)
	} else {
		_, err = c.nc.Write(b)
	}
	c.written.Add(int64(len(b)))
	return err
}

// oneRecord is what TLS writes in one go anyway.
const oneRecord = 16 << 10

// start sends the preface; run has to follow.
func (c *conn) start() {
	p := wire.Preface{
		MinVersion: wire.Version, MaxVersion: wire.Version,
		MaxFrame: wire.MaxPayload, Window: uint32(c.o.window), StreamWindow: uint32(c.o.stream), InFlight: uint32(c.o.inFlight),
	}
	if c.o.compress {
		p.Features |= wire.FeatureZstd
	}
	c.out.steer(p.Append(nil))
}

// run reads until the connection ends, and cleans up.
func (c *conn) run() error {
	c.lastRead.Store(time.Now().UnixNano())
	c.startChecks()
	c.out.flush(false)
	err := c.receive()
	if errors.Is(err, wire.ErrProtocol) {
		err = fault(Unavailable, "connection to %v: %w", c.nc.RemoteAddr(), err)
	} else {
		err = lost(c.nc.RemoteAddr(), err)
	}
	c.die(err)
	c.goMu.Lock()
	c.over = true
	c.goMu.Unlock()
	c.wg.Wait()
	return c.err
}

// spawn runs f in a goroutine that run waits for; not after the end.
func (c *conn) spawn(f func()) {
	c.goMu.Lock()
	defer c.goMu.Unlock()
	if !c.over {
		c.wg.Go(f)
	}
}

func lost(addr net.Addr, err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault(Unavailable, "connection to %v ended", addr)
	}
	if refusedByTLS(err) {
		return fault(Denied, "connection to %v: %w", addr, err)
	}
	return fault(Unavailable, "connection to %v: %w", addr, err)
}

// die ends the connection for a reason. The first one counts.
func (c *conn) die(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.dead)
	for _, in := range c.ins {
		if in.stream() {
			in.end(err)
		}
	}
	c.ins = nil
	c.mu.Unlock()
	c.stopChecks()
	c.out.close()
	if c.cork != nil && c.out.writeStart.Load() != 0 {
		c.cork.Conn.Close() // else TLS would wait to say goodbye
	}
	c.nc.Close()
	c.side.died(err)
}

// receive reads the preface and then frames until something is wrong.
func (c *conn) receive() error {
	r := newFrameReader(c)
	c.nc.SetReadDeadline(time.Now().Add(c.o.wait))
	p, err := r.preface()
	if err != nil {
		return err
	}
	c.nc.SetReadDeadline(time.Time{})
	c.out.greet(p)
	c.peerZstd.Store(p.Features&wire.FeatureZstd != 0)
	c.greeted.Store(true)
	c.side.greet(p)
	c.out.flush(false)
	for {
		h, err := r.header()
		if err != nil {
			return err
		}
		if err := c.frame(r, h); err != nil {
			return err
		}
	}
}

func (c *conn) frame(r *frameReader, h wire.Header) error {
	if h.Type <= wire.Reply {
		if h.Type != c.takes {
			return fmt.Errorf("message of the wrong direction: %w", wire.ErrProtocol)
		}
		if h.Flags&wire.First != 0 {
			return c.first(r, h)
		}
		return c.more(r, h)
	}
	p, err := r.small(int(h.Len))
	if err != nil {
		return err
	}
	switch h.Type {
	case wire.Credit:
		return c.credit(h.ID, p)
	case wire.Ping:
		return c.answer(wire.Header{Type: wire.Pong, ID: h.ID}.Append(nil))
	case wire.Pong:
		c.pong(h.ID)
		return nil
	}
	return c.side.steered(h, p)
}

// answer queues a frame from the reading goroutine.
func (c *conn) answer(frame []byte) error {
	if !c.out.steer(frame) {
		return fmt.Errorf("peer does not read what it is answered: %w", wire.ErrProtocol)
	}
	c.out.flush(false)
	return nil
}

func (c *conn) credit(id uint64, p []byte) error {
	n, err := wire.ParseCredit(p)
	if err != nil {
		return err
	}
	if !c.out.addCredit(id, n) {
		return fmt.Errorf("credit overflows: %w", wire.ErrProtocol)
	}
	c.out.flush(false)
	return nil
}

// first takes the first frame of a message.
func (c *conn) first(r *frameReader, h wire.Header) error {
	p := make([]byte, h.Len)
	if err := r.full(p); err != nil {
		return err
	}
	in, err := c.side.begins(h.ID)
	if err != nil {
		return err
	}
	into := in
	if in == nil {
		into = &incoming{}
	}
	body, err := into.begin(c, h, p)
	if err != nil {
		return err
	}
	last := h.Flags&wire.Last != 0
	c.mu.Lock()
	if !last && in != nil && c.ins != nil {
		c.ins[h.ID] = in
	}
	if err := c.charge(in, int64(len(body))); err != nil {
		c.mu.Unlock()
		return err
	}
	if in == nil {
		c.unlockAndFlush(c.discard(int64(len(body))))
		if last {
			c.side.over(h.ID)
		}
		return nil
	}
	if in.stream() {
		if len(body) > 0 {
			in.push(body)
		}
		if last {
			in.end(io.EOF)
		}
		c.mu.Unlock()
		c.side.arrived(in)
		return nil
	}
	if in.env.Total > uint64(c.o.maxMessage) || len(body) > c.o.maxMessage {
		c.unlockAndFlush(c.abandon(in))
		c.side.tooLarge(in)
		if last {
			c.side.over(h.ID)
		}
		return nil
	}
	in.body, in.size, in.done = body, len(body), last
	c.mu.Unlock()
	if last {
		c.side.arrived(in)
	}
	return nil
}

// more takes a later frame of a message.
func (c *conn) more(r *frameReader, h wire.Header) error {
	c.mu.Lock()
	in := c.ins[h.ID]
	if in != nil && in.stream() != (h.Flags&wire.Stream != 0) {
		c.mu.Unlock()
		return fmt.Errorf("message %d changes its kind: %w", h.ID, wire.ErrProtocol)
	}
	if err := c.charge(in, int64(h.Len)); err != nil {
		c.mu.Unlock()
		return err
	}
	switch {
	case in == nil:
		c.unlockAndFlush(c.discard(int64(h.Len)))
		return c.skip(r, h)
	case in.stream():
		c.mu.Unlock()
		return c.moreStream(r, h, in)
	case in.size+int(h.Len) > c.o.maxMessage:
		c.unlockAndFlush(c.abandon(in))
		c.side.tooLarge(in)
		return c.skip(r, h)
	}
	c.mu.Unlock()
	for left := int(h.Len); left > 0; {
		p := in.room(left)
		if err := r.full(p); err != nil {
			return err
		}
		left -= len(p)
	}
	if h.Flags&wire.Last == 0 {
		return nil
	}
	return c.whole(in)
}

// whole ends a message that came in several frames.
func (c *conn) whole(in *incoming) error {
	c.mu.Lock()
	wanted := c.ins[in.id] == in
	delete(c.ins, in.id)
	c.mu.Unlock()
	if !wanted { // it was given up while this frame was read
		c.side.over(in.id)
		return nil
	}
	in.join()
	in.done = true
	c.side.arrived(in)
	return nil
}

// skip passes over the rest of a frame that nobody wants.
func (c *conn) skip(r *frameReader, h wire.Header) error {
	err := r.skip(int(h.Len))
	if err == nil && h.Flags&wire.Last != 0 {
		c.side.over(h.ID)
	}
	return err
}

func (c *conn) moreStream(r *frameReader, h wire.Header, in *incoming) error {
	p := make([]byte, h.Len)
	if err := r.full(p); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p) > 0 {
		if in.err != nil { // nobody reads on
			c.discardLocked(int64(len(p)))
		} else {
			in.push(p)
		}
	}
	if h.Flags&wire.Last != 0 {
		delete(c.ins, h.ID)
		in.end(io.EOF)
		c.side.ended(in)
		return nil
	}
	in.notify()
	return nil
}

// unlockAndFlush unlocks mu and writes if there is something new to.
func (c *conn) unlockAndFlush(kick bool) {
	c.mu.Unlock()
	if kick {
		c.out.flush(false)
	}
}

// abandon gives up a message that is too large; what still comes of it is
// discarded.
func (c *conn) abandon(in *incoming) (kick bool) {
	delete(c.ins, in.id)
	in.pieces = nil
	return c.consumed(in)
}

// forget drops a message that nobody wants any more.
func (c *conn) forget(in *incoming) (kick bool) {
	if c.ins[in.id] == in {
		delete(c.ins, in.id)
	}
	if !in.stream() {
		return c.consumed(in)
	}
	var n int64
	for _, p := range in.chunks {
		n += int64(len(p))
	}
	in.chunks = nil
	in.end(fault(Canceled, "stream was given up"))
	return c.discard(n)
}
