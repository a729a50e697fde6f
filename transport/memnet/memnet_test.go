package memnet

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestBytesGoBothWays(t *testing.T) {
	l := Listen("x")
	c, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, _ := l.Accept()
	for _, way := range []struct{ from, to net.Conn }{{c, s}, {s, c}} {
		big := make([]byte, 3*Buffer)
		big[len(big)-1] = 7
		go func() {
			way.from.Write(big)
		}()
		got := make([]byte, len(big))
		if _, err := io.ReadFull(way.to, got); err != nil || got[len(got)-1] != 7 {
			t.Fatal(err)
		}
	}
	s.Write([]byte("bye"))
	s.Close()
	if b, err := io.ReadAll(c); err != nil || string(b) != "bye" {
		t.Fatal(b, err)
	}
	l.Close()
	if _, err := l.Dial(t.Context()); err == nil {
		t.Fatal("a closed listener took a connection")
	}
}

func TestDeadlinesAndFreezing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen("x")
		c, _ := l.Dial(context.Background())
		s, _ := l.Accept()
		c.SetReadDeadline(time.Now().Add(time.Hour))
		start := time.Now()
		if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(start) != time.Hour {
			t.Fatal(err, time.Since(start))
		}
		c.SetReadDeadline(time.Time{})
		l.Freeze()
		s.Write([]byte("x"))
		s.SetWriteDeadline(time.Now().Add(time.Minute))
		if n, err := s.Write(make([]byte, 2*Buffer)); err == nil || n != Buffer-1 {
			t.Fatal(n, err)
		}
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal(n)
		}
		l.Cut()
		if _, err := c.Write([]byte("x")); err == nil {
			t.Fatal("wrote on a cut connection")
		}
	})
}
