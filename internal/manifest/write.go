package manifest

import (
	"encoding/json"
	"fmt"
	"io"

	v1 "clusterbackup/api/v1"
	"github.com/klauspost/compress/zstd"
)

// Writer writes a manifest. It is for one goroutine. After an error all further calls return it.
type Writer struct {
	zip  *zstd.Encoder
	json *json.Encoder
	end  endLine
	err  error
}

// NewWriter writes the header. The manifest is whole only after a Close without error.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if h.Root != nil {
		if err := h.Root.checkRoot(); err != nil {
			return nil, fmt.Errorf("write manifest: root folder: %w", err)
		}
	}
	zip, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	m := &Writer{zip: zip, json: json.NewEncoder(zip)}
	m.json.SetEscapeHTML(false)
	line := headerLine{Format: Format, Source: h.Source, ClusterUID: h.ClusterUID, SourceUID: h.SourceUID,
		Generation: generation(h.Generation), Time: h.Time, Host: h.Host}
	if h.Root != nil {
		line.Root = h.Root.line()
	}
	return m, m.put(line)
}

// Write adds an entry; a folder comes before what is in it.
func (m *Writer) Write(e *Entry) error {
	if m.err != nil {
		return m.err
	}
	if _, err := v1.ParseRelPath(string(e.Path)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := e.check(); err != nil {
		return fmt.Errorf("write manifest: %q: %w", e.Path, err)
	}
	m.end.Entries++
	if e.Type == File {
		m.end.Files++
		m.end.Bytes += e.Size
	}
	return m.put(e.line())
}

// Close writes the last line. It doesn't close the writer below.
func (m *Writer) Close() error {
	if m.err != nil {
		m.zip.Close() // frees it; the first error is the one to tell
		return m.err
	}
	if err := m.put(map[string]endLine{"end": m.end}); err != nil {
		m.zip.Close()
		return err
	}
	if err := m.zip.Close(); err != nil {
		m.err = fmt.Errorf("write manifest: %w", err)
	}
	return m.err
}

func (m *Writer) put(line any) error {
	if err := m.json.Encode(line); err != nil {
		m.err = fmt.Errorf("write manifest: %w", err)
	}
	return m.err
}
