package beneath

import (
	"context"
	"crypto/sha256"
	"sync"

	"golang.org/x/sys/unix"
)

var blocks = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// Digest reads an open file to its end and returns the SHA-256 (FIPS 180-4) of its bytes.
func Digest(ctx context.Context, fd int) (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	block := blocks.Get().(*[256 << 10]byte)
	defer blocks.Put(block)
	for {
		n := 0
		err := Retry(func() (err error) { n, err = unix.Read(fd, block[:]); return err })
		if err != nil {
			return sum, err
		}
		if n == 0 {
			hash.Sum(sum[:0])
			return sum, nil
		}
		hash.Write(block[:n])
		if err := ctx.Err(); err != nil {
			return sum, err
		}
	}
}
