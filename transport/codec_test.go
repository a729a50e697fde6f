package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// record travels in its own binary form.
type record struct {
	ID   uint64
	Name string
}

func (r *record) AppendBinary(b []byte) ([]byte, error) {
	if r.Name == "unsendable" {
		return nil, errors.New("no")
	}
	return append(binary.AppendUvarint(b, r.ID), r.Name...), nil
}

func (r *record) UnmarshalBinary(b []byte) error {
	id, n := binary.Uvarint(b)
	if n <= 0 {
		return errors.New("malformed")
	}
	r.ID, r.Name = id, string(b[n:])
	if r.Name == "trap" {
		panic("a decoder that panics")
	}
	return nil
}

type nested struct {
	Digest  [32]byte
	Digests [][4]byte          `cbor:"d,omitempty"`
	ByName  map[string][4]byte `json:"n,omitempty"`
	Inner   *nested
	When    time.Time
	Big     *big.Int
}

// through encodes v for a receiver who knows the type and decodes it as a T.
func through[T, V any](v V) (T, error) {
	var out T
	p, err := encodeTyped(&v)
	if err != nil {
		return out, err
	}
	err = decodeTyped(item{codec: p.codec, body: p.body, limit: 64 << 20}, &out)
	return out, err
}

func same[T any](t *testing.T, v T) {
	t.Helper()
	got, err := through[T](v)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%T: %+v came back as %+v (%v)", v, v, got, err)
	}
}

func TestTypesGoThrough(t *testing.T) {
	same(t, 7)
	same(t, "text")
	same(t, []byte("bytes"))
	same(t, []string{"a", "b"})
	same(t, struct{}{})
	same(t, record{7, "x"})
	same(t, &record{7, "x"})
	same(t, []record{{1, "a"}, {1 << 60, strings.Repeat("b", 20_000)}, {}})
	same(t, []*record{{1, "a"}})
	same(t, []record{})
	same(t, map[string]record{"k": {2, "b"}})
	same(t, time.Now().Round(0).UTC())
	same(t, nested{Digest: [32]byte{1}, Digests: [][4]byte{{1, 2, 3, 4}}, ByName: map[string][4]byte{"a": {}}, Inner: &nested{}, Big: big.NewInt(5)})
	same(t, math.Inf(1))
	if v, err := through[any](map[string]any{"a": []any{1, 2.5, "x", nil}}); err != nil || !reflect.DeepEqual(v, map[string]any{"a": []any{1, 2.5, "x", nil}}) {
		t.Error(v, err)
	}
	if v, err := through[*int]((*int)(nil)); v != nil || err != nil {
		t.Error(v, err)
	}
}

func TestAnyListOfRecordsGoesThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.Custom(func(t *rapid.T) record {
			return record{rapid.Uint64().Draw(t, "id"), strings.Repeat("x", rapid.IntRange(0, 40_000).Draw(t, "length"))}
		})).Draw(t, "list")
		got, err := through[[]record](list)
		if err != nil || len(got) != len(list) || len(list) > 0 && !reflect.DeepEqual(got, list) {
			t.Fatal(len(list), len(got), err)
		}
	})
}

