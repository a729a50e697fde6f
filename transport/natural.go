package transport

import (
	"encoding/binary"
	"math"
	"reflect"
)

// natural turns what the CBOR decoder made into what a Go programmer expects:
// whole numbers are int wherever they fit, maps with text keys map[string]any.
func natural(v any) any {
	switch v := v.(type) {
	case uint64:
		if v <= math.MaxInt {
			return int(v)
		}
	case int64:
		if v >= math.MinInt {
			return int(v)
		}
	case []any:
		for i := range v {
			v[i] = natural(v[i])
		}
	case map[any]any:
		return naturalMap(v)
	}
	return v
}

func naturalMap(m map[any]any) any {
	texts := 0
	for k, v := range m {
		if _, ok := k.(string); ok {
			texts++
		}
		m[k] = natural(v)
	}
	if texts == len(m) {
		s := make(map[string]any, len(m))
		for k, v := range m {
			s[k.(string)] = v
		}
		return s
	}
	ints := make(map[any]any, len(m))
	for k, v := range m {
		ints[natural(k)] = v
	}
	return ints
}

// small is the size under which a body is decoded unexamined: even at the worst
// expansion it makes nothing that hurts.
const small = 4 << 10

// affordable refuses a CBOR body whose value would take much more memory than
// its limit: a megabyte of empty maps is a hundred in memory. t is nil for
// natural values.
func affordable(it item, t reflect.Type) error {
	if len(it.body) <= small {
		return nil
	}
	unit := int64(48)
	if t != nil {
		unit = max(unit, largestElement(t, 0))
	}
	if n := int64(countCBOR(it.body)); n*16 > int64(it.limit) && n*unit > 4*int64(it.limit) {
		return fault(TooLarge, "decode value: %d items in %d bytes would take more than MaxMessage (%d) in memory", n, len(it.body), it.limit)
	}
	return nil
}

// largestElement is the size of the largest thing that lists or maps in t hold.
func largestElement(t reflect.Type, depth int) int64 {
	if depth > 8 {
		return 0
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer, reflect.Array, reflect.Map:
		return max(int64(t.Elem().Size()), largestElement(t.Elem(), depth+1))
	case reflect.Struct:
		var n int64
		for i := range t.NumField() {
			n = max(n, largestElement(t.Field(i).Type, depth+1))
		}
		return n
	}
	return 0
}

// countCBOR counts the data items in b without looking at their nesting; where
// b is malformed it stops, and the decoder will say so.
func countCBOR(b []byte) (n int) {
	for len(b) > 0 {
		major, arg, k := headCBOR(b)
		if k == 0 {
			return n
		}
		b = b[k:]
		n++
		if major == 2 || major == 3 {
			if arg > uint64(len(b)) {
				return n
			}
			b = b[arg:]
		}
	}
	return n
}

// headCBOR reads the head of the item at the front of b: its major type, its
// argument, and its length in bytes (0 when malformed).
func headCBOR(b []byte) (major byte, arg uint64, n int) {
	if len(b) == 0 {
		return 0, 0, 0
	}
	major, info := b[0]>>5, b[0]&31
	if info < 24 {
		return major, uint64(info), 1
	}
	size := 1 << (info - 24)
	if info > 27 || len(b) < 1+size {
		return 0, 0, 0
	}
	switch size {
	case 1:
		arg = uint64(b[1])
	case 2:
		arg = uint64(binary.BigEndian.Uint16(b[1:]))
	case 4:
		arg = uint64(binary.BigEndian.Uint32(b[1:]))
	default:
		arg = binary.BigEndian.Uint64(b[1:])
	}
	return major, arg, 1 + size
}
