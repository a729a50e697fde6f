package transport

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// Pace of connecting. The pause between attempts grows with the outage, so that
// a server that restarts is found at once, and one that is gone is asked once a
// second.
const (
	minPause    = 10 * time.Millisecond
	maxPause    = time.Second
	pauseShare  = 32 // of the outage's length
	dialTimeout = 5 * time.Second
)

// link is one of a client's connections, over its losses. At most one goroutine
// at a time connects, and only while somebody waits.
type link struct {
	c *Client

	mu       sync.Mutex
	cc       *clientConn
	dialing  bool
	closed   bool
	waiting  int
	failures int       // attempts that failed, ever
	outage   time.Time // when the first of the present row failed
	last     time.Time // when the latest did
	err      error     // the latest's
	changed  chan struct{}
	old      map[*clientConn]struct{} // being drained
	ctx      context.Context          // of dialing; ends on close
	cancel   context.CancelFunc
}

func newLink(c *Client) *link {
	l := &link{c: c, changed: make(chan struct{}), old: map[*clientConn]struct{}{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// get returns a live connection, waiting for one as long as w does.
func (l *link) get(w *wait) (*clientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.failures
	for {
		switch {
		case l.closed:
			return nil, fault(Closed, "client of %s is closed", l.c.server)
		case l.cc != nil:
			return l.cc, nil
		case l.failures > seen && (l.c.o.failFast || hopeless(l.err)):
			return nil, l.unreachable()
		case w.ctx.Err() != nil:
			return nil, l.gaveUp(w)
		}
		if !l.dialing {
			l.dialing = true
			l.c.wg.Go(l.connect)
		}
		if !l.await(w) {
			return nil, l.gaveUp(w)
		}
	}
}

// await waits for a change; false when w is over. l.mu is held, but not
// meanwhile.
func (l *link) await(w *wait) bool {
	changed := l.changed
	l.waiting++
	l.mu.Unlock()
	defer func() { l.mu.Lock(); l.waiting-- }()
	select {
	case <-changed:
		return true
	case <-w.ctx.Done():
	case <-w.c:
	}
	return false
}

func (l *link) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting > 0 || len(l.old) > 0 || l.cc != nil && l.cc.load.Load() > 0
}

func (l *link) announce() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) unreachable() error {
	if hopeless(l.err) {
		return fault(Denied, "reach %s: %w", l.c.server, l.err)
	}
	return fault(Unavailable, "reach %s: %w", l.c.server, l.err)
}

func (l *link) gaveUp(w *wait) error {
	if w.ctx.Err() == context.Canceled {
		return expired(w.ctx, "reach "+l.c.server)
	}
	if l.err != nil {
		return l.unreachable()
	}
	return fault(Unavailable, "reach %s: no connection in time", l.c.server)
}

// connect tries until it succeeds or nobody waits.
func (l *link) connect() {
	for {
		if !l.pause() {
			return
		}
		nc, err := l.dial()
		l.mu.Lock()
		if err == nil && !l.closed {
			l.dialing = false
			l.use(nc)
			l.mu.Unlock()
			return
		}
		if err == nil {
			nc.Close()
		} else {
			l.failed(err)
		}
		l.mu.Unlock()
	}
}

// pause waits for the next attempt's time; false when there is none.
func (l *link) pause() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && l.waiting > 0 {
		d := time.Until(l.nextAttempt())
		if d <= 0 {
			return true
		}
		l.mu.Unlock()
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-l.ctx.Done():
			t.Stop()
		}
		l.mu.Lock()
	}
	l.dialing = false
	return false
}

func (l *link) nextAttempt() time.Time {
	if l.outage.IsZero() {
		return time.Time{}
	}
	d := min(max(l.last.Sub(l.outage)/pauseShare, minPause), maxPause)
	return l.last.Add(d*3/4 + rand.N(d/4))
}

func (l *link) failed(err error) {
	l.failures++
	l.err = err
	l.last = time.Now()
	if l.outage.IsZero() {
		l.outage = l.last
	}
	l.announce()
	l.c.o.event(Event{Kind: DialFailed, Server: l.c.server, Err: err})
}

// use makes nc the link's connection. l.mu is held.
func (l *link) use(nc net.Conn) {
	l.cc = newClientConn(l, nc)
	l.announce()
	cc := l.cc
	l.c.wg.Go(cc.run)
}

// greeted says that the server has answered: the outage is over.
func (l *link) greeted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outage, l.err = time.Time{}, nil
}

// leave takes cc out of use; its exchanges may end.
func (l *link) leave(cc *clientConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cc == cc {
		l.cc = nil
		l.old[cc] = struct{}{}
	}
}

// lost forgets cc, which has ended.
func (l *link) lost(cc *clientConn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.old, cc)
	if l.cc == cc {
		l.cc = nil
		if !cc.greetedOnce() && !l.closed {
			l.failed(err)
			return
		}
		l.announce()
	}
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.cancel()
	all := []*clientConn{}
	if l.cc != nil {
		all = append(all, l.cc)
	}
	for cc := range l.old {
		all = append(all, cc)
	}
	l.announce()
	l.mu.Unlock()
	for _, cc := range all {
		cc.die(fault(Closed, "client of %s is closed", l.c.server))
	}
}

// dial makes one attempt.
func (l *link) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, dialTimeout)
	defer cancel()
	o := l.c.o
	if o.dial != nil {
		nc, err := o.dial(ctx)
		if err == nil {
			err = ready(ctx, nc)
		}
		return nc, err
	}
	network, addr := split(l.c.server)
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if o.tls == nil {
		return nc, ready(ctx, nc)
	}
	cfg := o.tls
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		cfg = cfg.Clone()
		cfg.ServerName, _, _ = net.SplitHostPort(addr)
	}
	t := tls.Client(&cork{Conn: nc}, cfg)
	return t, ready(ctx, t)
}

// ready ends a TLS handshake, or sees to it that what is plain may be; else it
// closes nc.
func ready(ctx context.Context, nc net.Conn) error {
	err := confined(nc)
	if t, ok := nc.(*tls.Conn); ok {
		err = t.HandshakeContext(ctx)
	}
	if err != nil {
		nc.Close()
	}
	return err
}

// split tells an address's network.
func split(server string) (network, addr string) {
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		return "unix", path
	}
	return "tcp", server
}

// hopeless reports whether trying again would fail in the same way.
func hopeless(err error) bool {
	if e, ok := err.(*Error); ok && e.Code == Denied {
		return true
	}
	return err != nil && refusedByTLS(err)
}
