package transport

import (
	"bytes"
	"io"
	"runtime"
	"testing"
	"time"

	"clusterbackup/transport/internal/wire"
	"clusterbackup/transport/memnet"
)

// FuzzDecode decodes a peer's bytes as every kind of value. Whatever they are,
// there is no panic, and no more memory than a few times their size.
func FuzzDecode(f *testing.F) {
	for _, v := range []any{1, "a", []any{1, "b"}, map[string]any{"k": 1.5}, []byte("x"), nested{}} {
		p, _ := encodeCBOR(v)
		f.Add(uint8(codecCBOR), p.body)
	}
	p, _ := encodeTyped(&[]record{{1, "a"}, {2, "b"}})
	f.Add(uint8(codecBinArr), p.body)
	f.Add(uint8(codecBinary), []byte{1, 'a'})
	f.Add(uint8(codecCBOR), append([]byte{0x9a, 0, 1, 0, 0}, bytes.Repeat([]byte{0xa0}, 1<<16)...))
	f.Fuzz(func(t *testing.T, codec uint8, body []byte) {
		it := item{codec: uint16(codec) % (codecEnd + 1), body: body, limit: 1 << 20}
		before := allocated()
		(&registry{}).natural(it)
		var n nested
		decodeTyped(it, &n)
		var l []record
		decodeTyped(it, &l)
		var m map[string][]int
		decodeTyped(it, &m)
		if took := allocated() - before; took > 256*small+64*uint64(len(body))+8<<20 {
			t.Fatalf("%d bytes took %d KiB", len(body), took>>10)
		}
	})
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// FuzzElements cuts a stream of bytes, which arrives in pieces, into elements.
func FuzzElements(f *testing.F) {
	f.Add([]byte("\x01a\x02bc\x00"), uint8(2))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		c := &conn{o: gather(nil)}
		c.out.c = c
		in := &incoming{c: c, flags: wire.Stream, codec: codecStream | codecBytes, ready: make(chan struct{}, 1)}
		for rest := b; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			in.push(rest[:n])
			rest = rest[n:]
		}
		in.err = io.EOF
		c.out.closed = true
		var joined []byte
		err := in.items(t.Context(), func(it item) bool {
			joined = appendElement(joined, it.body)
			return true
		})
		if !bytes.HasPrefix(b, joined) && canonical(b, joined) {
			t.Fatalf("%q came out of %q", joined, b)
		}
		if err == io.EOF && len(joined) > len(b) {
			t.Fatalf("%d bytes came out of %d", len(joined), len(b))
		}
	})
}

func appendElement(b, e []byte) []byte {
	s := streamWriter{buf: nil}
	return append(append(b, s.prefix(len(e))...), e...)
}

// canonical reports whether b has no lengths that are longer than needed.
func canonical(b, joined []byte) bool {
	var again []byte
	for rest := b; ; {
		e, r, ok, err := cutElement(rest, 1<<30)
		if err != nil || !ok {
			return bytes.HasPrefix(b, again)
		}
		again, rest = appendElement(again, e), r
	}
}

// FuzzConnection lets a server read a peer's bytes behind a good preface. It
// answers or hangs up; it neither crashes nor blocks.
func FuzzConnection(f *testing.F) {
	f.Add(first(1, wire.Last, wire.Envelope{Method: "m"}, []byte("abc")))
	f.Add(append(first(1, 0, wire.Envelope{Total: 6}, []byte("abc")), frame(wire.Header{Type: wire.Request, Flags: wire.Last, ID: 1}, []byte("def"))...))
	f.Add(append(first(1, wire.Stream, wire.Envelope{}, []byte("\x01a")), frame(wire.Header{Type: wire.Cancel, ID: 1}, nil)...))
	f.Add(frame(wire.Header{Type: wire.Credit}, []byte{1, 0, 0, 0, 0, 0, 0, 0}))
	f.Add(frame(wire.Header{Type: wire.GoAway, ID: 7}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := memnet.Listen("server")
		s := NewServer(InFlight(16), Windows(64<<10, 64<<10), MaxMessage(1<<20), Compress())
		s.HandleFunc("m", func(d *Datagram) { d.Set(d.Value()) })
		served := make(chan struct{})
		go func() { defer close(served); s.Serve(l) }()
		looped := make(chan struct{})
		go func() {
			defer close(looped)
			for d := range s.All() {
				d.Set(d.Len())
			}
		}()
		nc, err := l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() { defer close(read); io.Copy(io.Discard, nc) }()
		nc.SetWriteDeadline(time.Now().Add(5 * time.Second))
		nc.Write(politePreface.Append(nil))
		nc.Write(b)
		nc.Close()
		<-read
		done := make(chan struct{})
		go func() { defer close(done); s.Shutdown(t.Context()) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the server does not end")
		}
		<-served
		<-looped
	})
}
