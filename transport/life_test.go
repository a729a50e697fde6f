package transport

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"clusterbackup/transport/memnet"
)

// world is a server and a client in memory and in virtual time.
type world struct {
	l *memnet.Listener
	s *Server
	c *Client
}

// inBubble runs f in virtual time, with the server's datagrams answered by body.
func inBubble(t *testing.T, body func(*Datagram), f func(*testing.T, *world), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{l: memnet.Listen("server"), s: NewServer(opts...)}
		w.c = Dial("server", append(opts, DialFunc(w.l.Dial))...)
		go w.s.Serve(w.l)
		if body != nil {
			go w.s.Each(4, body)
		}
		f(t, w)
		w.c.Close()
		w.s.Close()
		synctest.Wait()
	})
}

func TestSilenceIsNoticed(t *testing.T) {
	stay := func(d *Datagram) { <-d.Context().Done() }
	inBubble(t, stay, func(t *testing.T, w *world) {
		d := w.c.Datagram(1)
		done := make(chan bool)
		go func() { done <- d.Send() }()
		synctest.Wait()
		time.Sleep(time.Hour) // a connection that answers pings stays
		select {
		case <-done:
			t.Fatal("ended by itself:", d.Err())
		default:
		}
		w.l.Freeze()
		start := time.Now()
		if <-done || !errors.Is(d.Err(), Unavailable) {
			t.Fatal(d.Err())
		}
		if took := time.Since(start); took > 26*time.Second {
			t.Fatalf("a frozen peer was noticed after %v", took)
		}
		var e *Error
		if errors.As(d.Err(), &e); !e.Sent || e.Remote {
			t.Fatalf("%+v", e)
		}
	}, Timeout(0))
}

func TestServerNoticesFrozenClient(t *testing.T) {
	var ended chan time.Time // channels belong to the bubble
	stay := func(d *Datagram) { <-d.Context().Done(); ended <- time.Now() }
	inBubble(t, stay, func(t *testing.T, w *world) {
		ended = make(chan time.Time, 1)
		go w.c.Datagram(1).Send()
		synctest.Wait()
		start := time.Now()
		w.l.Freeze()
		if took := (<-ended).Sub(start); took > 26*time.Second {
			t.Fatal(took)
		}
	}, Timeout(0))
}

func TestDeadline(t *testing.T) {
	var left atomic.Int64
	inBubble(t, func(d *Datagram) {
		by, _ := d.Context().Deadline()
		left.Store(int64(time.Until(by)))
		<-d.Context().Done()
	}, func(t *testing.T, w *world) {
		start := time.Now()
		d := w.c.Datagram(1)
		if d.Send() || !errors.Is(d.Err(), TimedOut) || !errors.Is(d.Err(), context.DeadlineExceeded) {
			t.Fatal(d.Err())
		}
		if took := time.Since(start); took != 30*time.Second || left.Load() != int64(took) {
			t.Fatal(took, left.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if d.SendContext(ctx) || !errors.Is(d.Err(), TimedOut) || time.Since(start) != time.Second {
			t.Fatal(d.Err(), time.Since(start))
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Minute/4, cancel)
		if d.SendContext(ctx) || !errors.Is(d.Err(), Canceled) || !errors.Is(d.Err(), context.Canceled) {
			t.Fatal(d.Err())
		}
	})
}

func TestReconnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ outage, within time.Duration }{
			{10 * time.Millisecond, 50 * time.Millisecond},
			{time.Second, 50 * time.Millisecond},
			{10 * time.Second, 400 * time.Millisecond},
			{time.Hour, 1200 * time.Millisecond},
		} {
			var l atomic.Pointer[memnet.Listener]
			serve := func() *Server {
				l.Store(memnet.Listen("server"))
				s := NewServer()
				go s.Serve(l.Load())
				go s.Each(1, echo)
				return s
			}
			s := serve()
			var dialed atomic.Int32
			client := Dial("server", Timeout(0), DialFunc(func(ctx context.Context) (c net.Conn, err error) {
				dialed.Add(1)
				return l.Load().Dial(ctx)
			}))
			d := client.Datagram("x")
			if !d.Send() {
				t.Fatal(d.Err())
			}
			s.Close()
			synctest.Wait()
			dialed.Store(0)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if !d.Send() || d.Value() != "x" {
					t.Error(d.Err())
				}
			}()
			time.Sleep(c.outage)
			if n := dialed.Load(); c.outage == time.Hour && (n < 3000 || n > 6000) {
				t.Errorf("%d attempts in an hour", n)
			}
			s = serve()
			start := time.Now()
			<-done
			if took := time.Since(start); took > c.within {
				t.Errorf("after %v: %v", c.outage, took)
			}
			client.Close()
			s.Close()
		}
	})
}

func TestWaitingEndsWithDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dialed atomic.Int32
		refuse := DialFunc(func(context.Context) (net.Conn, error) { dialed.Add(1); return nil, errors.New("no route") })
		c := Dial("server", refuse)
		start := time.Now()
		d := c.Datagram(1)
		if d.Send() || !errors.Is(d.Err(), Unavailable) || time.Since(start) != 30*time.Second {
			t.Fatal(d.Err(), time.Since(start))
		}
		var e *Error
		if errors.As(d.Err(), &e); e.Sent {
			t.Fatal("said to be sent")
		}
		n := dialed.Load()
		time.Sleep(time.Hour)
		if more := dialed.Load() - n; more > 1 {
			t.Fatalf("%d attempts with nobody waiting", more)
		}
		c.Close()
		if d.Send() || !errors.Is(d.Err(), Closed) {
			t.Fatal(d.Err())
		}
	})
}

