package transport

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// The CBOR decoder fills a [32]byte from a byte string of any length, padding
// or cutting it: a digest that was cut short would come out as another digest.
// exact walks the encoding beside the type and refuses byte strings whose length
// is not the array's.

// arrays caches which types hold byte arrays.
type arrays struct{ m sync.Map } // reflect.Type → bool

func (a *arrays) in(t reflect.Type) bool {
	if v, ok := a.m.Load(t); ok {
		return v.(bool)
	}
	found := holdsArray(t, map[reflect.Type]bool{})
	a.m.Store(t, found)
	return found
}

func holdsArray(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || opaque(t) {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Array:
		return t.Elem().Kind() == reflect.Uint8 || holdsArray(t.Elem(), seen)
	case reflect.Slice, reflect.Pointer:
		return holdsArray(t.Elem(), seen)
	case reflect.Map:
		return holdsArray(t.Key(), seen) || holdsArray(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsArray(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// opaque reports whether a type decodes itself.
func opaque(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[cbor.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]())
}

// exact checks the item at the front of b, which is well-formed, against t (nil:
// anything goes), and returns what follows it.
func exact(b []byte, t reflect.Type) (rest []byte, err error) {
	major, n, k := headCBOR(b)
	if k == 0 {
		return nil, errShort
	}
	b = b[k:]
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && opaque(t) {
		t = nil
	}
	switch major {
	case 2, 3:
		if t != nil && t.Kind() == reflect.Array && t.Elem().Kind() == reflect.Uint8 && n != uint64(t.Len()) {
			return nil, fmt.Errorf("%d bytes where %d are expected", n, t.Len())
		}
		if n > uint64(len(b)) {
			return nil, errShort
		}
		return b[n:], nil
	case 4:
		return exactList(b, n, t)
	case 5:
		return exactMap(b, n, t)
	case 6:
		return exact(b, t)
	}
	return b, nil
}

func exactList(b []byte, n uint64, t reflect.Type) (rest []byte, err error) {
	element := func(int) reflect.Type { return nil }
	switch {
	case t == nil:
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		element = func(int) reflect.Type { return t.Elem() }
	case t.Kind() == reflect.Struct:
		fields := fieldsOf(t)
		element = func(i int) reflect.Type {
			if i < len(fields) {
				return fields[i].typ
			}
			return nil
		}
	}
	for i := range n {
		if b, err = exact(b, element(int(i))); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return b, nil
}

func exactMap(b []byte, n uint64, t reflect.Type) (rest []byte, err error) {
	var fields []wireField
	var key, value reflect.Type
	if t != nil && t.Kind() == reflect.Struct {
		fields = fieldsOf(t)
	} else if t != nil && t.Kind() == reflect.Map {
		key, value = t.Key(), t.Elem()
	}
	for range n {
		name := keyName(b)
		if b, err = exact(b, key); err != nil {
			return nil, err
		}
		of := value
		if fields != nil {
			of = match(fields, name)
		}
		if b, err = exact(b, of); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return b, nil
}

// keyName is a map's key as text.
func keyName(b []byte) string {
	switch major, n, k := headCBOR(b); {
	case k == 0:
	case major == 0:
		return strconv.FormatUint(n, 10)
	case major == 1:
		return "-" + strconv.FormatUint(n+1, 10)
	case major == 3 && n <= uint64(len(b)-k):
		return string(b[k : k+int(n)])
	}
	return ""
}

// wireField is a struct's field under the name it is encoded by.
type wireField struct {
	name string
	typ  reflect.Type
}

func fieldsOf(t reflect.Type) (fields []wireField) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("cbor")
		if !ok {
			tag = f.Tag.Get("json")
		}
		name, _, _ := strings.Cut(tag, ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case name == "-":
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			fields = append(fields, fieldsOf(inner)...)
		case !f.IsExported():
		case name != "":
			fields = append(fields, wireField{name, f.Type})
		default:
			fields = append(fields, wireField{f.Name, f.Type})
		}
	}
	return fields
}

// match finds a field as the decoder does: by its very name, else in any case.
func match(fields []wireField, name string) reflect.Type {
	for _, f := range fields {
		if f.name == name {
			return f.typ
		}
	}
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			return f.typ
		}
	}
	return nil
}
