package transport

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"clusterbackup/transport/internal/wire"
)

// worthPacking is the size from which bodies are compressed.
const worthPacking = 1 << 10

var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // constant options
	}
	return e
})

var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		panic(err) // constant options
	}
	return d
}}

// pack compresses a body if that is wanted and pays.
func pack(p parcel) parcel {
	if len(p.body) < worthPacking {
		return p
	}
	b := encoder().EncodeAll(p.body, make([]byte, 0, len(p.body)/2))
	if len(b) < len(p.body)-len(p.body)/8 {
		p.body = b
		p.flags |= wire.Compressed
	}
	return p
}

// unpack decompresses p, to at most limit bytes.
func unpack(p []byte, limit int) ([]byte, error) {
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	if err := d.Reset(bytes.NewReader(p)); err != nil {
		return nil, fault(Decode, "decompress: %w", err)
	}
	defer d.Reset(nil)
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(d, int64(limit)+1)); err != nil {
		return nil, fault(Decode, "decompress: %w", err)
	}
	if b.Len() > limit {
		return nil, fault(TooLarge, "decompress: more than %d bytes", limit)
	}
	return b.Bytes(), nil
}

// unpacked is a whole message's body as it was before it was compressed.
func (in *incoming) unpacked() (item, error) {
	it := in.item()
	if in.flags&wire.Compressed == 0 {
		return it, nil
	}
	b, err := unpack(in.body, in.c.o.maxMessage)
	it.body = b
	return it, err
}