func TestShutdownAnswersWhatIsThere(t *testing.T) {
	inBubble(t, func(d *Datagram) {
		time.Sleep(2 * time.Second)
		d.Set("done")
	}, func(t *testing.T, w *world) {
		d := w.c.Datagram(1)
		answered := make(chan bool)
		go func() { answered <- d.Send() }()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := w.s.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < time.Second || took > 3*time.Second {
			t.Fatal(took)
		}
		if !<-answered || d.Value() != "done" {
			t.Fatal(d.Err())
		}
	})
}

func TestShutdownIsBounded(t *testing.T) {
	var cause error
	var release chan struct{}
	inBubble(t, func(d *Datagram) {
		<-d.Context().Done()
		cause = d.Context().Err()
		<-release // a body that does not care
	}, func(t *testing.T, w *world) {
		release = make(chan struct{})
		d := w.c.Datagram(1)
		answered := make(chan bool)
		go func() { answered <- d.Send() }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := w.s.Shutdown(ctx); !errors.Is(err, TimedOut) || time.Since(start) != 5*time.Second {
			t.Fatal(err, time.Since(start))
		}
		if <-answered || !errors.Is(d.Err(), Unavailable) {
			t.Fatal(d.Err())
		}
		synctest.Wait()
		if !errors.Is(cause, context.Canceled) {
			t.Fatal(cause)
		}
		close(release)
	})
}

func TestInFlightLimitIsWaitedFor(t *testing.T) {
	running, most := 0, 0
	inBubble(t, nil, func(t *testing.T, w *world) {
		s := make(chan struct{}, 1)
		s <- struct{}{}
		Handle(w.s, "m", func(ctx context.Context, _ Peer, i int) (int, error) {
			<-s
			running++
			most = max(most, running)
			s <- struct{}{}
			time.Sleep(time.Second)
			<-s
			running--
			s <- struct{}{}
			return i, nil
		})
		done := make(chan error)
		for i := range 64 {
			go func() {
				got, err := Call[int](t.Context(), w.c, "m", i)
				if err == nil && got != i {
					err = errors.New("another's answer")
				}
				done <- err
			}()
		}
		start := time.Now()
		for range 64 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if most != 16 || time.Since(start) != 4*time.Second {
			t.Fatal(most, time.Since(start))
		}
	}, InFlight(16))
}

func TestCanceledBodiesCount(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		release := make(chan struct{})
		Handle(w.s, "stay", func(ctx context.Context, _ Peer, i int) (int, error) {
			<-release
			return i, nil
		})
		for range 16 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { _, err := Call[int](ctx, w.c, "stay", 1); done <- err }()
			synctest.Wait()
			cancel()
			if err := <-done; !errors.Is(err, Canceled) {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Call[int](ctx, w.c, "stay", 1); !errors.Is(err, TimedOut) {
			t.Fatal(err)
		}
		close(release)
		if _, err := Call[int](t.Context(), w.c, "stay", 1); err != nil {
			t.Fatal(err)
		}
	}, InFlight(16))
}

func TestCancelStopsAStream(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		stopped := make(chan struct{})
		HandleStream(w.s, "ticks", func(ctx context.Context, _ Peer, _ int) iter.Seq2[time.Time, error] {
			return func(yield func(time.Time, error) bool) {
				defer close(stopped)
				for {
					select {
					case <-ctx.Done():
						return
					case <-time.After(time.Second):
						if !yield(time.Now(), nil) {
							return
						}
					}
				}
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10500*time.Millisecond)
		defer cancel()
		n := 0
		var last error
		for at, err := range CallStream[time.Time](ctx, w.c, "ticks", 0) {
			if last = err; err == nil {
				if n++; time.Since(at) > time.Millisecond {
					t.Fatal("an element waited for others")
				}
			}
		}
		if n != 10 || !errors.Is(last, TimedOut) {
			t.Fatal(n, last)
		}
		<-stopped
		if err := w.c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// untilOver is a source that gives a part at once and stops, as if it were all, when its time is over.
type untilOver struct {
	ctx  context.Context
	gave bool
}

func (u *untilOver) Read(p []byte) (int, error) {
	if !u.gave {
		u.gave = true
		return copy(p, "part"), nil
	}
	<-u.ctx.Done()
	return 0, io.EOF
}

// TestUploadCutByItsContext: what was sent of a stream by the time its context ended is not taken for all of it. The reply has begun,
// so that it is the upload alone that sees the end.
func TestUploadCutByItsContext(t *testing.T) {
	for name, source := range map[string]func(context.Context) io.Reader{
		"source stops":   func(ctx context.Context) io.Reader { return &untilOver{ctx: ctx} },
		"window is full": func(context.Context) io.Reader { return rand.NewChaCha8([32]byte{}) },
	} {
		t.Run(name, func(t *testing.T) {
			var ended chan error
			receive := func(d *Datagram) {
				request := d.Reader()
				d.Set(iter.Seq2[any, error](func(yield func(any, error) bool) {
					yield("begun", nil)
					time.Sleep(time.Minute)
					_, err := io.Copy(io.Discard, request)
					ended <- err
				}))
			}
			inBubble(t, receive, func(t *testing.T, w *world) {
				ended = make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				d := w.c.Datagram(source(ctx))
				if !d.SendContext(ctx) {
					t.Fatal(d.Err())
				}
				synctest.Wait()
				cancel()
				if err := <-ended; err == nil {
					t.Error("a part was taken for the whole")
				}
			})
		})
	}
}
