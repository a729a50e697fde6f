package transport

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"clusterbackup/transport/internal/wire"
)

// How a body is written. Streams of elements add streamed to their elements'.
const (
	codecNone    uint16 = iota // no value
	codecBytes                 // []byte, as it is
	codecString                // string, as it is
	codecCBOR                  // anything else
	codecBinary                // AppendBinary
	codecBinArr                // a slice of those: each with its length in front
	codecEnd                   // first invalid one
	codecStream  uint16 = 0x10 // flag: elements, each with its length in front
	maxNesting          = 64
	maxListElems        = math.MaxInt32
)

// cborModes is how CBOR is written and read.
type cborModes struct {
	enc    cbor.UserBufferEncMode
	dec    cbor.DecMode
	arrays arrays
}

// modes are the CBOR modes; they are made once.
var modes = sync.OnceValue(func() *cborModes {
	m := &cborModes{}
	var err error
	m.enc, err = cbor.EncOptions{
		BigIntConvert: cbor.BigIntConvertNone,
		Time:          cbor.TimeRFC3339Nano,
		TimeTag:       cbor.EncTagRequired,
	}.UserBufferEncMode()
	if err == nil {
		m.dec, err = cbor.DecOptions{
			MaxNestedLevels:  maxNesting,
			MaxArrayElements: maxListElems,
			MaxMapPairs:      maxListElems,
			IndefLength:      cbor.IndefLengthForbidden,
			DupMapKey:        cbor.DupMapKeyEnforcedAPF,
			BigIntDec:        cbor.BigIntDecodePointer,
			UTF8:             cbor.UTF8DecodeInvalid, // a Go string may hold any bytes: it arrives as it was sent
		}.DecMode()
	}
	if err != nil {
		panic(err) // constant options
	}
	return m
})

// parcel is an encoded message.
type parcel struct {
	codec uint16
	typ   uint32
	body  []byte
	src   source // of a stream, instead of the body
	flags wire.Flags
}

// encode makes a parcel of one natural value. Registered types keep their name.
func (r *registry) encode(v any) (parcel, error) {
	switch v := v.(type) {
	case nil:
		return parcel{}, nil
	case []byte:
		return parcel{codec: codecBytes, body: v}, nil
	case string:
		return parcel{codec: codecString, body: []byte(v)}, nil
	}
	if src := sourceOf(v); src != nil {
		return parcel{codec: src.codec(), src: src}, nil
	}
	t := reflect.TypeOf(v)
	if h, ok := r.byType[t]; ok {
		p, err := encodeAny(v)
		p.typ = h
		return p, err
	}
	return encodeCBOR(v)
}

// encodeTyped makes a parcel for a receiver who knows the type.
func encodeTyped[T any](v *T) (parcel, error) {
	switch v := any(v).(type) {
	case *[]byte:
		return parcel{codec: codecBytes, body: *v}, nil
	case *string:
		return parcel{codec: codecString, body: []byte(*v)}, nil
	case *struct{}:
		return parcel{}, nil
	}
	if a := appender(v); a != nil {
		return encodeBinary(a)
	}
	if reflect.TypeFor[T]().Kind() == reflect.Slice {
		if rv := reflect.ValueOf(v).Elem(); isBinary(rv.Type().Elem()) {
			return encodeBinaries(rv)
		}
	}
	return encodeCBOR(v)
}

func encodeAny(v any) (parcel, error) {
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer && rv.IsNil() {
		return encodeCBOR(v)
	}
	if rv.Kind() == reflect.Slice && isBinary(rv.Type().Elem()) {
		return encodeBinaries(rv)
	}
	if isBinary(rv.Type()) {
		if a, ok := v.(encoding.BinaryAppender); ok {
			return encodeBinary(a)
		}
		p := reflect.New(rv.Type())
		p.Elem().Set(rv)
		return encodeBinary(p.Interface().(encoding.BinaryAppender))
	}
	return encodeCBOR(v)
}

func encodeCBOR(v any) (parcel, error) {
	b, err := modes().enc.Marshal(v)
	if err != nil {
		return parcel{}, fault(Encode, "encode %T: %w", v, err)
	}
	return parcel{codec: codecCBOR, body: b}, nil
}

