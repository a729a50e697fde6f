package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestHeaderIsWrittenAsSpecified(t *testing.T) {
	h := Header{Type: Reply, Flags: First | Stream, Codec: 0x1234, Len: 0x1000, ID: 0x0102030405060708}
	want := []byte{2, 9, 0x34, 0x12, 0, 0x10, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1}
	if got := h.Append(nil); !bytes.Equal(got, want) {
		t.Fatalf("%x", got)
	}
	if got, err := ParseHeader(want); err != nil || got != h {
		t.Fatal(got, err)
	}
}

func TestPrefaceIsWrittenAsSpecified(t *testing.T) {
	p := Preface{MinVersion: 1, MaxVersion: 3, Features: 1, MaxFrame: 1 << 16, Window: 8 << 20, StreamWindow: 1 << 20, InFlight: 1024}
	b := p.Append(nil)
	want := []byte("dg\r\n\x01\x03\x01\x00\x00\x00\x01\x00\x00\x00\x80\x00\x00\x00\x10\x00\x00\x04\x00\x00")
	if !bytes.Equal(b, want) {
		t.Fatalf("%q", b)
	}
	if got, err := ParsePreface(b); err != nil || got != p {
		t.Fatal(got, err)
	}
}

func TestEnvelopeBounds(t *testing.T) {
	many := Envelope{Headers: make([]Field, MaxHeaders+1)}
	long := Envelope{Headers: []Field{{"k", strings.Repeat("v", MaxEnvelope)}}}
	name := Envelope{Method: strings.Repeat("m", MaxMethod+1)}
	for _, e := range []Envelope{many, long, name} {
		if e.Check() == nil {
			t.Error("would be sent")
		}
		if _, _, err := ParseEnvelope(e.Append(nil)); !errors.Is(err, ErrProtocol) {
			t.Error("would be accepted")
		}
	}
	most := Envelope{Timeout: time.Hour, Type: 1<<32 - 1, Total: 1<<64 - 1, Method: name.Method[1:], Headers: make([]Field, MaxHeaders)}
	if err := most.Check(); err != nil {
		t.Fatal(err)
	}
	got, rest, err := ParseEnvelope(append(most.Append(nil), "body"...))
	if err != nil || !reflect.DeepEqual(got, most) || string(rest) != "body" {
		t.Fatal(got, rest, err)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(Header{Type: Request, Flags: First | Last, Codec: 3, Len: 9, ID: 1}.Append(nil))
	f.Add(AppendCredit(nil, 7, 1<<20))
	f.Add(bytes.Repeat([]byte{0xff}, HeaderLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderLen {
			return
		}
		h, err := ParseHeader(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		if h.Len > MaxPayload || h.Type == 0 || h.Type >= lastType {
			t.Fatalf("%+v was accepted", h)
		}
		if !bytes.Equal(h.Append(nil), b[:HeaderLen]) {
			t.Fatalf("%+v is not what was read", h)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	e := Envelope{Timeout: time.Second, Type: 99, Total: 1 << 20, Method: "m", Headers: []Field{{"k", "v"}}}
	f.Add(append(e.Append(nil), "body"...))
	f.Add([]byte{0, 0, 0, 0, 64})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		allocated := testing.AllocsPerRun(1, func() { ParseEnvelope(b) })
		if allocated > 8+2*float64(len(b)) {
			t.Fatalf("%d bytes took %v allocations", len(b), allocated)
		}
		e, rest, err := ParseEnvelope(b)
		if err != nil {
			return
		}
		again, rest2, err := ParseEnvelope(append(e.Append(nil), rest...))
		if err != nil || !reflect.DeepEqual(e, again) || !bytes.Equal(rest, rest2) {
			t.Fatal(e, again, err)
		}
	})
}

func FuzzPreface(f *testing.F) {
	f.Add(Preface{MinVersion: 1, MaxVersion: 1, MaxFrame: MaxPayload, Window: MinWindow, StreamWindow: MinWindow, InFlight: MinInFlight}.Append(nil))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a.b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < PrefaceLen {
			return
		}
		p, err := ParsePreface(b)
		if err != nil {
			return
		}
		if p.Window < MinWindow || p.StreamWindow < MinWindow || p.InFlight < MinInFlight || !bytes.Equal(p.Append(nil), b[:PrefaceLen]) {
			t.Fatalf("%+v", p)
		}
	})
}

func FuzzFailure(f *testing.F) {
	f.Add(AppendFailure(nil, "code", "message"))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		code, msg, err := ParseFailure(b)
		if err != nil {
			return
		}
		if c, m, err := ParseFailure(AppendFailure(nil, code, msg)); c != code || m != msg || err != nil {
			t.Fatal(c, m, err)
		}
	})
}
