package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	v1 "clusterbackup/api/v1"
)

// ALPN is the protocol's name in TLS: one connection, the question what to serve (internal/ask), then this package's format.
const ALPN = "cb-files/1"

// ErrProtocol: the peer says what makes no sense.
var ErrProtocol = errors.New("the peer does not keep to the protocol")

const (
	absent = 0
	comes  = 1
)

const (
	questionBytes = 2 + 8
	headerBytes   = 1 + 4 + 4 + 4 + 8
	lengthBytes   = 4
	// chunk is how much of a file is read, sent and written at once, at the most.
	chunk = 256 << 10
	// sendAtOnce is how much is sent between two looks at whether the connection stands still.
	sendAtOnce = 64 << 10
)

// File is one to fetch.
type File struct {
	Path v1.RelPath
	Size int64 // in bytes; one of another size does not come
}

func appendQuestion(b []byte, f File) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.Path)))
	b = binary.BigEndian.AppendUint64(b, uint64(f.Size))
	return append(b, f.Path...)
}

// readQuestion returns io.EOF when the peer has asked for all it wants.
func readQuestion(r io.Reader) (f File, err error) {
	var fixed [questionBytes]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return f, err
	}
	path := make([]byte, binary.BigEndian.Uint16(fixed[:]))
	if _, err := io.ReadFull(r, path); err != nil {
		return f, err
	}
	f.Size = int64(binary.BigEndian.Uint64(fixed[2:]))
	if f.Path, err = v1.ParseRelPath(string(path)); err != nil || f.Size < 0 {
		return f, fmt.Errorf("%w: asked for %q of %d bytes", ErrProtocol, path, f.Size)
	}
	return f, nil
}

// header is what is said of a file before its bytes.
type header struct {
	mode, owner, group uint32
	modTime            int64
}

func (h header) put(b []byte) {
	b[0] = comes
	binary.BigEndian.PutUint32(b[1:], h.mode)
	binary.BigEndian.PutUint32(b[5:], h.owner)
	binary.BigEndian.PutUint32(b[9:], h.group)
	binary.BigEndian.PutUint64(b[13:], uint64(h.modTime))
}

// headerOf reads what follows the status.
func headerOf(b []byte) header {
	return header{
		mode:    binary.BigEndian.Uint32(b) & 0o7777,
		owner:   binary.BigEndian.Uint32(b[4:]),
		group:   binary.BigEndian.Uint32(b[8:]),
		modTime: int64(binary.BigEndian.Uint64(b[12:])),
	}
}
