package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync"

	"clusterbackup/transport/internal/wire"
)

// incoming is a message that arrives: whole, or a stream that is read while it
// does. The connection's mutex guards it until it is complete.
type incoming struct {
	c     *conn
	id    uint64
	env   wire.Envelope
	codec uint16
	flags wire.Flags
	body  []byte // of a whole message: its first frame's, and the whole when it is done
	size  int    // bytes of it so far
	held  int64  // bytes of it that count against the connection's credit
	done  bool   // complete; body belongs to whoever takes the message

	pieces [][]byte // what came after the first frame

	// of a stream
	chunks  [][]byte
	balance int64         // bytes the peer may still send
	owed    int64         // bytes consumed that the peer was not told of
	err     error         // how it ended: io.EOF or why not
	ready   chan struct{} // holds a token when chunks or err changed
}

// begin takes the first frame, with payload p, and returns what of p is body.
func (in *incoming) begin(c *conn, h wire.Header, p []byte) (body []byte, err error) {
	body, err = in.env.Parse(p, c.method)
	c.method = in.env.Method
	in.c, in.id, in.codec, in.flags = c, h.ID, h.Codec, h.Flags
	if in.stream() {
		in.balance = int64(c.o.stream)
		in.ready = make(chan struct{}, 1)
	}
	return body, err
}

func (in *incoming) stream() bool { return in.flags&wire.Stream != 0 }

func (in *incoming) item() item {
	return item{codec: in.codec, typ: in.env.Type, body: in.body, limit: in.c.o.maxMessage}
}

// Lengths of the pieces that a message is gathered in; each has room behind it
// for the next frame's header to be read along. The first is small if little comes.
const (
	firstPiece = 4 << 10
	pieceSize  = wire.MaxPayload
)

var pieces = sync.Pool{New: func() any { return new([pieceSize + wire.HeaderLen]byte) }}

// room returns where the next of n more bytes of a whole message are to be read
// to: in pieces, so that no more is allocated than arrives, whatever was announced.
// The message counts them as there.
func (in *incoming) room(n int) []byte {
	last := len(in.pieces) - 1
	if last < 0 || len(in.pieces[last]) == cap(in.pieces[last])-wire.HeaderLen {
		if last < 0 && n <= firstPiece {
			in.pieces = append(in.pieces, make([]byte, 0, firstPiece+wire.HeaderLen))
		} else {
			in.pieces = append(in.pieces, pieces.Get().(*[pieceSize + wire.HeaderLen]byte)[:0])
		}
		last++
	}
	p := in.pieces[last]
	have, whole := len(p), cap(p)-wire.HeaderLen
	p = p[:min(have+n, whole)]
	in.pieces[last] = p
	in.size += len(p) - have
	return p[have:]
}

// join makes the body of what was gathered.
func (in *incoming) join() {
	in.body = bytes.Join(append([][]byte{in.body}, in.pieces...), nil)
	for _, p := range in.pieces {
		if cap(p) == pieceSize+wire.HeaderLen {
			pieces.Put((*[pieceSize + wire.HeaderLen]byte)(p[:cap(p)]))
		}
	}
	in.pieces = nil
}

// push adds what arrived of a stream. Small pieces share memory, so that what a
// stream holds stays near what it was sent.
func (in *incoming) push(p []byte) {
	if k := len(in.chunks); k > 0 {
		if last := in.chunks[k-1]; cap(last)-len(last) >= len(p) {
			in.chunks[k-1] = append(last, p...)
			return
		}
	}
	if len(p) < 1<<10 {
		p = append(make([]byte, 0, 2<<10), p...)
	}
	in.chunks = append(in.chunks, p)
}

// end says how a stream ended.
func (in *incoming) end(err error) {
	if in.err == nil {
		in.err = err
	}
	in.notify()
}

func (in *incoming) notify() {
	select {
	case in.ready <- struct{}{}:
	default:
	}
}

// next waits for the stream's next piece. io.EOF: it ended well.
func (in *incoming) next(ctx context.Context) ([]byte, error) {
	for {
		in.c.mu.Lock()
		if len(in.chunks) > 0 {
			p := in.chunks[0]
			in.chunks = in.chunks[1:]
			kick := in.c.consumedStream(in, int64(len(p)))
			in.c.mu.Unlock()
			if kick {
				in.c.out.flush(true)
			}
			return p, nil
		}
		err := in.err
		in.c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-in.ready:
		case <-ctx.Done():
			return nil, expired(ctx, "read stream")
		}
	}
}

// items yields a stream's elements. They share memory with nothing that is
// written later.
func (in *incoming) items(ctx context.Context, yield func(item) bool) error {
	it := item{codec: in.codec &^ codecStream, typ: in.env.Type, limit: in.c.o.maxMessage}
	var rest []byte // begins with an element that is not whole yet
	for {
		p, err := in.next(ctx)
		if err == io.EOF && len(rest) > 0 {
			return fault(Decode, "read stream: it ends inside an element")
		}
		if err != nil {
			return err
		}
		if rest = append(rest, p...); len(rest) == len(p) {
			rest = p
		}
		whole := false
		for {
			var ok bool
			it.body, rest, ok, err = cutElement(rest, it.limit)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if whole = true; !yield(it) {
				return nil
			}
		}
		if whole {
			rest = slices.Clone(rest)
		}
	}
}

// cutElement takes an element off the front of b, if it is there whole.
func cutElement(b []byte, limit int) (e, rest []byte, ok bool, err error) {
	n, k := binary.Uvarint(b)
	switch {
	case k < 0:
		return nil, nil, false, fault(Decode, "read stream: malformed length of an element")
	case n > uint64(limit):
		return nil, nil, false, fault(TooLarge, "read stream: an element of %d bytes, MaxMessage is %d", n, limit)
	case k == 0 || n > uint64(len(b)-k):
		return nil, b, false, nil
	}
	end := k + int(n)
	return b[k:end:end], b[end:], true, nil
}

// bytesReader reads a message's bytes.
type bytesReader struct {
	ctx  context.Context
	in   *incoming
	d    *Datagram // kept alive, since its end is the stream's
	rest []byte
}

func (r *bytesReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.in.stream() {
			return 0, io.EOF
		}
		b, err := r.in.next(r.ctx)
		if err != nil {
			return 0, err
		}
		r.rest = b
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo writes all that arrives to w, without a copy in between.
func (r *bytesReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		n, err := w.Write(r.rest)
		total += int64(n)
		if r.rest = r.rest[n:]; err != nil {
			return total, err
		}
		if !r.in.stream() {
			return total, nil
		}
		if r.rest, err = r.in.next(r.ctx); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}
