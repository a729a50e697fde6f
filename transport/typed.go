package transport

import (
	"context"
	"iter"
	"reflect"

	"clusterbackup/transport/internal/wire"
)

// As returns the datagram's value as a T.
func As[T any](d *Datagram) (T, error) {
	var v T
	if d.set || d.in == nil || d.decoded && d.in.stream() {
		v, ok := d.Value().(T)
		if !ok {
			return v, fault(Decode, "decode %v: the datagram holds a %T", reflect.TypeFor[T](), d.Value())
		}
		return v, nil
	}
	if d.in.stream() {
		n, ok := d.Value().(T)
		if ok || d.err != nil {
			return n, d.err
		}
		return v, mismatch(item{codec: d.in.codec}, reflect.TypeFor[T]())
	}
	it, err := d.item()
	if err == nil {
		err = decodeTyped(it, &v)
	}
	return v, err
}

// Each yields the datagram's values as T, of a stream while they arrive. An
// error is the last that is yielded. Leaving the loop early gives a stream up.
func Each[T any](d *Datagram) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if !d.streaming() {
			list, err := As[[]T](d)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, v := range list {
				if !yield(v, nil) {
					return
				}
			}
			return
		}
		err, left := eachItem(d, yield)
		if d.err = err; err != nil && !left {
			var zero T
			yield(zero, err)
		}
	}
}

// eachItem yields a stream's elements, and says how it ended and whether the
// loop was left.
func eachItem[T any](d *Datagram, yield func(T, error) bool) (err error, left bool) {
	err = d.items(func(it item) (bool, error) {
		var v T
		if err := decodeTyped(it, &v); err != nil {
			return false, err
		}
		left = !yield(v, nil)
		return !left, nil
	})
	return err, left
}

// send sends an encoded request.
func (c *Client) send(ctx context.Context, method string, headers []wire.Field, p parcel) (*call, error) {
	if len(p.body) > c.o.maxMessage {
		return nil, fault(TooLarge, "send request: %d bytes, MaxMessage is %d; send it as a stream", len(p.body), c.o.maxMessage)
	}
	return c.exchange(ctx, &wire.Envelope{Method: method, Headers: headers}, &p)
}

// Call asks the handler of that name, and returns its answer. Without a deadline
// in ctx the client's Timeout holds. Errors are *Error.
func Call[Resp, Req any](ctx context.Context, c *Client, method string, req Req) (Resp, error) {
	var resp Resp
	p, err := encodeTyped(&req)
	if err != nil {
		return resp, err
	}
	if len(c.o.use) > 0 {
		return callWrapped[Resp](ctx, c, method, p)
	}
	k, err := c.send(ctx, method, nil, p)
	if err != nil {
		return resp, err
	}
	resp, err = answerOf[Resp](k)
	if !k.in.stream() && k.sending == nil {
		k.recycle()
	}
	return resp, err
}

func answerOf[Resp any](k *call) (resp Resp, err error) {
	if k.in.stream() {
		k.cancel()
		return resp, mismatch(item{codec: codecStream}, reflect.TypeFor[Resp]())
	}
	it, err := k.in.unpacked()
	if err == nil {
		err = decodeTyped(it, &resp)
	}
	return resp, err
}

// callWrapped is Call through the client's middleware.
func callWrapped[Resp any](ctx context.Context, c *Client, method string, p parcel) (resp Resp, err error) {
	d := &Datagram{client: c, ctx: ctx, method: method}
	wrap(c.o.use, d, func() {
		var k *call
		if k, d.err = c.send(ctx, method, d.headers, p); d.err == nil {
			d.take(k)
			resp, d.err = answerOf[Resp](k)
		}
	})
	return resp, d.err
}

// CallStream asks a handler that answers with a stream, and yields its elements
// while they arrive. An error is the last that is yielded; without one the stream
// was whole. Leaving the loop, or the end of ctx, cancels the handler. The request
// is sent when the loop begins.
func CallStream[T, Req any](ctx context.Context, c *Client, method string, req Req) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		p, err := encodeTyped(&req)
		if err != nil {
			yield(zero, err)
			return
		}
		d := &Datagram{client: c, ctx: ctx, method: method}
		wrap(c.o.use, d, func() {
			var k *call
			if k, d.err = c.send(ctx, method, d.headers, p); d.err == nil {
				d.take(k)
			}
		})
		if d.err != nil {
			yield(zero, d.err)
			return
		}
		Each[T](d)(yield)
	}
}

// Handle has f answer the requests that Call makes under a name. Requests are
// handled side by side, each in a goroutine. ctx ends when the answer is no longer
// wanted. f may return an *Error or a Code to tell the caller more than a message.
// It panics if the name is taken.
func Handle[Req, Resp any](s *Server, method string, f func(ctx context.Context, peer Peer, req Req) (Resp, error)) {
	s.handle(method, func(d *Datagram) {
		req, err := As[Req](d)
		if err != nil {
			d.Fail(err)
			return
		}
		resp, err := f(d.Context(), d.Peer(), req)
		if err != nil {
			d.Fail(err)
			return
		}
		d.set, d.decoded, d.value = true, true, nil
		p, err := encodeTyped(&resp)
		d.made = &p
		if err != nil {
			d.Fail(err)
		}
	})
}

// HandleStream has f answer the requests that CallStream makes under a name,
// with the elements it yields; an error it yields is the stream's end.
func HandleStream[Req, T any](s *Server, method string, f func(ctx context.Context, peer Peer, req Req) iter.Seq2[T, error]) {
	s.handle(method, func(d *Datagram) {
		req, err := As[Req](d)
		if err != nil {
			d.Fail(err)
			return
		}
		src := seqSource[T](f(d.Context(), d.Peer(), req))
		d.set, d.decoded, d.value = true, true, nil
		d.made = &parcel{codec: src.codec(), src: src}
	})
}

// HandleFunc has f answer the datagrams sent to a name, as the body of a loop
// over All would, each in a goroutine.
func (s *Server) HandleFunc(method string, f func(*Datagram)) { s.handle(method, f) }

func (s *Server) handle(method string, f func(*Datagram)) {
	if method == "" || len(method) > wire.MaxMethod {
		panic("transport: a handler's name has 1 to 255 bytes")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.routes.Load()
	if old != nil && (*old)[method] != nil {
		panic("transport: two handlers named " + method)
	}
	routes := map[string]func(*Datagram){method: f}
	if old != nil {
		for k, v := range *old {
			routes[k] = v
		}
	}
	s.routes.Store(&routes)
}

func (s *Server) route(method string) func(*Datagram) {
	if r := s.routes.Load(); r != nil {
		return (*r)[method]
	}
	return nil
}
