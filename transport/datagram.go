package transport

import (
	"bytes"
	"context"
	"io"
	"iter"
	"reflect"
	"runtime"

	"clusterbackup/transport/internal/wire"
)

// Datagram is values on their way: to a server with Send, after which it holds
// the reply's values; or to a body in a loop over All, which leaves its answer
// in it with Set. One goroutine at a time may use a Datagram.
type Datagram struct {
	client *Client   // on the asking side
	server string    // there, when made by New
	ex     *exchange // on the answering side
	call   *call     // the latest exchange, while its reply is a stream

	in       *incoming // what arrived, decoded when asked for
	value    any
	decoded  bool    // value is what arrived
	set      bool    // value was set here
	made     *parcel // a typed answer
	method   string
	headers  []wire.Field // to be sent
	came     []wire.Field // that arrived
	ctx      context.Context
	err      error
	unseen   bool // err is of Value, and nobody has asked for it
	ok       bool
	peer     Peer
	detached bool
	replied  bool
}

// Send sends the datagram and waits for the reply, at most as long as the
// client's Timeout. It reports whether all went well: then the datagram holds the
// reply's values, else Err says what was wrong.
func (d *Datagram) Send() bool { return d.SendContext(context.Background()) }

// SendContext is Send within ctx: its end ends the exchange, also a reply's
// stream that is still read. If ctx has a deadline it replaces Timeout.
func (d *Datagram) SendContext(ctx context.Context) bool {
	if d.ex != nil {
		d.err = fault(Encode, "send datagram: it was received; make one with Client.Datagram")
		return false
	}
	if d.client == nil {
		c, done := borrow(d.server)
		defer func() { d.client = nil; done() }()
		d.client = c
	}
	d.finishCall()
	d.ok, d.err, d.ctx = false, nil, ctx
	if use := d.client.o.use; len(use) > 0 {
		wrap(use, d, func() { d.exchange() })
	} else {
		d.exchange()
	}
	d.ok = d.err == nil
	return d.ok
}

// exchange sends the values and takes the reply's.
func (d *Datagram) exchange() {
	p, err := d.client.o.types.encode(d.Value())
	if err == nil {
		var k *call
		if k, err = d.client.send(d.ctx, d.method, d.headers, p); err == nil {
			d.take(k)
		}
	}
	d.err = err
}

// take makes the reply the datagram's content.
func (d *Datagram) take(k *call) {
	d.in, d.value, d.decoded, d.set = k.in, nil, false, false
	d.came = k.in.env.Headers
	d.peer = k.cc.peer
	if k.in.stream() {
		d.call = k
		runtime.AddCleanup(d, (*call).cancel, k) // if nobody reads it
	}
}

// finishCall gives up a stream that was not read to its end.
func (d *Datagram) finishCall() {
	if d.call != nil {
		d.call.cancel()
		d.call = nil
	}
}

// Ping asks the server for a sign of life, within the client's Timeout. The
// values stay.
func (d *Datagram) Ping() bool {
	if d.ex != nil {
		return d.ex.answering.Err() == nil
	}
	c := d.client
	if c == nil {
		shared, done := borrow(d.server)
		defer done()
		c = shared
	}
	d.err = c.Ping(context.Background())
	d.ok = d.err == nil
	return d.ok
}

// OK reports whether the latest exchange went well.
func (d *Datagram) OK() bool {
	if d.ex != nil {
		return d.err == nil
	}
	return d.ok && d.err == nil
}

// Err is the error of the latest exchange, an *Error; or of what was read from
// the datagram since: a value that can't be decoded, a stream that broke off.
func (d *Datagram) Err() error {
	d.unseen = false
	return d.err
}

// Set makes v the datagram's values: none, one, or several, which is the same
// as one list. An io.Reader is sent as bytes while it is read; an iter.Seq[T] or
// iter.Seq2[T, error] by element while it runs. Values must not change until they
// are sent. In a body, an error of Value that nobody asked Err for outlives Set: it
// is the answer, so that a value that never arrived is not mistaken for nil.
func (d *Datagram) Set(v ...any) {
	d.finishCall()
	d.set, d.decoded, d.made = true, true, nil
	if !d.unseen {
		d.err = nil
	}
	switch len(v) {
	case 0:
		d.value = nil
	case 1:
		d.value = v[0]
	default:
		d.value = v
	}
}

// Value returns the datagram's value: nil, the one value, or a list as []any.
// What arrived is: string, []byte, bool, int (uint64 or *big.Int where int is too
// small), float64, time.Time, *big.Int, []any, map[string]any (map[any]any with
// other keys), nil, or a type that both sides have registered. A stream is read
// to its end first. If the value can't be decoded it is nil, and Err says why.
func (d *Datagram) Value() any {
	if !d.decoded && !d.set && d.in != nil {
		v, err := d.decode()
		d.value, d.decoded = v, true
		if err != nil {
			d.err, d.unseen = err, d.ex != nil
		}
	}
	return d.value
}

func (d *Datagram) decode() (any, error) {
	if !d.in.stream() {
		it, err := d.item()
		if err != nil {
			return nil, err
		}
		return d.registry().natural(it)
	}
	if d.in.codec == codecBytes {
		return d.readAll()
	}
	list := []any{}
	err := d.elements(func(v any) bool { list = append(list, v); return true })
	if err != nil {
		return nil, err
	}
	return list, nil
}

// item is what arrived whole, unpacked.
func (d *Datagram) item() (item, error) { return d.in.unpacked() }