func encodeBinary(a encoding.BinaryAppender) (parcel, error) {
	b, err := a.AppendBinary(make([]byte, 0, 256))
	if err != nil {
		return parcel{}, fault(Encode, "encode %T: %w", a, err)
	}
	return parcel{codec: codecBinary, body: b}, nil
}

// encodeBinaries writes each element behind its length.
func encodeBinaries(rv reflect.Value) (parcel, error) {
	n := rv.Len()
	b := make([]byte, 0, 16+64*n)
	for i := range n {
		e := rv.Index(i)
		if e.Kind() != reflect.Pointer {
			e = e.Addr()
		} else if e.IsNil() {
			return parcel{}, fault(Encode, "encode %v: element %d is nil", rv.Type(), i)
		}
		var err error
		if b, err = appendCounted(b, e.Interface().(encoding.BinaryAppender)); err != nil {
			return parcel{}, fault(Encode, "encode %v: element %d: %w", rv.Type(), i, err)
		}
	}
	return parcel{codec: codecBinArr, body: b}, nil
}

// appendCounted appends a behind its length. Most lengths fit in two bytes, so
// that much room is left and the body moved if that was wrong.
func appendCounted(b []byte, a encoding.BinaryAppender) ([]byte, error) {
	at := len(b)
	out, err := a.AppendBinary(append(b, 0, 0))
	if err != nil {
		return b, err
	}
	n := len(out) - at - 2
	if n < 1<<14 {
		out[at], out[at+1] = byte(n)|0x80, byte(n>>7)
		return out, nil
	}
	var l [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(l[:], uint64(n))
	out = append(out, l[:k-2]...)
	copy(out[at+k:], out[at+2:at+2+n])
	copy(out[at:], l[:k])
	return out, nil
}

// isBinary reports whether values of t travel by AppendBinary and UnmarshalBinary.
func isBinary(t reflect.Type) bool {
	if t.Kind() != reflect.Pointer {
		t = reflect.PointerTo(t)
	}
	return t.Implements(reflect.TypeFor[encoding.BinaryAppender]()) &&
		t.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]())
}

func appender[T any](v *T) encoding.BinaryAppender {
	if a, ok := any(v).(encoding.BinaryAppender); ok {
		if _, ok := any(v).(encoding.BinaryUnmarshaler); ok {
			return a
		}
		return nil
	}
	if t := reflect.TypeFor[T](); t.Kind() == reflect.Pointer && isBinary(t) && !reflect.ValueOf(v).Elem().IsNil() {
		return any(*v).(encoding.BinaryAppender)
	}
	return nil
}

// item is a received body, or a received element of a stream.
type item struct {
	codec uint16
	typ   uint32
	body  []byte
	limit int // of the memory that decoding may take
}

// natural decodes an item as the value it was, as far as the wire tells.
func (r *registry) natural(it item) (any, error) {
	if it.typ != 0 {
		if n, ok := r.byHash[it.typ]; ok {
			p := reflect.New(n.typ)
			err := decodeInto(it, p)
			return p.Elem().Interface(), err
		}
	}
	switch it.codec {
	case codecNone:
		return nil, nil
	case codecBytes:
		return it.body, nil
	case codecString:
		return string(it.body), nil
	case codecCBOR:
		return decodeNatural(it)
	}
	return nil, fault(Decode, "decode value: its type is not registered here; use As, or Register it on both sides")
}

func decodeNatural(it item) (any, error) {
	if err := affordable(it, nil); err != nil {
		return nil, err
	}
	var v any
	if err := modes().dec.Unmarshal(it.body, &v); err != nil {
		return nil, fault(Decode, "decode value: %w", err)
	}
	return natural(v), nil
}

// decodeTyped decodes an item into v.
func decodeTyped[T any](it item, v *T) error {
	switch v := any(v).(type) {
	case *[]byte:
		if it.codec == codecBytes {
			*v = it.body
			return nil
		}
	case *string:
		if it.codec == codecString {
			*v = string(it.body)
			return nil
		}
	case encoding.BinaryUnmarshaler:
		if it.codec == codecBinary {
			return unmarshal(v, it.body)
		}
	}
	return decodeInto(it, reflect.ValueOf(v))
}

