package catalog

import (
	"encoding/binary"
	"errors"
	"slices"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
)

// Key is a name in a folder: the folder's id, eight bytes big-endian, then the name's bytes.
type Key string

// Folder is the id of the key's folder.
func (k Key) Folder() uint64 { return binary.BigEndian.Uint64([]byte(k[:8])) }

// Name is the key's last part.
func (k Key) Name() string { return string(k[8:]) }

func keyOf(folder uint64, name string) Key {
	return Key(append(be64(folder), name...))
}

// rootFolder is the id of the source's root.
const rootFolder = 1

// rootKey is where the root's own attributes are, in a folder that is none.
var rootKey = keyOf(0, "/")

// Entry is what is known of one name.
type Entry struct {
	Kind tree.Kind
	// Size, ModTime, ChangeTime (nanoseconds), Inode, Mode, UID and GID are what the latest look at it said.
	Size, ModTime, ChangeTime int64
	Inode                     uint64
	Mode, UID, GID            uint32
	// Child is the folder's id, also of a folder that is there no more while deleted files are remembered below it.
	Child uint64
	// Mount: the folder is the root of another file system.
	Mount bool
	// Seq is the current version's number within the epoch; files only.
	Seq uint64
	// Digest is of the current version; zero until it is needed.
	Digest v1.Digest
	// DeletedAt is when it was found gone, Unix nanoseconds; 0: it is there.
	DeletedAt int64
	Target    string
	Xattrs    map[string][]byte
	// Replicas are in no order; one for each holder at most.
	Replicas []Replica

	class uint32
}

// Live tells whether it is a file that is there.
func (e *Entry) Live() bool { return e.Kind == tree.KindFile && e.DeletedAt == 0 }

// Stat is the entry as the tree package describes it.
func (e *Entry) Stat(name string) tree.Entry {
	return tree.Entry{Name: name, Kind: e.Kind, Size: e.Size, ModTime: e.ModTime, ChangeTime: e.ChangeTime, Inode: e.Inode,
		Mode: e.Mode, UID: e.UID, GID: e.GID, Target: e.Target}
}

// setStat takes over what a look said.
func (e *Entry) setStat(t *tree.Entry) {
	e.Kind, e.Size, e.ModTime, e.ChangeTime, e.Inode = t.Kind, t.Size, t.ModTime, t.ChangeTime, t.Inode
	e.Mode, e.UID, e.GID, e.Target = t.Mode, t.UID, t.GID, t.Target
}

// Class is the id of the class the file is in; 0: none.
func (e *Entry) Class() uint32 { return e.class }

// State is what is known of a replica.
type State uint8

// The states. Only Confirmed replicas whose Seq is the entry's count.
const (
	// Confirmed: its digest was compared.
	Confirmed State = iota + 1
	// Unconfirmed: it fits by size and time; the digest was not compared, or not lately enough to be sure.
	Unconfirmed
	// Stale: an earlier version, or an unknown one.
	Stale
	// Corrupt: its holder found that its bytes are not what they were.
	Corrupt
	// Granted: its holder was allowed to delete it.
	Granted
	// Leaving: its holder was told to retire it.
	Leaving
)

// Replica is one replica.
type Replica struct {
	Holder HolderID
	State  State
	// Seq is the version it holds; 0: not known.
	Seq uint64
	// Verified is when its bytes were compared last, Unix seconds; 0: not known.
	Verified int64
}

// Replica finds the holder's, nil if it has none.
func (e *Entry) Replica(h HolderID) *Replica {
	for i := range e.Replicas {
		if e.Replicas[i].Holder == h {
			return &e.Replicas[i]
		}
	}
	return nil
}

// SetReplica adds the replica, or replaces the same holder's.
func (e *Entry) SetReplica(r Replica) {
	if old := e.Replica(r.Holder); old != nil {
		*old = r
		return
	}
	e.Replicas = append(e.Replicas, r)
}

// RemoveReplica forgets the holder's.
func (e *Entry) RemoveReplica(h HolderID) {
	e.Replicas = slices.DeleteFunc(e.Replicas, func(r Replica) bool { return r.Holder == h })
}

// The encoding. What a scan compares stands first and has a fixed length, so that an unchanged entry is told by its bytes.
const (
	alikeLen = 17 // kind, size, time of modification
	veryLen  = 33 // and time of change, inode
	statLen  = 45
	flagsAt  = statLen
	classAt  = flagsAt + 1
	childAt  = classAt + 4
	childEnd = childAt + 8
)

