package rsync

import (
	"errors"
	"io"
	"os"
	"strconv"

	v1 "clusterbackup/api/v1"
)

// ErrTooLarge: the files are larger than Pull.MaxBytes by now.
var ErrTooLarge = errors.New("more arrived than was asked for")

// limitVariable tells "cbd rsh" how many bytes it may bring. rsync itself limits no more than each file's size when it makes its
// list; what grows after that, or is small beside the largest file of the batch, comes whole.
const limitVariable = "CLUSTERBACKUP_RSH_LIMIT"

// wireLimit is how many bytes of rsync's protocol may bring p.MaxBytes bytes of files: names, attributes and block sums come on top.
// Nothing is compressed.
func (p Pull) wireLimit(files []v1.RelPath) int64 {
	limit := p.MaxBytes + p.MaxBytes>>9 + 64<<10
	for _, file := range files {
		limit += int64(len(file)) + 256
	}
	return limit
}

// limited ends with ErrTooLarge after as many bytes as the process that called Run allows.
func limited(from io.Reader) io.Reader {
	left, err := strconv.ParseInt(os.Getenv(limitVariable), 10, 64)
	if err != nil || left <= 0 {
		return from
	}
	return &limitedReader{from: from, left: left}
}

type limitedReader struct {
	from io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := l.from.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
