package transport

import (
	"bytes"
	"context"
	"testing"
)

// benchmarkCall measures requests of n bytes with callers at once, client and
// server in one process. The comparison with other libraries is in bench/.
func benchmarkCall(b *testing.B, n, callers int) {
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	Handle(s, "echo", func(_ context.Context, _ Peer, p []byte) ([]byte, error) { return p, nil })
	c := Dial(s.Addr().String())
	defer c.Close()
	payload := bytes.Repeat([]byte{7}, n)
	call := func() {
		if _, err := Call[[]byte](b.Context(), c, "echo", payload); err != nil {
			b.Error(err)
		}
	}
	call()
	b.SetBytes(int64(2 * n))
	b.ReportAllocs()
	if callers == 1 {
		for b.Loop() {
			call()
		}
		return
	}
	b.SetParallelism(callers / 2)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			call()
		}
	})
}

func BenchmarkCall1K(b *testing.B)      { benchmarkCall(b, 1<<10, 1) }
func BenchmarkCall1M(b *testing.B)      { benchmarkCall(b, 1<<20, 1) }
func BenchmarkCall1Kx64(b *testing.B)   { benchmarkCall(b, 1<<10, 64) }
func BenchmarkCall100Bx64(b *testing.B) { benchmarkCall(b, 100, 64) }
func BenchmarkCall256Kx64(b *testing.B) { benchmarkCall(b, 256<<10, 64) }
