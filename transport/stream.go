package transport

import (
	"context"
	"encoding/binary"
	"io"
	"iter"
	"reflect"

	"clusterbackup/transport/internal/wire"
)

// source is a message's content that is made while it is sent.
type source interface {
	codec() uint16
	send(*streamWriter) error
}

// sourceOf returns the source that v is, nil if v is an ordinary value: an
// io.Reader is sent as bytes, an iter.Seq[T] or iter.Seq2[T, error] by element.
func sourceOf(v any) source {
	switch v := v.(type) {
	case io.Reader:
		return readerSource{v}
	case iter.Seq[any]:
		return seqSource[any](func(yield func(any, error) bool) {
			v(func(e any) bool { return yield(e, nil) })
		})
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Func || rv.IsNil() {
		return nil
	}
	switch t := rv.Type(); {
	case t.CanSeq():
		return seqSource[any](func(yield func(any, error) bool) {
			for e := range rv.Seq() {
				if !yield(e.Interface(), nil) {
					return
				}
			}
		})
	case t.CanSeq2() && t.In(0).In(1) == reflect.TypeFor[error]():
		return seqSource[any](func(yield func(any, error) bool) {
			for e, x := range rv.Seq2() {
				err, _ := x.Interface().(error)
				if !yield(e.Interface(), err) {
					return
				}
			}
		})
	}
	return nil
}

// streamWriter puts a stream's content into its outgoing message.
type streamWriter struct {
	ctx  context.Context
	o    *outbox
	m    *outgoing
	buf  []byte
	gone bool // nobody reads
}

// write adds p, waiting for room. False: nobody reads any more.
func (s *streamWriter) write(p []byte) bool {
	for len(p) > 0 && !s.gone {
		s.o.mu.Lock()
		n := min(len(p), wire.MaxPayload-len(s.m.body))
		if s.gone = s.m.dead; !s.gone && n > 0 {
			s.m.body = append(s.m.body, p[:n]...)
			p = p[n:]
		}
		s.o.mu.Unlock()
		s.o.flush(false)
		if n <= 0 && !s.gone {
			s.await()
		}
	}
	return !s.gone
}

func (s *streamWriter) await() {
	select {
	case <-s.m.room:
	case <-s.ctx.Done():
		s.gone = true
	}
}

// end ends the stream, with an error if there is one.
func (s *streamWriter) end(err error) {
	s.o.mu.Lock()
	if err != nil {
		code, msg := codeOf(err)
		s.m.fail = wire.AppendFailure(nil, string(code), msg)
	}
	s.m.eof = true
	s.o.mu.Unlock()
	s.o.flush(true)
}

// element adds one encoded element.
func (s *streamWriter) element(body []byte) bool {
	s.buf = append(s.prefix(len(body)), body...)
	return s.write(s.buf)
}

// prefix is the length in front of an element.
func (s *streamWriter) prefix(n int) []byte { return binary.AppendUvarint(s.buf[:0], uint64(n)) }

type readerSource struct{ r io.Reader }

func (readerSource) codec() uint16 { return codecBytes }

func (src readerSource) send(s *streamWriter) error {
	b := make([]byte, 32<<10)
	for {
		n, err := src.r.Read(b)
		if !s.write(b[:n]) {
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// seqSource sends the elements of an iterator: of type any as CBOR each, of
// other types in the form their type has.
type seqSource[T any] iter.Seq2[T, error]

func (src seqSource[T]) codec() uint16 { return codecStream | elementCodec[T]() }

func (src seqSource[T]) send(s *streamWriter) error {
	var failure error
	for e, err := range src {
		if err == nil {
			var p parcel
			if p, err = encodeElement(&e); err == nil {
				if !s.element(p.body) {
					return nil
				}
				continue
			}
		}
		failure = err
		break
	}
	return failure
}

// elementCodec is how elements of type T travel.
func elementCodec[T any]() uint16 {
	var zero T
	switch any(&zero).(type) {
	case *[]byte:
		return codecBytes
	case *string:
		return codecString
	}
	t := reflect.TypeFor[T]()
	if isBinary(t) && t.Kind() != reflect.Pointer {
		return codecBinary
	}
	return codecCBOR
}

func encodeElement[T any](v *T) (parcel, error) {
	if elementCodec[T]() == codecCBOR {
		return encodeCBOR(*v)
	}
	return encodeTyped(v)
}
