package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen starts a server on loopback whose datagrams are answered by body.
func listen(t *testing.T, body func(*Datagram), opts ...Option) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", opts...)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if body != nil {
			s.Each(4, body)
		}
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return s
}

func dial(t *testing.T, s *Server, opts ...Option) *Client {
	t.Helper()
	c := Dial(s.Addr().String(), opts...)
	t.Cleanup(func() { c.Close() })
	return c
}

func echo(d *Datagram) { d.Set(d.Value()) }

func TestValuesArriveAsTheyWere(t *testing.T) {
	c := dial(t, listen(t, echo))
	now := time.Now().Round(0).UTC()
	for _, v := range []any{
		nil, "text", "", []byte("bytes"), true, 1, -1, 1 << 40, 1.5, now,
		[]any{1, "two", []any{3}, nil},
		map[string]any{"a": 1, "b": []any{"c"}},
		map[any]any{1: "a", "b": 2},
		strings.Repeat("long ", 100_000),
		bytes.Repeat([]byte{1, 2, 3}, 5<<20),
	} {
		d := c.Datagram(v)
		if !d.Send() {
			t.Fatalf("%T: %v", v, d.Err())
		}
		if got := d.Value(); !reflect.DeepEqual(got, v) {
			t.Errorf("sent %T %.60v, got %T %.60v (%v)", v, v, got, got, d.Err())
		}
	}
}

func TestSharedDatagram(t *testing.T) {
	s := listen(t, func(d *Datagram) { d.Set(strings.ToUpper(d.Value().(string))) })
	d := New(s.Addr().String(), "quiet")
	if !d.Send() || d.Value() != "QUIET" {
		t.Fatal(d.Value(), d.Err())
	}
	t.Cleanup(closeShared)
}

// closeShared closes the clients behind New.
func closeShared() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for k, s := range shared.clients {
		s.c.Close()
		if s.idle != nil {
			s.idle.Stop()
		}
		delete(shared.clients, k)
	}
}

type point struct {
	X, Y int
	Name string
}

func TestCall(t *testing.T) {
	s := listen(t, nil)
	Handle(s, "mirror", func(_ context.Context, p Peer, q point) (*point, error) {
		if q.Name == "bad" {
			return nil, &Error{Code: "no-name", Msg: "no such point"}
		}
		return &point{q.Y, q.X, q.Name + p.Addr().Network()}, nil
	})
	c := dial(t, s)
	got, err := Call[point](t.Context(), c, "mirror", point{1, 2, "a"})
	if err != nil || got != (point{2, 1, "atcp"}) {
		t.Fatal(got, err)
	}
	_, err = Call[point](t.Context(), c, "mirror", point{Name: "bad"})
	var e *Error
	if !errors.As(err, &e) || !e.Remote || e.Code != "no-name" || e.Msg != "no such point" || !errors.Is(err, Code("no-name")) {
		t.Fatal(err)
	}
	if _, err = Call[point](t.Context(), c, "other", point{}); !errors.Is(err, Unknown) {
		t.Fatal(err)
	}
}

func TestStreams(t *testing.T) {
	s := listen(t, func(d *Datagram) {
		n, _ := As[int](d)
		d.Set(func(yield func(point) bool) {
			for i := range n {
				if !yield(point{i, -i, "p"}) {
					return
				}
			}
		})
	})
	canceled := make(chan struct{})
	HandleStream(s, "count", func(ctx context.Context, _ Peer, n int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for i := 0; ; i++ {
				if i == n {
					yield(0, errors.New("enough"))
					return
				}
				if !yield(i, nil) {
					close(canceled)
					return
				}
			}
		}
	})
	c := dial(t, s)
	d := c.Datagram(100_000)
	if !d.Send() {
		t.Fatal(d.Err())
	}
	i := 0
	for p, err := range Each[point](d) {
		if err != nil || p != (point{i, -i, "p"}) {
			t.Fatal(i, p, err)
		}
		i++
	}
	if i != 100_000 {
		t.Fatal(i)
	}
	i = 0
	for n, err := range CallStream[int](t.Context(), c, "count", 1000) {
		if i == 1000 {
			var e *Error
			if !errors.As(err, &e) || e.Msg != "enough" || !e.Remote {
				t.Fatal(err)
			}
		} else if err != nil || n != i {
			t.Fatal(n, err)
		}
		i++
	}
	if i != 1001 {
		t.Fatal(i)
	}
	for n, err := range CallStream[int](t.Context(), c, "count", -1) {
		if err != nil {
			t.Fatal(err)
		}
		if n == 10 {
			break
		}
	}
	select {
	case <-canceled:
	case <-time.After(5 * time.Second):
		t.Fatal("the handler was not told")
	}
}

func TestReader(t *testing.T) {
	s := listen(t, func(d *Datagram) {
		n, err := io.Copy(io.Discard, d.Reader())
		d.Set(fmt.Sprint(n, err))
	})
	c := dial(t, s)
	d := c.Datagram(io.LimitReader(zeros{}, 100<<20))
	if !d.Send() || d.Value() != "104857600 <nil>" {
		t.Fatal(d.Value(), d.Err())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestUnreachable(t *testing.T) {
	c := Dial("127.0.0.1:1")
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Call[int](ctx, c, "x", 1)
	if !errors.Is(err, Unavailable) {
		t.Fatal(err)
	}
	f := Dial("127.0.0.1:1", FailFast())
	defer f.Close()
	if _, err := Call[int](t.Context(), f, "x", 1); !errors.Is(err, Unavailable) {
		t.Fatal(err)
	}
}
