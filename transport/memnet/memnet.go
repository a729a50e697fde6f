// Package memnet is a network in memory, for tests that run in virtual time or
// that need connections to freeze and break when they say so. Its connections
// buffer like sockets do, which net.Pipe's don't, and block only in ways that
// testing/synctest understands.
//
//	l := memnet.Listen("db")
//	server := transport.NewServer()
//	go server.Serve(l)
//	client := transport.Dial("db", transport.DialFunc(l.Dial))
package memnet

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Buffer is how many bytes a connection holds in each direction.
const Buffer = 64 << 10

// Listener takes the connections that Dial makes.
type Listener struct {
	name    Addr
	backlog chan net.Conn
	closed  chan struct{}
	once    sync.Once

	mu    sync.Mutex
	conns map[*pair]struct{}
}

// Listen returns a listener of a name.
func Listen(name string) *Listener {
	return &Listener{
		name:    Addr(name),
		backlog: make(chan net.Conn, 64),
		closed:  make(chan struct{}),
		conns:   map[*pair]struct{}{},
	}
}

// Addr is an end's name.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the name.
func (a Addr) String() string { return string(a) }

// Dial connects, or is refused when the listener is closed.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	p := newPair(l)
	select {
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: l.name, Err: syscall.ECONNREFUSED}
	default:
	}
	l.mu.Lock()
	l.conns[p] = struct{}{}
	l.mu.Unlock()
	select {
	case l.backlog <- p.server:
		return p.client, nil
	case <-l.closed:
		p.client.Close()
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: l.name, Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		p.client.Close()
		return nil, ctx.Err()
	}
}

func (l *Listener) forget(p *pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, p)
}

// Accept returns the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
	}
	select {
	case c := <-l.backlog: // it was promised
		return c, nil
	default:
		return nil, net.ErrClosed
	}
}

// Close ends listening; connections live on.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns the listener's name.
func (l *Listener) Addr() net.Addr { return l.name }

// Cut breaks all connections, as a host's death does when it is noticed.
func (l *Listener) Cut() {
	for _, p := range l.pairs() {
		p.client.Close()
		p.server.Close()
	}
}

// Freeze stops all bytes on the connections there are, as a host's death does
// while it is not noticed: what is written stays in buffers until they are full.
func (l *Listener) Freeze() {
	for _, p := range l.pairs() {
		p.up.freeze()
		p.down.freeze()
	}
}

func (l *Listener) pairs() []*pair {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*pair, 0, len(l.conns))
	for p := range l.conns {
		all = append(all, p)
	}
	return all
}

// pair is both ends of a connection.
type pair struct {
	up, down       *pipe
	client, server *end
	l              *Listener
}

func newPair(l *Listener) *pair {
	name := l.name
	p := &pair{up: newPipe(), down: newPipe(), l: l}
	p.client = &end{pair: p, in: p.down, out: p.up, local: "client", remote: name}
	p.server = &end{pair: p, in: p.up, out: p.down, local: name, remote: "client"}
	return p
}

// end is a net.Conn.
type end struct {
	pair          *pair
	in, out       *pipe
	local, remote Addr
}

func (e *end) Read(b []byte) (int, error)  { return e.in.read(b) }
func (e *end) Write(b []byte) (int, error) { return e.out.write(b) }
func (e *end) LocalAddr() net.Addr         { return e.local }
func (e *end) RemoteAddr() net.Addr        { return e.remote }

func (e *end) Close() error {
	e.in.close(true)
	e.out.close(false)
	e.pair.l.forget(e.pair)
	return nil
}

func (e *end) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

func (e *end) SetReadDeadline(t time.Time) error  { e.in.setDeadline(&e.in.readBy, t); return nil }
func (e *end) SetWriteDeadline(t time.Time) error { e.out.setDeadline(&e.out.writeBy, t); return nil }

// pipe carries bytes one way.
type pipe struct {
	mu              sync.Mutex
	buf             []byte
	frozen          bool
	ended           bool // by the writer: what is buffered can still be read
	broken          bool // by the reader
	readBy, writeBy time.Time
	changed         chan struct{}
}

func newPipe() *pipe { return &pipe{changed: make(chan struct{})} }

func (p *pipe) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = true
}

func (p *pipe) close(reader bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reader {
		p.broken = true
	} else {
		p.ended = true
	}
	p.announce()
}

func (p *pipe) setDeadline(which *time.Time, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*which = t
	p.announce()
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.broken:
			return 0, net.ErrClosed
		case len(p.buf) > 0 && !p.frozen:
			n := copy(b, p.buf)
			p.buf = p.buf[:copy(p.buf, p.buf[n:])]
			p.announce()
			return n, nil
		case p.ended && !p.frozen:
			return 0, io.EOF
		}
		if err := p.await(p.readBy); err != nil {
			return 0, err
		}
	}
}

func (p *pipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.ended:
			return n, net.ErrClosed
		case p.broken:
			return n, syscall.EPIPE
		case len(p.buf) < Buffer:
			k := min(len(b), Buffer-len(p.buf))
			p.buf = append(p.buf, b[:k]...)
			n, b = n+k, b[k:]
			p.announce()
		}
		if len(b) == 0 {
			return n, nil
		}
		if err := p.await(p.writeBy); err != nil {
			return n, err
		}
	}
}

// await waits for a change or a deadline; p.mu is held, but not meanwhile.
func (p *pipe) await(by time.Time) error {
	changed := p.changed
	var c <-chan time.Time
	if !by.IsZero() {
		d := time.Until(by)
		if d <= 0 {
			return os.ErrDeadlineExceeded
		}
		t := time.NewTimer(d)
		defer t.Stop()
		c = t.C
	}
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-changed:
	case <-c:
	}
	return nil
}
