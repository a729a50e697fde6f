package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"clusterbackup/transport/internal/wire"
)

// rogue is a peer that writes what it likes.
type rogue struct {
	t  *testing.T
	nc net.Conn
}

func newRogue(t *testing.T, s *Server) *rogue {
	t.Helper()
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &rogue{t, nc}
}

var politePreface = wire.Preface{
	MinVersion: 1, MaxVersion: 1, Features: wire.FeatureZstd,
	MaxFrame: wire.MaxPayload, Window: 8 << 20, StreamWindow: 1 << 20, InFlight: 1024,
}

func (r *rogue) greet() *rogue {
	r.write(politePreface.Append(nil))
	return r
}

// write ignores errors: the server may have hung up already.
func (r *rogue) write(b []byte) error {
	r.nc.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := r.nc.Write(b)
	return err
}

func frame(h wire.Header, payload []byte) []byte {
	h.Len = uint32(len(payload))
	return append(h.Append(nil), payload...)
}

func first(id uint64, flags wire.Flags, env wire.Envelope, body []byte) []byte {
	return frame(wire.Header{Type: wire.Request, Flags: wire.First | flags, Codec: codecBytes, ID: id}, append(env.Append(nil), body...))
}

// hungUp waits for the server to end the connection.
func (r *rogue) hungUp() {
	r.t.Helper()
	r.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := io.Copy(io.Discard, r.nc)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Fatal("the server keeps the connection")
	}
}

// next reads frames until one of a type arrives.
func (r *rogue) next(typ wire.Type) (wire.Header, []byte) {
	r.t.Helper()
	r.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		var b [wire.HeaderLen]byte
		if _, err := io.ReadFull(r.nc, b[:]); err != nil {
			r.t.Fatal("waiting for a frame:", err)
		}
		h, err := wire.ParseHeader(b[:])
		if err != nil {
			r.t.Fatal(err)
		}
		p := make([]byte, h.Len)
		io.ReadFull(r.nc, p)
		if h.Type == typ {
			return h, p
		}
	}
}

func (r *rogue) preface() *rogue {
	r.t.Helper()
	if _, err := io.ReadFull(r.nc, make([]byte, wire.PrefaceLen)); err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *rogue) failure(id uint64, code Code) {
	r.t.Helper()
	h, p := r.next(wire.Failure)
	got, _, err := wire.ParseFailure(p)
	if err != nil || h.ID != id || Code(got) != code {
		r.t.Fatalf("failure %q of %d (%v), expected %q of %d", got, h.ID, err, code, id)
	}
}

// fine checks that others are served as if nothing was.
func fine(t *testing.T, s *Server) {
	t.Helper()
	c := dial(t, s, Timeout(10*time.Second))
	if d := c.Datagram("x"); !d.Send() || d.Value() != "x" {
		t.Fatal("others are not served:", d.Err())
	}
}

