package wire

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Bounds of an envelope.
const (
	MaxEnvelope = 16 << 10 // bytes, all together
	MaxHeaders  = 64
	MaxMethod   = 255
	maxTimeout  = 1 << 40 // milliseconds: 35 years
)

// Envelope is what a message's first frame carries in front of the body, all
// as varints and counted strings: timeout in milliseconds (0 is none), hash of
// the registered type (0 is none), size of the whole body (a hint; 0 when
// unknown), method, number of headers, headers.
type Envelope struct {
	Timeout time.Duration
	Type    uint32
	Total   uint64
	Method  string
	Headers []Field
}

// Field is one header.
type Field struct{ Key, Value string }

// Append appends the envelope's bytes to b.
func (e *Envelope) Append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64((e.Timeout+time.Millisecond-1)/time.Millisecond))
	b = binary.AppendUvarint(b, uint64(e.Type))
	b = binary.AppendUvarint(b, e.Total)
	b = appendString(b, e.Method)
	b = binary.AppendUvarint(b, uint64(len(e.Headers)))
	for _, h := range e.Headers {
		b = appendString(b, h.Key)
		b = appendString(b, h.Value)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Check says whether the envelope is within the bounds, before it is sent.
func (e *Envelope) Check() error {
	n := 32 + len(e.Method)
	for _, h := range e.Headers {
		n += 6 + len(h.Key) + len(h.Value)
	}
	switch {
	case len(e.Method) > MaxMethod:
		return fmt.Errorf("method name of %d bytes, at most %d are allowed", len(e.Method), MaxMethod)
	case len(e.Headers) > MaxHeaders:
		return fmt.Errorf("%d headers, at most %d are allowed", len(e.Headers), MaxHeaders)
	case n > MaxEnvelope:
		return fmt.Errorf("headers of %d bytes, at most %d are allowed", n, MaxEnvelope)
	}
	return nil
}

// ParseEnvelope reads an envelope from the front of p and returns it with the
// rest, the body. Strings are copies; the rest is part of p.
func ParseEnvelope(p []byte) (Envelope, []byte, error) {
	var e Envelope
	rest, err := e.Parse(p, "")
	return e, rest, err
}

// Parse is ParseEnvelope into e. If the method is likely, it shares likely's
// memory.
func (e *Envelope) Parse(p []byte, likely string) ([]byte, error) {
	*e = Envelope{}
	r := reader{rest: p}
	e.Timeout = time.Duration(r.uvarint(maxTimeout)) * time.Millisecond
	e.Type = uint32(r.uvarint(1<<32 - 1))
	e.Total = r.uvarint(1<<64 - 1)
	e.Method = r.stringLike(MaxMethod, likely)
	n := r.uvarint(MaxHeaders)
	if n > 0 && !r.bad {
		e.Headers = make([]Field, 0, n)
	}
	for ; n > 0 && !r.bad; n-- {
		e.Headers = append(e.Headers, Field{r.string(MaxEnvelope), r.string(MaxEnvelope)})
	}
	if r.bad || len(p)-len(r.rest) > MaxEnvelope {
		*e = Envelope{}
		return nil, fmt.Errorf("malformed envelope: %w", ErrProtocol)
	}
	return r.rest, nil
}

// reader takes varints and strings off the front of rest; after the first that
// is malformed or over its limit it is bad and returns zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint(limit uint64) uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 && uint64(r.rest[0]) <= limit {
		v := uint64(r.rest[0])
		r.rest = r.rest[1:]
		return v
	}
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > limit {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) string(limit uint64) string { return r.stringLike(limit, "") }

func (r *reader) stringLike(limit uint64, likely string) string {
	n := r.uvarint(limit)
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	if string(s) == likely {
		return likely
	}
	return string(s)
}
