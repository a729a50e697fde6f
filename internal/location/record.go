package location

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// Record is a replica as the index knows it.
type Record struct {
	Path v1.RelPath
	// Gen is the generation that was copied; zero when the index was rebuilt and nobody has said which it is.
	Gen v1.Generation
	// Digest was computed from what lay on this disk.
	Digest v1.Digest
	Size   int64
	// ModTime is in nanoseconds since 1970.
	ModTime int64
	// Mode holds the permission bits.
	Mode uint32
	// Replacing: it replaced an earlier version and was not confirmed yet. Until it is, that version is kept whatever its age.
	Replacing bool
	// Bad: its bytes were found to differ from Digest.
	Bad bool
	// Verified is when its bytes were last compared with Digest, Unix seconds.
	Verified int64
	// Since is when these bytes came to be held here under this path, Unix seconds; 0: not known.
	Since int64
}

// Reason says why a version is no longer current.
type Reason uint8

// The reasons.
const (
	Replaced Reason = iota + 1 // a newer version took its name
	Retired                    // the source no longer has the file
	Stray                      // it stood under a name that nothing was known to be at
)

// String is the reason in one word.
func (r Reason) String() string {
	return [...]string{"Unknown", "Replaced", "Retired", "Stray"}[min(r, 3)]
}

// Version is an earlier or deleted version that is still kept.
type Version struct {
	Record
	// Name is where it lies, below the location's root.
	Name string
	// Since is when it stopped being current.
	Since time.Time
	// Aside is when it was set aside, Until when the retention ends that was promised then, both by the location's clock of
	// retention (see AgingTime).
	Aside, Until time.Time
	Reason       Reason
	// Count is how many replaced versions of its file were to be kept when it was set aside: as long as Until is not over, it is not
	// for their number that it goes, unless there are more. 0: nothing was said.
	Count int
}

// anyCount is a Count that is never reached.
const anyCount = 1 << 30

// Below is the version's name below its source's folder of versions.
func (v *Version) Below(source v1.SourceName) v1.RelPath {
	return v1.RelPath(strings.TrimPrefix(v.Name, versionsFolder(source)+"/"))
}

const recordFormat = 1

var errRecord = errors.New("record can't be read")

const (
	flagReplacing = 1 << iota
	flagBad
	flagSince
)

func (r *Record) append(b []byte) []byte {
	var flags byte
	if r.Replacing {
		flags |= flagReplacing
	}
	if r.Bad {
		flags |= flagBad
	}
	if r.Since != 0 {
		flags |= flagSince
	}
	b = append(b, recordFormat, flags)
	b = binary.BigEndian.AppendUint64(b, r.Gen.Epoch)
	b = binary.AppendUvarint(b, r.Gen.Seq)
	b = binary.AppendUvarint(b, uint64(r.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(r.ModTime))
	b = binary.AppendUvarint(b, uint64(r.Mode))
	b = binary.AppendVarint(b, r.Verified)
	if r.Since != 0 {
		b = binary.AppendVarint(b, r.Since)
	}
	return append(b, r.Digest[:]...)
}

// reader takes values off the front of encoded bytes; after the first failure it returns zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || len(r.b) < n {
		r.b, r.bad = nil, true
		return make([]byte, max(n, 0)&0xff)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) fixed() uint64  { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) string() string { return string(r.take(int(min(r.uvarint(), 1<<20)))) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.b, r.bad = nil, true
		return
	}
	r.b = r.b[n:]
}

func (r *reader) record() (rec Record) {
	if r.byte() != recordFormat {
		r.bad = true
	}
	flags := r.byte()
	rec.Replacing, rec.Bad = flags&flagReplacing != 0, flags&flagBad != 0
	rec.Gen.Epoch = r.fixed()
	rec.Gen.Seq = r.uvarint()
	rec.Size = int64(r.uvarint())
	rec.ModTime = int64(r.fixed())
	rec.Mode = uint32(r.uvarint())
	rec.Verified = r.varint()
	if flags&flagSince != 0 {
		rec.Since = r.varint()
	}
	copy(rec.Digest[:], r.take(len(rec.Digest)))
	return rec
}

// count reads a number at the end that earlier releases did not write.
func (r *reader) count() int {
	if len(r.b) == 0 {
		return 0
	}
	return int(min(r.uvarint(), anyCount))
}

// aside reads a time at the end that earlier releases did not write: they had one clock.
func (r *reader) aside(since int64) time.Time {
	if len(r.b) == 0 {
		return time.Unix(since, 0)
	}
	return time.Unix(r.varint(), 0)
}

func (r *reader) done() error {
	if r.bad || len(r.b) != 0 {
		return errRecord
	}
	return nil
}

// pathKey orders records by folder, then name: a folder's own records stand together.
func pathKey(path v1.RelPath) []byte {
	dir, base := beneath.Split(string(path))
	return []byte(dir + "\x00" + base)
}

func parsePathKey(key []byte) (v1.RelPath, error) {
	dir, base, ok := strings.Cut(string(key), "\x00")
	if !ok || base == "" {
		return "", errRecord
	}
	if dir == "" {
		return v1.RelPath(base), nil
	}
	return v1.RelPath(dir + "/" + base), nil
}

func decodeRecord(key, value []byte) (Record, error) {
	r := reader{b: value}
	rec := r.record()
	if err := r.done(); err != nil {
		return Record{}, err
	}
	var err error
	rec.Path, err = parsePathKey(key)
	return rec, err
}

// versionKey is unique: two versions of one file never have the same second.
func versionKey(path v1.RelPath, since int64) []byte {
	return binary.BigEndian.AppendUint64(append(pathKey(path), 0), uint64(since))
}

func (v *Version) append(b []byte) []byte {
	b = append(b, byte(v.Reason))
	b = binary.AppendVarint(b, v.Until.Unix())
	b = binary.AppendUvarint(b, uint64(len(v.Name)))
	b = append(b, v.Name...)
	b = v.Record.append(b)
	b = binary.AppendUvarint(b, uint64(v.Count))
	return binary.AppendVarint(b, v.Aside.Unix())
}

func decodeVersion(key, value []byte) (Version, error) {
	if len(key) < 11 || key[len(key)-9] != 0 {
		return Version{}, errRecord
	}
	r := reader{b: value}
	v := Version{Reason: Reason(r.byte())}
	v.Until = time.Unix(r.varint(), 0)
	v.Name = r.string()
	v.Record = r.record()
	v.Count = r.count()
	v.Since = time.Unix(int64(binary.BigEndian.Uint64(key[len(key)-8:])), 0)
	v.Aside = r.aside(v.Since.Unix())
	if err := r.done(); err != nil {
		return Version{}, err
	}
	var err error
	v.Path, err = parsePathKey(key[:len(key)-9])
	return v, err
}