// decodeInto decodes an item into what p points to.
func decodeInto(it item, p reflect.Value) error {
	switch t := p.Type().Elem(); it.codec {
	case codecNone:
		p.Elem().SetZero()
		return nil
	case codecBytes, codecString:
		return setText(it, p.Elem())
	case codecCBOR:
		return decodeCBOR(it, p)
	case codecBinary:
		if isBinary(t) {
			return unmarshal(target(p).(encoding.BinaryUnmarshaler), it.body)
		}
	case codecBinArr:
		if t.Kind() == reflect.Slice && isBinary(t.Elem()) {
			return decodeBinaries(it, p.Elem())
		}
	}
	return mismatch(it, p.Type().Elem())
}

func mismatch(it item, t reflect.Type) error {
	kind := "a stream"
	if it.codec < codecEnd {
		kind = [...]string{"nothing", "[]byte", "string", "a CBOR value", "a binary value", "a list of binary values"}[it.codec]
	}
	return fault(Decode, "decode %v: %s arrived", t, kind)
}

// setText puts a body that is plain bytes or text into v.
func setText(it item, v reflect.Value) error {
	switch {
	case v.Kind() == reflect.String:
		v.SetString(string(it.body))
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes(it.body)
	case v.Kind() == reflect.Interface && v.NumMethod() == 0 && it.codec == codecString:
		v.Set(reflect.ValueOf(string(it.body)))
	case v.Kind() == reflect.Interface && v.NumMethod() == 0:
		v.Set(reflect.ValueOf(it.body))
	default:
		return mismatch(it, v.Type())
	}
	return nil
}

func decodeCBOR(it item, p reflect.Value) error {
	if p.Type().Elem().Kind() == reflect.Interface && p.Type().Elem().NumMethod() == 0 {
		v, err := decodeNatural(it)
		if err == nil && v != nil {
			p.Elem().Set(reflect.ValueOf(v))
		}
		return err
	}
	if err := affordable(it, p.Type().Elem()); err != nil {
		return err
	}
	t := p.Type().Elem()
	if err := safely(func() error { return modes().dec.Unmarshal(it.body, p.Interface()) }); err != nil {
		return fault(Decode, "decode %v: %w", t, err)
	}
	if modes().arrays.in(t) {
		if _, err := exact(it.body, t); err != nil {
			return fault(Decode, "decode %v: %w", t, err)
		}
	}
	return nil
}

// target is the value that UnmarshalBinary is called on: p, or what a pointer
// at p is made to point to.
func target(p reflect.Value) any {
	if e := p.Elem(); e.Kind() == reflect.Pointer {
		e.Set(reflect.New(e.Type().Elem()))
		return e.Interface()
	}
	return p.Interface()
}

func unmarshal(u encoding.BinaryUnmarshaler, body []byte) error {
	if err := safely(func() error { return u.UnmarshalBinary(body) }); err != nil {
		return fault(Decode, "decode %T: %w", u, err)
	}
	return nil
}

// safely turns a panic of a decoder into an error: its input is a peer's.
func safely(decode func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoder panicked: %v", p)
		}
	}()
	return decode()
}

var errShort = errors.New("list ends early")

func decodeBinaries(it item, v reflect.Value) error {
	t := v.Type()
	n, err := countItems(it.body)
	if err != nil {
		return fault(Decode, "decode %v: %w", t, err)
	}
	if size := int(t.Elem().Size()); n > 0 && size > 0 && n > max(it.limit, 64<<10)/size {
		return fault(TooLarge, "decode %v: %d elements do not fit in %d bytes", t, n, it.limit)
	}
	s := reflect.MakeSlice(t, n, n)
	rest := it.body
	for i := range n {
		var e []byte
		e, rest, _ = cutCounted(rest)
		if err := unmarshal(target(s.Index(i).Addr()).(encoding.BinaryUnmarshaler), e); err != nil {
			return err
		}
	}
	v.Set(s)
	return nil
}

func countItems(b []byte) (n int, err error) {
	for len(b) > 0 {
		if _, b, err = cutCounted(b); err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// cutCounted takes a counted element off the front of b.
func cutCounted(b []byte) (e, rest []byte, err error) {
	l, k := binary.Uvarint(b)
	if k <= 0 || l > uint64(len(b)-k) {
		return nil, nil, errShort
	}
	return b[k : k+int(l) : k+int(l)], b[k+int(l):], nil
}