// readAll reads a stream of bytes, as far as MaxMessage allows.
func (d *Datagram) readAll() ([]byte, error) {
	limit := d.in.c.o.maxMessage
	var b bytes.Buffer
	_, err := io.Copy(&b, io.LimitReader(d.reader(), int64(limit)+1))
	if err == nil && b.Len() > limit {
		d.finishCall()
		err = fault(TooLarge, "read stream: it is larger than MaxMessage (%d bytes); use Reader", limit)
	}
	if err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (d *Datagram) registry() *registry { return &d.in.c.o.types }

// reading is the context that reading from the datagram ends with.
func (d *Datagram) reading() context.Context {
	if d.ex != nil {
		return &d.ex.answering
	}
	if d.ctx != nil {
		return d.ctx
	}
	return context.Background()
}

// Len is the number of values: of a list that of its elements; of anything else
// 1, of nothing 0.
func (d *Datagram) Len() int {
	switch v := d.Value().(type) {
	case nil:
		return 0
	case []byte, string:
		return 1
	case []any:
		return len(v)
	default:
		if rv := reflect.ValueOf(v); rv.Kind() == reflect.Slice {
			return rv.Len()
		}
		return 1
	}
}

// At returns value i of Len; nil if there is none.
func (d *Datagram) At(i int) any {
	if i < 0 || i >= d.Len() {
		return nil
	}
	switch v := d.Value().(type) {
	case []byte, string:
		return v
	case []any:
		return v[i]
	default:
		if rv := reflect.ValueOf(v); rv.Kind() == reflect.Slice {
			return rv.Index(i).Interface()
		}
		return v
	}
}

// Contains reports whether v is among the values.
func (d *Datagram) Contains(v any) bool {
	for i := range d.Len() {
		if reflect.DeepEqual(d.At(i), v) {
			return true
		}
	}
	return false
}

// All yields the values in turn; of a stream while they arrive, once, and Err
// says afterwards whether it was whole. Leaving the loop early gives a stream up.
func (d *Datagram) All() iter.Seq[any] {
	return func(yield func(any) bool) {
		if d.streaming() && d.in.codec != codecBytes {
			if err := d.elements(yield); err != nil {
				d.err = err
			}
			return
		}
		for i := range d.Len() {
			if !yield(d.At(i)) {
				return
			}
		}
	}
}

func (d *Datagram) streaming() bool {
	return d.in != nil && d.in.stream() && !d.decoded && !d.set
}

// elements yields a stream's elements as natural values.
func (d *Datagram) elements(yield func(any) bool) error {
	return d.items(func(it item) (bool, error) {
		v, err := d.registry().natural(it)
		return err == nil && yield(v), err
	})
}

// items yields a stream's elements undecoded.
func (d *Datagram) items(f func(item) (bool, error)) error {
	d.decoded = true
	defer d.finishCall()
	var failure error
	err := d.in.items(d.reading(), func(it item) (more bool) {
		more, failure = f(it)
		return more
	})
	if failure != nil {
		return failure
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// Reader reads the datagram's bytes, of a stream while they arrive: what was
// sent as a string, []byte or io.Reader. A value of another kind is an error when
// read.
func (d *Datagram) Reader() io.Reader {
	switch v := d.value.(type) {
	case []byte:
		return bytes.NewReader(v)
	case string:
		return bytes.NewReader([]byte(v))
	case io.Reader:
		return v
	}
	return d.reader()
}

func (d *Datagram) reader() io.Reader {
	switch {
	case d.in == nil || d.set:
		return bytes.NewReader(nil)
	case d.in.codec != codecBytes && d.in.codec != codecString && d.in.codec != codecNone:
		return brokenReader{mismatch(item{codec: d.in.codec}, reflect.TypeFor[[]byte]())}
	case d.in.stream():
		d.decoded = true
		return &bytesReader{ctx: d.reading(), in: d.in, d: d}
	}
	it, err := d.item()
	if err != nil {
		return brokenReader{err}
	}
	return bytes.NewReader(it.body)
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// Fail makes err the answer. An *Error or a Code crosses the wire with its code,
// other errors with the code Failed and their message. nil takes it back.
func (d *Datagram) Fail(err error) { d.err, d.unseen = err, false }

// Detach lets the body be left without a reply: it is sent by Reply, later and
// from wherever. Until then the request counts as in flight.
func (d *Datagram) Detach() { d.detached = d.ex != nil }

// Reply sends the reply of a detached datagram.
func (d *Datagram) Reply() {
	if d.ex != nil {
		d.ex.send()
	}
}

// Peer is who sent the datagram; after Send, who answered.
func (d *Datagram) Peer() Peer {
	if d.ex != nil {
		return d.ex.sc.peer
	}
	return d.peer
}

// Context ends when the answer is no longer wanted: the client canceled, its
// deadline has passed, or the connection was lost.
func (d *Datagram) Context() context.Context { return d.reading() }

// Method is the name of the handler that the datagram is for, empty for All.
func (d *Datagram) Method() string {
	if d.ex != nil {
		return d.ex.in.env.Method
	}
	return d.method
}

// Header returns a header that came with the datagram, "" without one.
func (d *Datagram) Header(key string) string {
	came := d.came
	if d.ex != nil {
		came = d.ex.in.env.Headers
	}
	for _, f := range came {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// SetHeader adds a header to what is sent next, or changes it: for what is about
// the exchange and not its values, such as a trace. At most 64, 16 KiB together.
func (d *Datagram) SetHeader(key, value string) {
	for i, f := range d.headers {
		if f.Key == key {
			d.headers[i].Value = value
			return
		}
	}
	d.headers = append(d.headers, wire.Field{Key: key, Value: value})
}
