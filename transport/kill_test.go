package transport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"clusterbackup/transport/memnet"
)

// TestConnectionsAreKilled breaks the connection a thousand times at random
// moments under load. Every exchange ends with exactly one outcome, no request is
// executed twice, none that is said not to be sent is executed, and every one that
// was answered was executed.
func TestConnectionsAreKilled(t *testing.T) {
	const kills = 1000
	l := memnet.Listen("server")
	s := NewServer()
	go s.Serve(l)
	defer s.Close()
	var mu sync.Mutex
	executed := map[int]int{}
	Handle(s, "do", func(_ context.Context, _ Peer, r request) ([]byte, error) {
		mu.Lock()
		executed[r.ID]++
		mu.Unlock()
		return r.Pad, nil
	})
	c := Dial("server", DialFunc(l.Dial))
	defer c.Close()

	var next, answered, lost, unsent atomic.Int64
	stop := make(chan struct{})
	outcomes := sync.Map{}
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := int(next.Add(1))
				pad := make([]byte, []int{0, 100, 40 << 10, 300 << 10}[id%4])
				got, err := Call[[]byte](t.Context(), c, "do", request{id, pad})
				var e *Error
				switch {
				case err == nil && len(got) == len(pad):
					answered.Add(1)
				case errors.As(err, &e) && e.Code == Unavailable && e.Sent:
					lost.Add(1)
				case errors.As(err, &e) && e.Code == Unavailable:
					unsent.Add(1)
				default:
					t.Errorf("request %d: %d bytes, %v", id, len(got), err)
				}
				outcomes.Store(id, err)
			}
		})
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for range kills {
		time.Sleep(time.Duration(random.IntN(5000)) * time.Microsecond)
		l.Cut()
	}
	close(stop)
	callers.Wait()
	s.Close() // no more executions
	t.Logf("%d requests: %d answered, %d lost, %d not sent", next.Load(), answered.Load(), lost.Load(), unsent.Load())
	if answered.Load() < kills/10 || lost.Load() == 0 {
		t.Error("the test does not test")
	}
	mu.Lock()
	defer mu.Unlock()
	outcomes.Range(func(id, outcome any) bool {
		n := executed[id.(int)]
		var e *Error
		switch {
		case n > 1:
			t.Errorf("request %d was executed %d times", id, n)
		case outcome == nil && n != 1:
			t.Errorf("request %d was answered and not executed", id)
		case errors.As(asError(outcome), &e) && !e.Sent && n > 0:
			t.Errorf("request %d was executed, but said not to be sent", id)
		}
		return true
	})
}

func asError(v any) error {
	err, _ := v.(error)
	return err
}

type request struct {
	ID  int
	Pad []byte
}

// TestGoingAwayLosesNothing restarts a server in good order under load: no
// exchange may fail.
func TestGoingAwayLosesNothing(t *testing.T) {
	var l atomic.Pointer[memnet.Listener]
	var executed sync.Map
	serve := func() *Server {
		s := NewServer()
		Handle(s, "do", func(_ context.Context, _ Peer, id int) (int, error) {
			if _, twice := executed.LoadOrStore(id, true); twice {
				return 0, errors.New("executed twice")
			}
			return id, nil
		})
		l.Store(memnet.Listen("server"))
		go s.Serve(l.Load())
		return s
	}
	s := serve()
	c := Dial("server", DialFunc(func(ctx context.Context) (net.Conn, error) { return l.Load().Dial(ctx) }))
	defer c.Close()
	var next atomic.Int64
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := int(next.Add(1))
				if got, err := Call[int](t.Context(), c, "do", id); err != nil || got != id {
					t.Errorf("request %d: %d, %v", id, got, err)
				}
			}
		})
	}
	for range 20 {
		time.Sleep(5 * time.Millisecond)
		old := s
		s = serve()
		if err := old.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	callers.Wait()
	s.Close()
	if next.Load() < 100 {
		t.Error("the test does not test")
	}
}

// TestAllAtOnce uses everything at once, for the race detector.
func TestAllAtOnce(t *testing.T) {
	for range 20 {
		s, err := Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		all.Go(func() { s.Each(2, echo) })
		c := Dial(s.Addr().String(), Conns(2), Timeout(2*time.Second))
		for i := range 8 {
			all.Go(func() {
				for n := range 20 {
					d := c.Datagram(make([]byte, n<<12))
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Millisecond)
					if i%2 == 0 {
						d.SendContext(ctx)
					} else if !d.Send() && !errors.Is(d.Err(), Closed) && !errors.Is(d.Err(), Unavailable) && !errors.Is(d.Err(), Canceled) {
						t.Error(d.Err())
					}
					cancel()
				}
			})
		}
		all.Go(func() { c.Ping(t.Context()) })
		all.Go(func() {
			time.Sleep(rand.N(10 * time.Millisecond))
			s.Shutdown(t.Context())
		})
		all.Go(func() {
			time.Sleep(rand.N(10 * time.Millisecond))
			s.Close()
		})
		all.Go(func() {
			time.Sleep(rand.N(10 * time.Millisecond))
			c.Close()
		})
		all.Wait()
		c.Close()
	}
}