func TestBytesNoPeerSends(t *testing.T) {
	hello := politePreface.Append(nil)
	with := func(frames ...[]byte) []byte { return append(bytes.Clone(hello), bytes.Join(frames, nil)...) }
	old := politePreface
	old.MinVersion, old.MaxVersion = 7, 9
	credit := make([]byte, 8)
	binary.LittleEndian.PutUint64(credit, 1<<30)
	for name, b := range map[string][]byte{
		"another protocol":       []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"another version":        old.Append(nil),
		"length 2^32-1":          with(wire.Header{Type: wire.Request, Flags: wire.First, ID: 1, Len: 1<<32 - 1}.Append(nil)),
		"unknown type":           with(frame(wire.Header{Type: 99, ID: 1}, nil)),
		"unknown flags":          with(frame(wire.Header{Type: wire.Request, Flags: 0xf0, ID: 1}, []byte{1})),
		"no id":                  with(first(0, wire.Last, wire.Envelope{}, nil)),
		"a reply":                with(frame(wire.Header{Type: wire.Reply, Flags: wire.First | wire.Last, ID: 1}, (&wire.Envelope{}).Append(nil))),
		"a duplicate id":         with(first(1, 0, wire.Envelope{}, []byte("a")), first(1, 0, wire.Envelope{}, []byte("b"))),
		"an id that is used up":  with(first(9, wire.Last, wire.Envelope{}, nil), first(3, wire.Last, wire.Envelope{}, nil)),
		"an envelope cut short":  with(frame(wire.Header{Type: wire.Request, Flags: wire.First, ID: 1}, []byte{0, 0, 0, 200})),
		"credit overflow":        with(frame(wire.Header{Type: wire.Credit}, credit), frame(wire.Header{Type: wire.Credit}, credit)),
		"credit of nothing":      with(frame(wire.Header{Type: wire.Credit}, make([]byte, 8))),
		"an empty middle":        with(first(1, 0, wire.Envelope{}, []byte("a")), frame(wire.Header{Type: wire.Request, ID: 1}, nil)),
		"a stream turned whole":  with(first(1, wire.Stream, wire.Envelope{}, []byte("a")), frame(wire.Header{Type: wire.Request, ID: 1}, []byte("b"))),
		"a stream over its rate": with(first(1, wire.Stream, wire.Envelope{}, []byte("a")), bytes.Repeat(frame(wire.Header{Type: wire.Request, Flags: wire.Stream, ID: 1}, make([]byte, 60<<10)), 40)),
		"a compressed stream":    with(first(1, wire.Stream|wire.Compressed, wire.Envelope{}, []byte("a"))),
	} {
		t.Run(name, func(t *testing.T) {
			s := listen(t, echoWhole)
			r := newRogue(t, s)
			r.write(b)
			r.hungUp()
			fine(t, s)
		})
	}
}

// echoWhole leaves streams alone, so that they fill up.
func echoWhole(d *Datagram) {
	if d.streaming() {
		<-d.Context().Done()
		return
	}
	echo(d)
}

