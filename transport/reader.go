package transport

import (
	"errors"
	"io"
	"os"
	"time"

	"clusterbackup/transport/internal/wire"
)

// Sizes of reading. A connection starts with the small buffer, takes the large
// one while reads fill it, and gives it back when they don't.
const (
	smallRead = 2 << 10
	largeRead = 32 << 10
)

// frameReader reads a connection's bytes. Payloads that are longer than what is
// buffered are read straight to where they belong.
type frameReader struct {
	c          *conn
	buf        []byte
	start, end int
	idle       int // reads in a row that would have fitted the small buffer
}

func newFrameReader(c *conn) *frameReader {
	return &frameReader{c: c, buf: make([]byte, smallRead)}
}

// fill makes at least n bytes available in the buffer.
func (r *frameReader) fill(n int) error {
	for r.end-r.start < n {
		r.makeRoom()
		k, err := r.c.readSome(r.buf[r.end:])
		r.adapt(k, r.end+k == len(r.buf))
		r.end += k
		if err != nil && r.end-r.start < n {
			if err == io.EOF && r.end > r.start {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

func (r *frameReader) makeRoom() {
	size := len(r.buf)
	if r.idle < 0 {
		size = largeRead
	} else if r.idle > 16 && r.end-r.start < smallRead/2 {
		size = smallRead
	}
	if size != len(r.buf) {
		old := r.buf[r.start:r.end]
		r.buf = make([]byte, size)
		r.end, r.start = copy(r.buf, old), 0
		r.idle = 0
		return
	}
	if r.start > 0 {
		r.end, r.start = copy(r.buf, r.buf[r.start:r.end]), 0
	}
}

// adapt remembers how well the buffer fits.
func (r *frameReader) adapt(n int, full bool) {
	switch {
	case full && len(r.buf) == smallRead:
		r.idle = -1
	case n > smallRead:
		r.idle = 0
	case len(r.buf) == largeRead:
		r.idle++
	}
}

// readSome reads once, and notes the sign of life.
func (c *conn) readSome(p []byte) (int, error) {
	n, err := c.nc.Read(p)
	if n > 0 {
		c.read.Add(int64(n))
		c.lastRead.Store(time.Now().UnixNano())
		c.out.unanswered.Store(0)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fault(TimedOut, "no preface within %v", c.o.wait)
	}
	return n, err
}

func (r *frameReader) preface() (wire.Preface, error) {
	if err := r.fill(wire.PrefaceLen); err != nil {
		return wire.Preface{}, err
	}
	p, err := wire.ParsePreface(r.buf[r.start:r.end])
	r.start += wire.PrefaceLen
	return p, err
}

func (r *frameReader) header() (wire.Header, error) {
	if err := r.fill(wire.HeaderLen); err != nil {
		return wire.Header{}, err
	}
	h, err := wire.ParseHeader(r.buf[r.start:r.end])
	r.start += wire.HeaderLen
	return h, err
}

// small returns the next n bytes, valid until the next call.
func (r *frameReader) small(n int) ([]byte, error) {
	if n > len(r.buf)-wire.HeaderLen {
		p := make([]byte, n)
		return p, r.full(p)
	}
	if err := r.fill(n); err != nil {
		return nil, err
	}
	p := r.buf[r.start : r.start+n]
	r.start += n
	return p, nil
}

// full fills p. If p has room behind its end for it, the next frame's header is
// read along.
func (r *frameReader) full(p []byte) error {
	n := copy(p, r.buf[r.start:r.end])
	r.start += n
	room := len(p)
	if cap(p)-room >= wire.HeaderLen {
		room += wire.HeaderLen
	}
	for n < len(p) {
		if len(p)-n < len(r.buf) && len(p)-n < smallRead {
			if err := r.fill(len(p) - n); err != nil {
				return err
			}
			r.start += copy(p[n:], r.buf[r.start:r.end])
			return nil
		}
		k, err := r.c.readSome(p[n:room:room])
		n += k
		if err != nil && n < len(p) {
			return err
		}
	}
	if n > len(p) { // some of the next header
		r.start, r.end = 0, copy(r.buf, p[len(p):n:n])
	}
	return nil
}

// skip passes over n bytes.
func (r *frameReader) skip(n int) error {
	for n > 0 {
		if r.start == r.end {
			if err := r.fill(1); err != nil {
				return err
			}
		}
		k := min(n, r.end-r.start)
		r.start += k
		n -= k
	}
	return nil
}
