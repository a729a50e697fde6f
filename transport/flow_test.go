package transport

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// endless is a stream that goes on until it is canceled.
func endless(ctx context.Context, _ Peer, size int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for ctx.Err() == nil && yield(make([]byte, size), nil) {
		}
	}
}

// TestUnreadStreamsHoldUpNobody begins many streams, reads none, and expects
// everything else to go on, on the same connection and in both directions.
func TestUnreadStreamsHoldUpNobody(t *testing.T) {
	s := listen(t, echo)
	HandleStream(s, "endless", endless)
	c := dial(t, s, Timeout(20*time.Second))
	var streams []*Datagram
	for range 40 {
		d := c.Datagram()
		d.method = "endless"
		p, _ := encodeTyped(new(int))
		k, err := c.send(t.Context(), "endless", nil, p)
		if err != nil {
			t.Fatal(err)
		}
		d.take(k)
		streams = append(streams, d)
	}
	for _, n := range []int{0, 100, 10 << 10, 100 << 10, 20 << 20} {
		d := c.Datagram(make([]byte, n))
		if !d.Send() || len(d.Value().([]byte)) != n {
			t.Fatal(n, d.Err())
		}
	}
	for _, d := range streams {
		d.finishCall()
	}
	// All is given back: a stream flows again.
	n := 0
	for b, err := range CallStream[[]byte](t.Context(), c, "endless", 10<<10) {
		if err != nil {
			t.Fatal(err)
		}
		if n += len(b); n > 40<<20 {
			break
		}
	}
}

// TestManyLargeMessagesAtOnce sends, both ways, many messages that are each
// larger than the connection's window.
func TestManyLargeMessagesAtOnce(t *testing.T) {
	small := Windows(64<<10, 64<<10)
	s := listen(t, nil, small)
	Handle(s, "echo", func(_ context.Context, _ Peer, p []byte) ([]byte, error) { return p, nil })
	c := dial(t, s, small, Timeout(20*time.Second))
	var callers sync.WaitGroup
	for i := range 32 {
		callers.Go(func() {
			n := 1 + (i%8)*200<<10
			p := bytes.Repeat([]byte{byte(i)}, n)
			got, err := Call[[]byte](t.Context(), c, "echo", p)
			if err != nil || !bytes.Equal(got, p) {
				t.Errorf("%d bytes: %d came, %v", n, len(got), err)
			}
		})
	}
	callers.Wait()
}

// TestSomeAreCanceledMidway cancels at random moments, and expects that no
// credit is lost by it.
func TestSomeAreCanceledMidway(t *testing.T) {
	small := Windows(256<<10, 64<<10)
	s := listen(t, nil, small, InFlight(64))
	Handle(s, "echo", func(_ context.Context, _ Peer, p []byte) ([]byte, error) { return p, nil })
	HandleStream(s, "endless", endless)
	s.HandleFunc("copy", func(d *Datagram) { d.Set(d.Reader()) })
	c := dial(t, s, small, Timeout(20*time.Second))
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 60 {
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(3*time.Millisecond))
				switch rand.IntN(3) {
				case 0:
					Call[[]byte](ctx, c, "echo", make([]byte, rand.IntN(2<<20)))
				case 1:
					for range CallStream[[]byte](ctx, c, "endless", 1000) {
					}
				default:
					p, _ := (&registry{}).encode(io.LimitReader(zeros{}, 1<<20))
					if k, err := c.send(ctx, "copy", nil, p); err == nil {
						io.Copy(io.Discard, &bytesReader{ctx: ctx, in: k.in})
						k.cancel()
					}
				}
				cancel()
			}
		})
	}
	callers.Wait()
	for range 10 {
		p := make([]byte, 1<<20)
		if got, err := Call[[]byte](t.Context(), c, "echo", p); err != nil || len(got) != len(p) {
			t.Fatal(err)
		}
	}
	runtime.GC() // also what was neither read nor canceled
	cc := c.links[0].cc
	waitFor(t, "every slot to be free", func() bool {
		cc.mu.Lock()
		defer cc.mu.Unlock()
		return len(cc.calls) == 0 && len(cc.ins) == 0
	})
	waitFor(t, "all credit to be back", func() bool {
		cc.mu.Lock()
		cc.out.mu.Lock()
		defer cc.mu.Unlock()
		defer cc.out.mu.Unlock()
		return cc.balance+cc.owed == cc.window && cc.out.balance >= 128<<10 && cc.out.overdrawn == nil && len(cc.out.bulk) == 0
	})
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for", what)
		}
	}
}