func TestTotalOf2To63(t *testing.T) {
	s := listen(t, echo)
	r := newRogue(t, s).greet().preface()
	before := heap()
	r.write(first(1, 0, wire.Envelope{Total: 1 << 63}, []byte("a")))
	r.failure(1, TooLarge)
	for id := uint64(2); id < 500; id++ { // within MaxMessage, but only said
		r.write(first(id, 0, wire.Envelope{Total: 64 << 20}, []byte("a")))
		r.write(frame(wire.Header{Type: wire.Request, ID: id}, []byte("b")))
	}
	r.write(frame(wire.Header{Type: wire.Ping, ID: 1}, nil))
	r.next(wire.Pong)
	if grown := heap() - before; grown > 500*(wire.MaxPayload+4<<10) {
		t.Fatalf("messages of two bytes hold %d KiB", grown>>10)
	}
	fine(t, s) // the connection's fault is not the server's
	if err := r.write(first(500, wire.Last, wire.Envelope{}, []byte("a"))); err != nil {
		t.Fatal("nor that of what is sent later:", err)
	}
	r.next(wire.Reply)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestManyFirstsWithoutLast(t *testing.T) {
	s := listen(t, echo)
	r := newRogue(t, s).greet()
	before := heap()
	go io.Copy(io.Discard, r.nc)
	for id := uint64(1); id <= 100_000; id++ {
		if r.write(first(id, 0, wire.Envelope{}, []byte("a"))) != nil {
			break
		}
	}
	fine(t, s)
	if grown := heap() - before; grown > defaultInFlight*(4<<10)+8<<20 {
		t.Fatalf("%d KiB held", grown>>10)
	}
}

// TestServerStaysWithinItsBounds states how much memory a connection can make
// a server hold, whatever is sent on it:
//
//	twice the window (it doubles once) + one message that overdraws
//	+ InFlight × (an envelope + 64 KiB that a message may announce)
//	+ maxHolding messages in bodies + 4 MiB of answers that are not read
func TestServerStaysWithinItsBounds(t *testing.T) {
	const (
		inFlight = 16
		window   = 64 << 10
		message  = 1 << 20
		bound    = 2*window + message + inFlight*(wire.MaxEnvelope+wire.MaxPayload) + maxHolding*message + maxSteering
	)
	options := []Option{InFlight(inFlight), Windows(window, window), MaxMessage(message)}
	attacks := map[string]func(r *rogue, id uint64) []byte{
		"messages that never end": func(r *rogue, id uint64) []byte {
			return append(first(id, 0, wire.Envelope{Total: message}, nil), frame(wire.Header{Type: wire.Request, ID: id}, make([]byte, 60<<10))...)
		},
		"streams that nobody reads": func(r *rogue, id uint64) []byte {
			return first(id, wire.Stream, wire.Envelope{Method: "stay"}, make([]byte, 1<<10))
		},
		"headers": func(r *rogue, id uint64) []byte {
			return first(id, 0, wire.Envelope{Headers: []wire.Field{{Key: "k", Value: string(make([]byte, 15<<10))}}}, nil)
		},
		"requests whose replies are not read": func(r *rogue, id uint64) []byte {
			return first(id, wire.Last, wire.Envelope{}, make([]byte, 8<<10))
		},
		"pings": func(r *rogue, id uint64) []byte {
			return bytes.Repeat(frame(wire.Header{Type: wire.Ping, ID: id}, nil), 1000)
		},
		"requests that are refused": func(r *rogue, id uint64) []byte {
			return first(id, wire.Last, wire.Envelope{Method: "none"}, nil)
		},
		"requests that are canceled": func(r *rogue, id uint64) []byte {
			return append(first(id, wire.Last, wire.Envelope{}, make([]byte, 1<<10)), frame(wire.Header{Type: wire.Cancel, ID: id}, nil)...)
		},
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			s := listen(t, echo, options...)
			s.HandleFunc("stay", func(d *Datagram) { <-d.Context().Done() })
			fine(t, s)
			before := heap()
			r := newRogue(t, s).greet()
			r.nc.(*net.TCPConn).SetWriteBuffer(64 << 10)
			sent := 0
			for id := uint64(1); id < 20_000 && sent < 64<<20; id++ {
				b := attack(r, id)
				r.nc.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				if _, err := r.nc.Write(b); err != nil {
					break // hung up, or takes no more: both are fine
				}
				sent += len(b)
			}
			grown := heap() - before
			t.Logf("%d KiB sent, %d KiB held, bound %d KiB", sent>>10, grown>>10, bound>>10)
			if grown > bound {
				t.Fatalf("%d KiB held, the bound is %d KiB", grown>>10, bound>>10)
			}
			fine(t, s)
		})
	}
}

func TestCompressedBomb(t *testing.T) {
	s := listen(t, func(d *Datagram) {
		d.Set(d.Value())
	}, Compress(), MaxMessage(1<<20))
	e, _ := zstd.NewWriter(nil)
	bomb := e.EncodeAll(make([]byte, 64<<20), nil)
	r := newRogue(t, s).greet().preface()
	before := heap()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	start := m.TotalAlloc
	r.write(first(1, wire.Last|wire.Compressed, wire.Envelope{}, bomb))
	r.failure(1, TooLarge)
	runtime.ReadMemStats(&m)
	if m.TotalAlloc-start > 32<<20 || heap()-before > 16<<20 {
		t.Fatalf("a bomb of %d KiB took %d KiB", len(bomb)>>10, (m.TotalAlloc-start)>>10)
	}
	fine(t, s)
}

