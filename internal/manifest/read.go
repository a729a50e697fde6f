package manifest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	v1 "clusterbackup/api/v1"
	"github.com/klauspost/compress/zstd"
)

// maxLine bounds one entry, maxWindow what the decoder keeps: a manifest from a peer cannot take all memory.
const (
	maxLine   = 8 << 20
	maxWindow = 16 << 20
)

// Read reads the header and returns the entries that follow, to be gone through once. The sequence ends with an error,
// ErrTruncated or ErrCorrupt or what r said, unless all that was written was read: until it has ended without one, the
// listing is not known to be whole. Paths are valid; an entry's values are the caller's.
//
// Leaving the sequence early is fine; not going through it at all keeps a little memory until the garbage collector has it.
func Read(r io.Reader) (Header, iter.Seq2[Entry, error], error) {
	zip, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return Header{}, nil, fmt.Errorf("read manifest: %w", err)
	}
	d := &reader{zip: zip, lines: bufio.NewReaderSize(zip, 64<<10)}
	h, err := d.header()
	if err != nil {
		zip.Close()
		return Header{}, nil, fmt.Errorf("read manifest: header: %w", err)
	}
	return h, d.entries, nil
}

type reader struct {
	zip   *zstd.Decoder
	lines *bufio.Reader
	long  []byte
	seen  endLine
}

func (d *reader) header() (h Header, err error) {
	text, err := d.line()
	if err != nil {
		return h, err
	}
	var l headerLine
	if err := json.Unmarshal(text, &l); err != nil {
		return h, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if l.Format < 1 || l.Format > Format {
		return h, fmt.Errorf("format %d: %w", l.Format, ErrFormat)
	}
	h = Header{Format: l.Format, Source: l.Source, ClusterUID: l.ClusterUID, SourceUID: l.SourceUID, Time: l.Time, Host: l.Host}
	if l.Generation != nil {
		h.Generation = *l.Generation
	}
	if l.Root != nil {
		root, err := l.Root.entry()
		if err == nil {
			err = root.checkRoot()
		}
		if err != nil {
			return h, fmt.Errorf("%w: root folder: %w", ErrCorrupt, err)
		}
		h.Root = &root
	}
	return h, nil
}

func (d *reader) entries(yield func(Entry, error) bool) {
	defer d.zip.Close()
	for {
		e, last, err := d.next()
		if err != nil {
			yield(Entry{}, fmt.Errorf("read manifest: entry %d: %w", d.seen.Entries+1, err))
			return
		}
		if last || !yield(e, nil) {
			return
		}
	}
}

func (d *reader) next() (e Entry, last bool, err error) {
	text, err := d.line()
	if err != nil {
		return e, false, err
	}
	var l entryLine
	if err := json.Unmarshal(text, &l); err != nil {
		return e, false, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if l.End != nil {
		return e, true, d.finish(*l.End)
	}
	if e, err = l.entry(); err == nil {
		_, err = v1.ParseRelPath(string(e.Path))
	}
	if err != nil {
		return e, false, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	d.seen.Entries++
	if e.Type == File {
		d.seen.Files++
		d.seen.Bytes += e.Size
	}
	return e, false, nil
}

// finish checks the last line, and that it is the last. Reading on to the end lets zstd check its own sum.
func (d *reader) finish(end endLine) error {
	if end != d.seen {
		return fmt.Errorf("%+v listed, %+v written: %w", d.seen, end, ErrCorrupt)
	}
	switch _, err := d.lines.ReadByte(); {
	case err == nil:
		return fmt.Errorf("goes on after its end: %w", ErrCorrupt)
	case err != io.EOF:
		return d.broken(err)
	}
	return nil
}

// line reads one line, which is valid until the next.
func (d *reader) line() ([]byte, error) {
	d.long = d.long[:0]
	for {
		part, err := d.lines.ReadSlice('\n')
		switch {
		case err == nil && len(d.long) == 0:
			return part, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, d.broken(err)
		}
		if d.long = append(d.long, part...); len(d.long) > maxLine {
			return nil, fmt.Errorf("line longer than %d bytes: %w", maxLine, ErrCorrupt)
		}
		if err == nil {
			return d.long, nil
		}
	}
}

// broken tells what zstd found wrong from what the reader below did.
func (d *reader) broken(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	case isZstd(err):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

func isZstd(err error) bool {
	for _, known := range []error{zstd.ErrReservedBlockType, zstd.ErrCompressedSizeTooBig, zstd.ErrBlockTooSmall,
		zstd.ErrUnexpectedBlockSize, zstd.ErrMagicMismatch, zstd.ErrWindowSizeExceeded, zstd.ErrWindowSizeTooSmall,
		zstd.ErrDecoderSizeExceeded, zstd.ErrUnknownDictionary, zstd.ErrFrameSizeExceeded, zstd.ErrFrameSizeMismatch,
		zstd.ErrCRCMismatch} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
