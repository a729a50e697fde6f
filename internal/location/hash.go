package location

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

const hashBuffer = 256 << 10

// hasher computes digests of what lies on the disk; each worker has its own, for as long as it works.
type hasher struct {
	buf *[hashBuffer]byte
	// limit, when given, is asked before that many bytes are read, and read is told of how many were.
	limit func(ctx context.Context, bytes int) error
	read  func(bytes int)
	// blocks are of the file that was read last.
	blocks blockSummer
}

var hashBuffers = sync.Pool{New: func() any { return new([hashBuffer]byte) }}

func newHasher() *hasher { return &hasher{buf: hashBuffers.Get().(*[hashBuffer]byte)} }

// close ends its use.
func (h *hasher) close() { hashBuffers.Put(h.buf) }

// sum reads an open file, which should have that size, to its end.
func (h *hasher) sum(ctx context.Context, fd int, expected int64) (digest v1.Digest, size int64, err error) {
	hash := sha256.New()
	h.blocks.begin(expected)
	for {
		if err := h.ask(ctx, len(h.buf)); err != nil {
			return digest, size, err
		}
		n, err := beneath.ReadFull(fd, h.buf[:])
		h.tell(n)
		hash.Write(h.buf[:n])
		h.blocks.add(h.buf[:n])
		size += int64(n)
		if errors.Is(err, io.EOF) {
			hash.Sum(digest[:0])
			return digest, size, nil
		}
		if err != nil {
			return digest, size, err
		}
	}
}

// ask waits until that many bytes may be read.
func (h *hasher) ask(ctx context.Context, bytes int) error {
	if err := ctx.Err(); err != nil || h.limit == nil {
		return err
	}
	return h.limit(ctx, bytes)
}

func (h *hasher) tell(bytes int) {
	if h.read != nil && bytes > 0 {
		h.read(bytes)
	}
}

// file computes the digest of the file called name, which was seen as st and must be it still, before and after.
func (h *hasher) file(ctx context.Context, at beneath.Folder, name string, st *unix.Stat_t) (v1.Digest, error) {
	fd, err := at.OpenFile(name)
	if err != nil {
		return v1.Digest{}, err
	}
	defer unix.Close(fd)
	digest, size, err := h.sum(ctx, fd, st.Size)
	if err != nil {
		return v1.Digest{}, err
	}
	var after unix.Stat_t
	if err := unix.Fstat(fd, &after); err != nil {
		return v1.Digest{}, err
	}
	if size != st.Size || after.Ino != st.Ino || beneath.ModTime(&after) != beneath.ModTime(st) {
		return v1.Digest{}, fmt.Errorf("read %q: %w", name, ErrChanged)
	}
	return digest, nil
}

func (l *Location) digestIn(at beneath.Folder, name string, st *unix.Stat_t) (v1.Digest, error) {
	hash := newHasher()
	defer hash.close()
	return hash.file(context.Background(), at, name, st)
}

// sameTime tells whether a file that should have the modification time want may have got it as has: file systems and old rsyncs
// keep less than nanoseconds.
func sameTime(want, has int64) bool {
	if want == has {
		return true
	}
	for _, grain := range [...]int64{100, 1_000, 1_000_000_000, 2_000_000_000} {
		low := want - ((want%grain)+grain)%grain
		if has == low || grain == 2_000_000_000 && has == low+grain { // FAT rounds up
			return true
		}
	}
	return false
}