const (
	flagDeleted = 1 << iota
	flagDigest
	flagChild
	flagTarget
	flagXattrs
	flagMount
)

func appendStat(b []byte, kind tree.Kind, size, mod, change int64, inode uint64, mode, uid, gid uint32) []byte {
	b = append(b, byte(kind))
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	b = binary.BigEndian.AppendUint64(b, uint64(mod))
	b = binary.BigEndian.AppendUint64(b, uint64(change))
	b = binary.BigEndian.AppendUint64(b, inode)
	b = binary.BigEndian.AppendUint32(b, mode)
	b = binary.BigEndian.AppendUint32(b, uid)
	return binary.BigEndian.AppendUint32(b, gid)
}

func (e *Entry) flags() (f byte) {
	set := func(on bool, bit byte) {
		if on {
			f |= bit
		}
	}
	set(e.DeletedAt != 0, flagDeleted)
	set(!e.Digest.IsZero(), flagDigest)
	set(e.Child != 0, flagChild)
	set(e.Target != "", flagTarget)
	set(len(e.Xattrs) > 0, flagXattrs)
	set(e.Mount, flagMount)
	return f
}

func (e *Entry) encode(b []byte) []byte {
	b = appendStat(b, e.Kind, e.Size, e.ModTime, e.ChangeTime, e.Inode, e.Mode, e.UID, e.GID)
	b = append(b, e.flags())
	b = binary.BigEndian.AppendUint32(b, e.class)
	if e.Child != 0 {
		b = binary.BigEndian.AppendUint64(b, e.Child)
	}
	b = binary.AppendUvarint(b, e.Seq)
	if e.DeletedAt != 0 {
		b = binary.AppendVarint(b, e.DeletedAt)
	}
	if !e.Digest.IsZero() {
		b = append(b, e.Digest[:]...)
	}
	if e.Target != "" {
		b = appendBytes(b, e.Target)
	}
	if len(e.Xattrs) > 0 {
		b = appendXattrs(b, e.Xattrs)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Replicas)))
	for _, r := range e.Replicas {
		b = binary.BigEndian.AppendUint16(b, uint16(r.Holder))
		b = append(b, byte(r.State))
		b = binary.AppendUvarint(b, r.Seq)
		b = binary.AppendVarint(b, r.Verified)
	}
	return b
}

func appendBytes(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendXattrs(b []byte, attrs map[string][]byte) []byte {
	names := make([]string, 0, len(attrs))
	for name := range attrs {
		names = append(names, name)
	}
	slices.Sort(names)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = appendBytes(appendBytes(b, name), string(attrs[name]))
	}
	return b
}

var errShort = errors.New("entry is cut short")

// reader takes an encoded value apart; after an error all it gives is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err = errShort
		return make([]byte, min(max(n, 0), 64))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() byte    { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.err = errShort
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) varint() int64 {
	x, n := binary.Varint(r.b)
	if n <= 0 {
		r.err = errShort
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.err = errShort
		return ""
	}
	return string(r.take(int(n)))
}

func decodeEntry(b []byte) (*Entry, error) {
	r := &reader{b: b}
	e := &Entry{Kind: tree.Kind(r.u8()), Size: int64(r.u64()), ModTime: int64(r.u64()), ChangeTime: int64(r.u64()), Inode: r.u64(),
		Mode: r.u32(), UID: r.u32(), GID: r.u32()}
	flags := r.u8()
	e.class = r.u32()
	e.Mount = flags&flagMount != 0
	if flags&flagChild != 0 {
		e.Child = r.u64()
	}
	e.Seq = r.uvarint()
	if flags&flagDeleted != 0 {
		e.DeletedAt = r.varint()
	}
	if flags&flagDigest != 0 {
		copy(e.Digest[:], r.take(len(e.Digest)))
	}
	if flags&flagTarget != 0 {
		e.Target = r.text()
	}
	if flags&flagXattrs != 0 {
		e.Xattrs = make(map[string][]byte)
		for n := r.uvarint(); n > 0 && r.err == nil; n-- {
			name := r.text()
			e.Xattrs[name] = []byte(r.text())
		}
	}
	if n := r.uvarint(); n > 0 && r.err == nil && n <= uint64(len(r.b)) {
		e.Replicas = make([]Replica, n)
		for i := range e.Replicas {
			e.Replicas[i] = Replica{Holder: HolderID(r.u16()), State: State(r.u8()), Seq: r.uvarint(), Verified: r.varint()}
		}
	}
	return e, r.err
}
