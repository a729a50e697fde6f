package transport

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// serveLoop starts a server whose loop is given, and returns a client of it.
func serveLoop(t *testing.T, loop func(*Server), opts ...Option) *Client {
	t.Helper()
	s := listen(t, nil, opts...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		loop(s)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return dial(t, s)
}

func TestEveryExitOfTheBodyReplies(t *testing.T) {
	loops := map[string]func(*Server){
		"end": func(s *Server) {
			for d := range s.All() {
				d.Set("answer")
			}
		},
		"continue": func(s *Server) {
			for d := range s.All() {
				d.Set("answer")
				continue
			}
		},
		"break": func(s *Server) {
			for d := range s.All() {
				d.Set("answer")
				break
			}
		},
		"return": func(s *Server) {
			for d := range s.All() {
				d.Set("answer")
				return
			}
		},
		"goto": func(s *Server) {
		again:
			for d := range s.All() {
				d.Set("answer")
				goto again
			}
		},
	}
	for name, loop := range loops {
		t.Run(name, func(t *testing.T) {
			d := serveLoop(t, loop).Datagram("question")
			if !d.Send() || d.Value() != "answer" {
				t.Fatal(d.Value(), d.Err())
			}
		})
	}
}

func TestBodyThatDoesNotReturn(t *testing.T) {
	t.Run("panic", func(t *testing.T) {
		recovered := make(chan any, 1)
		c := serveLoop(t, func(s *Server) {
			defer func() { recovered <- recover() }()
			for range s.All() {
				panic("boom")
			}
		})
		d := c.Datagram(1)
		if d.Send() || !errors.Is(d.Err(), Panicked) {
			t.Fatal(d.Err())
		}
		if p := <-recovered; p != "boom" {
			t.Fatalf("the loop's goroutine got %v", p)
		}
		if strings.Contains(d.Err().Error(), "boom") {
			t.Fatal("the panic's value was told to the client")
		}
	})
	t.Run("Goexit", func(t *testing.T) {
		c := serveLoop(t, func(s *Server) {
			for range s.All() {
				runtime.Goexit()
			}
		})
		d := c.Datagram(1)
		if d.Send() || !errors.Is(d.Err(), Panicked) {
			t.Fatal(d.Err())
		}
	})
	t.Run("panic inside a stream", func(t *testing.T) {
		c := serveLoop(t, func(s *Server) {
			defer func() { recover() }()
			for d := range s.All() {
				d.Set(func(yield func(int) bool) {
					yield(1)
					panic("boom")
				})
			}
		})
		d := c.Datagram(1)
		if !d.Send() {
			t.Fatal(d.Err())
		}
		n := 0
		for range d.All() {
			n++
		}
		if n != 1 || !errors.Is(d.Err(), Panicked) {
			t.Fatal(n, d.Err())
		}
	})
}

func TestNothingSetAnswersWithNothing(t *testing.T) {
	c := dial(t, listen(t, func(*Datagram) {}))
	d := c.Datagram("x")
	if !d.Send() || d.Value() != nil || d.Len() != 0 {
		t.Fatal(d.Value(), d.Err())
	}
}

func TestFail(t *testing.T) {
	const Full Code = "full"
	c := dial(t, listen(t, func(d *Datagram) {
		switch d.Value() {
		case "code":
			d.Fail(Full)
		case "error":
			d.Fail(errors.New("plain"))
		case "back":
			d.Fail(Full)
			d.Fail(nil)
			d.Set("fine")
		}
	}))
	d := c.Datagram("code")
	if d.Send() || d.OK() || !errors.Is(d.Err(), Full) || d.Value() != "code" {
		t.Fatal(d.Err(), d.Value())
	}
	d = c.Datagram("error")
	var e *Error
	if d.Send() || !errors.As(d.Err(), &e) || *e != (Error{Code: Failed, Msg: "plain", Remote: true, Sent: true}) {
		t.Fatal(d.Err())
	}
	d = c.Datagram("back")
	if !d.Send() || !d.OK() || d.Value() != "fine" {
		t.Fatal(d.Err())
	}
}

func TestEachGoroutineHasItsOwnLoop(t *testing.T) {
	s := listen(t, nil)
	const n = 8
	var loops sync.WaitGroup
	together := make(chan struct{})
	inside := make(chan struct{}, n)
	for range n {
		loops.Go(func() {
			for d := range s.All() {
				inside <- struct{}{}
				<-together
				d.Set(d.Value())
			}
		})
	}
	c := dial(t, s)
	var sends sync.WaitGroup
	for i := range n {
		sends.Go(func() {
			if d := c.Datagram(i); !d.Send() || d.Value() != i {
				t.Error(d.Value(), d.Err())
			}
		})
	}
	for range n {
		select {
		case <-inside:
		case <-time.After(10 * time.Second):
			t.Fatal("bodies do not run side by side")
		}
	}
	close(together)
	sends.Wait()
	s.Shutdown(t.Context())
	loops.Wait()
}

func TestDetach(t *testing.T) {
	held := make(chan *Datagram, 2)
	c := dial(t, listen(t, func(d *Datagram) {
		d.Detach()
		held <- d
	}))
	answers := make(chan any)
	for _, v := range []string{"a", "b"} {
		go func() {
			d := c.Datagram(v)
			d.Send()
			answers <- d.Value()
		}()
	}
	for range 2 {
		d := <-held
		v := d.Value().(string)
		d.Set(v + v)
		d.Reply()
		d.Reply() // once is enough
		if got := <-answers; got != v+v {
			t.Fatal(got)
		}
	}
}

func TestMiddlewareGoesRoundTheBody(t *testing.T) {
	var mu sync.Mutex
	var log []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, s)
	}
	outer := func(d *Datagram, next func()) {
		note("in " + d.Header("trace") + d.Method())
		next()
		if d.Err() != nil {
			note("out " + d.Err().Error())
		} else {
			note("out")
		}
	}
	inner := func(d *Datagram, next func()) {
		if d.Header("pass") == "" {
			d.Fail(Denied)
			return
		}
		next()
	}
	s := listen(t, echo, Use(outer, inner))
	Handle(s, "m", func(_ context.Context, _ Peer, s string) (string, error) { return s, nil })
	sign := func(d *Datagram, next func()) {
		d.SetHeader("pass", "yes")
		next()
	}
	c, signed := dial(t, s), dial(t, s, Use(sign))
	d := c.Datagram("x")
	d.SetHeader("trace", "7")
	if d.Send() || !errors.Is(d.Err(), Denied) {
		t.Fatal(d.Err())
	}
	if d = signed.Datagram("x"); !d.Send() || d.Value() != "x" {
		t.Fatal(d.Err())
	}
	if v, err := Call[string](t.Context(), signed, "m", "y"); err != nil || v != "y" {
		t.Fatal(v, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(log, ", "); got != "in 7, out denied, in , out, in m, out" {
		t.Fatal(got)
	}
}

func TestListFace(t *testing.T) {
	d := Dial("nowhere").Datagram("a", 2, []byte("c"))
	if d.Len() != 3 || d.At(1) != 2 || d.At(3) != nil || !d.Contains("a") || d.Contains("b") || !d.Contains([]byte("c")) {
		t.Fatal(d.Value())
	}
	n := 0
	for v := range d.All() {
		if n == 0 && v != "a" {
			t.Fatal(v)
		}
		n++
	}
	if n != 3 {
		t.Fatal(n)
	}
	for _, c := range []struct {
		v any
		n int
	}{{nil, 0}, {"", 1}, {"text", 1}, {[]byte("bytes"), 1}, {[]string{"a", "b"}, 2}, {map[string]any{}, 1}, {[]any{}, 0}} {
		if d.Set(c.v); d.Len() != c.n {
			t.Errorf("%T: %d", c.v, d.Len())
		}
	}
}
