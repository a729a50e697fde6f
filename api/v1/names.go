package v1

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// HostName names a host of the cluster: a DNS label, the same as in its certificate.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
type HostName string

// SourceName names a Source: a DNS label.
type SourceName string

// LocationName names a Location: a DNS label.
type LocationName string

// RelPath is a file's path below its source's root: the bytes the file system gave, in any encoding or none, separated by slashes.
// It is never absolute, never empty, and has no empty, "." or ".." component.
type RelPath string

// Errors of ParseRelPath.
var (
	ErrPathEmpty    = errors.New("path is empty")
	ErrPathAbsolute = errors.New("path is absolute")
	ErrPathDots     = errors.New(`path has an empty, "." or ".." component`)
	ErrPathNUL      = errors.New("path has a NUL byte")
)

// ParseRelPath checks what a peer or a user gave as a path.
func ParseRelPath(s string) (RelPath, error) {
	switch {
	case s == "":
		return "", ErrPathEmpty
	case s[0] == '/':
		return "", fmt.Errorf("%q: %w", s, ErrPathAbsolute)
	case strings.IndexByte(s, 0) >= 0:
		return "", fmt.Errorf("%q: %w", s, ErrPathNUL)
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("%q: %w", s, ErrPathDots)
		}
	}
	return RelPath(s), nil
}

// Dir is the path of the folder that holds p, "" for the root.
func (p RelPath) Dir() string {
	if i := strings.LastIndexByte(string(p), '/'); i >= 0 {
		return string(p[:i])
	}
	return ""
}

// Base is p's last component.
func (p RelPath) Base() string { return string(p[strings.LastIndexByte(string(p), '/')+1:]) }

// Digest is a SHA-256 of a file's bytes. The zero Digest means "not known".
//
// +kubebuilder:object:generate=false
type Digest [sha256.Size]byte

// IsZero tells whether the digest is not known.
func (d Digest) IsZero() bool { return d == Digest{} }

// String is the digest in lower-case hexadecimal, as sha256sum prints it; "" when not known.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return hex.EncodeToString(d[:])
}

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; empty text is the zero Digest.
func (d *Digest) UnmarshalText(text []byte) error {
	*d = Digest{}
	if len(text) == 0 {
		return nil
	}
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("digest has %d characters, want %d", len(text), hex.EncodedLen(len(d)))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// Generation names one version of one file within its source. Epoch is the life of a catalog: it is drawn anew (from the
// wall clock in nanoseconds, so later lives are greater) whenever a catalog is created; Seq counts up within it and is given
// to each new version of any file. The zero Generation means "not known".
type Generation struct {
	Epoch uint64 `json:"epoch" cbor:"1,keyasint"`
	Seq   uint64 `json:"seq" cbor:"2,keyasint"`
}

// IsZero tells whether the generation is not known.
func (g Generation) IsZero() bool { return g == Generation{} }

// Compare orders generations: by epoch, then sequence.
func (g Generation) Compare(o Generation) int {
	switch {
	case g == o:
		return 0
	case g.Epoch < o.Epoch || g.Epoch == o.Epoch && g.Seq < o.Seq:
		return -1
	}
	return 1
}

// String is for people: epoch in hexadecimal, a dash, sequence.
func (g Generation) String() string { return fmt.Sprintf("%x-%d", g.Epoch, g.Seq) }
