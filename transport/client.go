package transport

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"clusterbackup/transport/internal/wire"
)

// Client holds the connections to one server, connects when there is something
// to send, and connects again when a connection is lost. It may be used by many
// goroutines at once.
type Client struct {
	server string
	o      *options
	links  []*link
	next   atomic.Uint32
	wg     sync.WaitGroup // dialing and reading goroutines
	closed chan struct{}
	once   sync.Once
	waits  sync.Pool // of *wait
}

// Dial returns a client of the server at an address: host:port, or unix:path. It
// neither blocks nor fails; the first datagram connects. Close it when done.
func Dial(server string, opts ...Option) *Client {
	c := &Client{server: server, o: gather(opts), closed: make(chan struct{})}
	for range max(c.o.conns, 1) {
		c.links = append(c.links, newLink(c))
	}
	return c
}

// Close ends all connections; exchanges under way fail as Closed.
func (c *Client) Close() error {
	c.once.Do(func() { close(c.closed) })
	for _, l := range c.links {
		l.close()
	}
	c.wg.Wait()
	return nil
}

// Server is the address given to Dial.
func (c *Client) Server() string { return c.server }

// Datagram makes a datagram of values, to be sent to c's server.
func (c *Client) Datagram(v ...any) *Datagram {
	d := &Datagram{client: c}
	d.Set(v...)
	return d
}

// DatagramTo makes a datagram for the handler of a name; see Server.HandleFunc.
func (c *Client) DatagramTo(method string, v ...any) *Datagram {
	d := c.Datagram(v...)
	d.method = method
	return d
}

// Ping asks the server for a sign of life, connecting if need be.
func (c *Client) Ping(ctx context.Context) error {
	w := c.newWait(ctx)
	defer c.endWait(w)
	for {
		cc, err := c.link().get(w)
		if err != nil {
			return err
		}
		if err = cc.ping(w); !errors.Is(err, errAgain) {
			return err
		}
	}
}

// busy reports whether exchanges are under way.
func (c *Client) busy() bool {
	return slices.ContainsFunc(c.links, (*link).busy)
}

func (c *Client) link() *link {
	if len(c.links) == 1 {
		return c.links[0]
	}
	return c.links[int(c.next.Add(1))%len(c.links)]
}

// errAgain says that the request was certainly not sent, and may be tried again.
var errAgain = errors.New("not sent")

// exchange sends a request and waits for its reply: complete, or a stream's
// beginning. The call it returns is done with after release.
func (c *Client) exchange(ctx context.Context, env *wire.Envelope, p *parcel) (*call, error) {
	if c.o.err != nil {
		return nil, c.o.err
	}
	if err := env.Check(); err != nil {
		return nil, fault(Encode, "send request: %w", err)
	}
	w := c.newWait(ctx)
	defer c.endWait(w)
	for {
		cc, err := c.link().get(w)
		if err != nil {
			return nil, err
		}
		if d := w.left(); d > 0 {
			env.Timeout = d
		}
		env.Type = p.typ
		k, err := cc.request(w, env, p)
		if err == nil {
			err = k.wait(w)
		} else if errors.Is(err, errAgain) {
			cc.link.leave(cc)
		}
		if err == nil {
			return k, nil
		}
		if !errors.Is(err, errAgain) {
			return nil, err
		}
		if p.src != nil && k != nil {
			return nil, fault(Unavailable, "connection was lost before the stream was sent, and its source can't be read again")
		}
	}
}

// wait is the patience of one exchange: a context, and a limit where the context
// has no deadline.
type wait struct {
	ctx      context.Context
	deadline time.Time
	timer    *time.Timer
	c        <-chan time.Time
	limit    time.Duration
}

func (c *Client) newWait(ctx context.Context) *wait {
	w, _ := c.waits.Get().(*wait)
	if w == nil {
		w = &wait{}
	}
	w.ctx, w.c, w.limit, w.deadline = ctx, nil, c.o.timeout, time.Time{}
	if d, ok := ctx.Deadline(); ok {
		w.deadline = d
	} else if w.limit > 0 {
		w.deadline = time.Now().Add(w.limit)
		if w.timer == nil {
			w.timer = time.NewTimer(w.limit)
		} else {
			w.timer.Reset(w.limit)
		}
		w.c = w.timer.C
	}
	return w
}

func (c *Client) endWait(w *wait) {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.ctx = nil
	c.waits.Put(w)
}

// left is the time that remains, 0 without a limit.
func (w *wait) left() time.Duration {
	if w.deadline.IsZero() {
		return 0
	}
	return max(time.Until(w.deadline), time.Millisecond)
}

// over is the error of patience at its end.
func (w *wait) over(doing string) *Error {
	if w.ctx.Err() != nil {
		return expired(w.ctx, doing)
	}
	return fault(TimedOut, "%s: not within %v", doing, w.limit)
}