func TestMismatches(t *testing.T) {
	errs := map[string]error{}
	_, errs["text as number"] = through[int]("text")
	_, errs["number as bytes"] = through[[]byte](7)
	_, errs["record as list"] = through[[]record](record{})
	_, errs["bytes as record"] = through[record]([]byte("x"))
	_, errs["list as record"] = through[record]([]record{{}})
	_, errs["panicking decoder"] = through[record](record{1, "trap"})
	_, errs["short digest"] = through[nested](map[string]any{"Digest": []byte("short")})
	_, errs["long digest"] = through[nested](map[string]any{"digest": make([]byte, 33)})
	_, errs["short digest in a list"] = through[nested](map[string]any{"d": [][]byte{make([]byte, 4), make([]byte, 3)}})
	_, errs["short digest in a map"] = through[nested](map[string]any{"n": map[string][]byte{"k": {1}}})
	_, errs["short digest further in"] = through[nested](map[string]any{"Inner": map[string]any{"Digest": []byte{1}}})
	_, errs["bare short array"] = through[[4]byte](any([]byte{1}))
	for name, err := range errs {
		if !errors.Is(err, Decode) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, err := through[nested](map[string]any{"Digest": make([]byte, 32), "Unknown": []byte{1}}); err != nil {
		t.Error(v, err)
	}
	if _, err := through[record](record{Name: "unsendable"}); !errors.Is(err, Encode) {
		t.Error(err)
	}
	if _, err := through[int](make(chan int)); !errors.Is(err, Encode) {
		t.Error(err)
	}
}

func TestRegisteredTypesArriveAsThemselves(t *testing.T) {
	both := []Option{Register[record]("record"), Register[point]("point"), Register[*nested]("nested")}
	s := listen(t, echo, both...)
	c := dial(t, s, both...)
	for _, v := range []any{record{7, "x"}, point{1, 2, "p"}, &nested{Digest: [32]byte{9}}} {
		d := c.Datagram(v)
		if !d.Send() || !reflect.DeepEqual(d.Value(), v) {
			t.Errorf("%T %+v, %v", d.Value(), d.Value(), d.Err())
		}
	}
	stranger := dial(t, listen(t, echo))
	d := stranger.Datagram(point{1, 2, "p"})
	if !d.Send() || !reflect.DeepEqual(d.Value(), map[string]any{"X": 1, "Y": 2, "Name": "p"}) {
		t.Error(d.Value(), d.Err())
	}
	if p, err := As[point](d); err != nil || p != (point{1, 2, "p"}) {
		t.Error(p, err)
	}
	// What one side has registered in binary form can't be read by the other.
	half := dial(t, listen(t, echo), both...)
	d = half.Datagram(record{7, "x"})
	if d.Send() || !errors.Is(d.Err(), Decode) {
		t.Error(d.Value(), d.Err())
	}
	if d = Dial("nowhere", Register[record]("a"), Register[point]("a")).Datagram(1); d.Send() || !strings.Contains(d.Err().Error(), "taken") {
		t.Error(d.Err())
	}
	if _, err := Listen("localhost:0", Register[record]("a"), Register[record]("b")); err == nil {
		t.Error("a type took two names")
	}
}

func TestNumbersKeepTheirValue(t *testing.T) {
	c := dial(t, listen(t, echo))
	huge, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	for _, v := range []any{math.MaxInt, math.MinInt, uint64(math.MaxUint64), huge, big.NewInt(3), -0.5, math.MaxFloat64} {
		if d := c.Datagram(v); !d.Send() || !reflect.DeepEqual(d.Value(), v) {
			t.Errorf("%T %v came back as %T %v", v, v, d.Value(), d.Value())
		}
	}
	if d := c.Datagram(int8(-3)); !d.Send() || d.Value() != -3 {
		t.Errorf("%T %v", d.Value(), d.Value())
	}
}

// TestExpansionIsBounded sends little that would become much.
func TestExpansionIsBounded(t *testing.T) {
	head := func(n int) []byte { return []byte{0x9a, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }
	maps := append(head(1<<20), bytes.Repeat([]byte{0xa0}, 1<<20)...)
	it := item{codec: codecCBOR, body: maps, limit: 1 << 20}
	if _, err := (&registry{}).natural(it); !errors.Is(err, TooLarge) {
		t.Error(err)
	}
	var wide []struct{ A, B, C, D [64]byte }
	if err := decodeTyped(it, &wide); !errors.Is(err, TooLarge) {
		t.Error(err)
	}
	var records []record
	if err := decodeTyped(item{codec: codecBinArr, body: make([]byte, 1<<20), limit: 1 << 20}, &records); !errors.Is(err, TooLarge) {
		t.Error(err)
	}
	claims := []byte{0x9b, 0, 0, 0, 1, 0, 0, 0, 0}
	if _, err := (&registry{}).natural(item{codec: codecCBOR, body: claims, limit: 1 << 20}); !errors.Is(err, Decode) {
		t.Error(err)
	}
	deep := append(bytes.Repeat([]byte{0x81}, 1000), 0)
	if _, err := (&registry{}).natural(item{codec: codecCBOR, body: deep, limit: 1 << 20}); !errors.Is(err, Decode) {
		t.Error(err)
	}
}

func TestErrorsThatCross(t *testing.T) {
	s := listen(t, nil)
	const Full Code = "full"
	wrapped := map[string]error{
		"plain":   errors.New("disk on fire"),
		"code":    Full,
		"wrapped": errors.Join(errors.New("while copying"), Full),
		"error":   &Error{Code: Full, Msg: "7 GiB are missing"},
		"empty":   &Error{Msg: "no code"},
		"ended":   context.DeadlineExceeded,
		"long":    errors.New(strings.Repeat("x", 100_000)),
	}
	Handle(s, "fail", func(_ context.Context, _ Peer, which string) (int, error) { return 0, wrapped[which] })
	c := dial(t, s)
	for which, want := range map[string]Error{
		"plain":   {Code: Failed, Msg: "disk on fire"},
		"code":    {Code: Full},
		"wrapped": {Code: Full, Msg: "while copying\nfull"},
		"error":   {Code: Full, Msg: "7 GiB are missing"},
		"empty":   {Code: Failed, Msg: "no code"},
		"ended":   {Code: TimedOut, Msg: "context deadline exceeded"},
		"long":    {Code: Failed, Msg: strings.Repeat("x", 4<<10)},
	} {
		_, err := Call[int](t.Context(), c, "fail", which)
		var e *Error
		want.Remote, want.Sent = true, true
		if !errors.As(err, &e) || *e != want {
			t.Errorf("%s: %.80v", which, err)
		}
	}
}