// TestBothWaysAtOnce copies a stream back while it is sent, far more than any
// buffer holds.
func TestBothWaysAtOnce(t *testing.T) {
	s := listen(t, func(d *Datagram) { d.Set(d.Reader()) })
	c := dial(t, s)
	const n = 64 << 20
	sent, got := sha256.New(), sha256.New()
	src := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), n), sent)
	d := c.Datagram(src)
	if !d.Send() {
		t.Fatal(d.Err())
	}
	k, err := io.Copy(got, d.Reader())
	if err != nil || k != n || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Fatal(k, err)
	}
}

func TestSourcesThatFail(t *testing.T) {
	s := listen(t, func(d *Datagram) {
		if d.Value() == "broken" {
			d.Set(io.MultiReader(bytes.NewReader(make([]byte, 100_000)), brokenReader{errors.New("disk")}))
			return
		}
		n, err := io.Copy(io.Discard, d.Reader())
		d.Set(n)
		if err != nil {
			d.Fail(err)
		}
	})
	c := dial(t, s)
	d := c.Datagram(io.MultiReader(bytes.NewReader(make([]byte, 100_000)), brokenReader{errors.New("disk")}))
	if d.Send() || !errors.Is(d.Err(), Encode) {
		t.Fatal(d.Err())
	}
	d = c.Datagram("broken")
	if !d.Send() {
		t.Fatal(d.Err())
	}
	n, err := io.Copy(io.Discard, d.Reader())
	var e *Error
	if n != 100_000 || !errors.As(err, &e) || e.Msg != "disk" || !e.Remote {
		t.Fatal(n, err)
	}
}

func TestTooLarge(t *testing.T) {
	s := listen(t, nil, MaxMessage(1<<20))
	big := make([]byte, 2<<20)
	Handle(s, "in", func(_ context.Context, _ Peer, p []byte) (int, error) { return len(p), nil })
	Handle(s, "out", func(_ context.Context, _ Peer, n int) ([]byte, error) { return make([]byte, n), nil })
	c := dial(t, s)
	var e *Error
	if _, err := Call[int](t.Context(), c, "in", big); !errors.As(err, &e) || e.Code != TooLarge || !e.Remote {
		t.Fatal(err)
	}
	if _, err := Call[[]byte](t.Context(), c, "out", 2<<20); !errors.Is(err, TooLarge) {
		t.Fatal(err)
	}
	strict := dial(t, s, MaxMessage(1<<10))
	if _, err := Call[[]byte](t.Context(), strict, "out", 100_000); !errors.As(err, &e) || e.Code != TooLarge || e.Remote || !e.Sent {
		t.Fatal(err)
	}
	if _, err := Call[[]byte](t.Context(), strict, "out", 10_000); !errors.Is(err, TooLarge) {
		t.Fatal(err)
	}
	if _, err := Call[[]byte](t.Context(), strict, "in", big); !errors.As(err, &e) || e.Code != TooLarge || e.Sent {
		t.Fatal(err)
	}
	if n, err := Call[int](t.Context(), strict, "in", big[:1000]); err != nil || n != 1000 {
		t.Fatal(n, err)
	}
}

func TestCompression(t *testing.T) {
	s := listen(t, echo, Compress())
	text := bytes.Repeat([]byte("all work and no play "), 100_000)
	noise := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{}).Read(noise)
	var mu sync.Mutex
	var written int64
	for _, o := range [][]Option{{Compress()}, {}} {
		c := Dial(s.Addr().String(), append(o, Observe(func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			written = max(written, e.Sent)
		}))...)
		if err := c.Ping(t.Context()); err != nil { // both know of each other
			t.Fatal(err)
		}
		for _, v := range [][]byte{text, noise, {1}} {
			d := c.Datagram(v)
			if !d.Send() || !bytes.Equal(d.Value().([]byte), v) {
				t.Fatal(d.Err())
			}
		}
		c.Close()
		mu.Lock()
		if small := written < int64(len(text)); small != (len(o) > 0) {
			t.Errorf("%d bytes written", written)
		}
		written = 0
		mu.Unlock()
	}
}