func TestSlowWriters(t *testing.T) {
	whole := append(politePreface.Append(nil), first(1, wire.Last, wire.Envelope{}, []byte("abc"))...)
	t.Run("are heard", func(t *testing.T) {
		s := listen(t, echo)
		r := newRogue(t, s)
		for i := range whole {
			r.write(whole[i : i+1])
		}
		r.preface().next(wire.Reply)
	})
	for _, at := range []int{0, 1, wire.PrefaceLen - 1} {
		s := listen(t, echo, Keepalive(100*time.Millisecond, 200*time.Millisecond))
		r := newRogue(t, s)
		r.write(whole[:at])
		r.hungUp()
		fine(t, s)
	}
	for _, at := range []int{wire.PrefaceLen, wire.PrefaceLen + 1, wire.PrefaceLen + wire.HeaderLen, len(whole) - 1} {
		s := listen(t, echo, Keepalive(100*time.Millisecond, 200*time.Millisecond))
		r := newRogue(t, s)
		r.write(whole[:at])
		r.hungUp() // it does not answer the ping
		fine(t, s)
	}
}

func TestPeerThatTakesNothing(t *testing.T) {
	s := listen(t, echo)
	r := newRogue(t, s).greet()
	r.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	blocked := false
	for id := uint64(1); id < 2000; id++ {
		r.nc.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := r.nc.Write(first(id, wire.Last, wire.Envelope{}, make([]byte, 60<<10))); err != nil {
			blocked = true
			break
		}
	}
	if !blocked {
		t.Log("the server discards what it can't answer")
	}
	fine(t, s)
	start := time.Now()
	s.Close()
	if took := time.Since(start); took > 5*time.Second {
		t.Fatal("closing took", took)
	}
}

func TestTooManyConnections(t *testing.T) {
	s := listen(t, echo, Conns(2))
	a, b := newRogue(t, s).greet().preface(), newRogue(t, s).greet().preface()
	newRogue(t, s).hungUp()
	a.nc.Close()
	b.nc.Close()
	deadline := time.Now().Add(10 * time.Second)
	for c := dial(t, s); c.Ping(t.Context()) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the places are not free again")
		}
	}
}

// TestServerThatMisbehaves has the client meet what no server sends.
func TestServerThatMisbehaves(t *testing.T) {
	reply := func(id uint64, flags wire.Flags, env wire.Envelope, body []byte) []byte {
		return frame(wire.Header{Type: wire.Reply, Flags: wire.First | flags, Codec: codecBytes, ID: id}, append(env.Append(nil), body...))
	}
	for name, c := range map[string]struct {
		answer []byte
		code   Code
	}{
		"hangs up":                  {nil, Unavailable},
		"another protocol":          {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), Unavailable},
		"reply to nothing":          {reply(77, wire.Last, wire.Envelope{}, nil), Unavailable},
		"a request":                 {first(1, wire.Last, wire.Envelope{}, nil), Unavailable},
		"half a reply":              {reply(1, 0, wire.Envelope{Total: 10}, []byte("abc")), Unavailable},
		"reply said to be huge":     {reply(1, 0, wire.Envelope{Total: 1 << 60}, []byte("abc")), TooLarge},
		"a value that is no value":  {frame(wire.Header{Type: wire.Reply, Flags: wire.First | wire.Last, Codec: codecCBOR, ID: 1}, append((&wire.Envelope{}).Append(nil), 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)), Decode},
		"a codec that is no codec":  {frame(wire.Header{Type: wire.Reply, Flags: wire.First | wire.Last, Codec: 999, ID: 1}, (&wire.Envelope{}).Append(nil)), Decode},
		"a failure without a code":  {frame(wire.Header{Type: wire.Failure, ID: 1}, []byte{0, 0}), Unavailable},
		"it goes away and hangs up": {frame(wire.Header{Type: wire.GoAway, ID: 1}, nil), Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				defer nc.Close()
				if name != "another protocol" {
					nc.Write(politePreface.Append(nil))
				}
				io.ReadFull(nc, make([]byte, wire.PrefaceLen+wire.HeaderLen))
				nc.Write(c.answer)
				if c.code == TooLarge {
					io.Copy(io.Discard, nc)
				}
			}()
			client := Dial(l.Addr().String(), Timeout(10*time.Second), FailFast())
			defer client.Close()
			d := client.Datagram("x")
			ok := d.Send()
			d.Value()
			if err := d.Err(); !errors.Is(err, c.code) {
				t.Fatal(ok, err)
			}
		})
	}
}
