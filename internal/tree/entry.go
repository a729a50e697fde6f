package tree

// Kind is what an entry is.
type Kind uint8

// The kinds. The zero Kind is none of them.
const (
	KindFile Kind = iota + 1
	KindFolder
	KindSymlink
	KindOther // a socket, FIFO or device: listed, never backed up
)

// String is the kind in lower case, as manifests write it.
func (k Kind) String() string {
	switch k {
	case KindFile:
		return "file"
	case KindFolder:
		return "folder"
	case KindSymlink:
		return "symlink"
	case KindOther:
		return "other"
	}
	return "unknown"
}

// Entry is one name in a folder and what lstat says of it.
type Entry struct {
	Name       string // the last component, as bytes; "" for the root itself
	Kind       Kind
	Size       int64
	ModTime    int64  // nanoseconds since 1970
	ChangeTime int64  // nanoseconds since 1970
	Inode      uint64 // may be reused by the file system
	Device     uint64 // may differ after a reboot, for the same disk
	Mode       uint32 // permission, set-id and sticky bits: 07777
	UID, GID   uint32
	Links      uint32
	Target     string // of a symbolic link, as bytes
	Skipped    string // why KindOther is not backed up: "socket", "fifo", "device"
	// Handle is the visitor's own: what it sets on a folder's entry comes back as that Folder's Handle.
	Handle uint64
}

// SameVersion tells whether two looks at one path saw the same content, as far as stat can tell: same kind, size,
// modification and change time, and inode. Device is left out, since disks get new numbers at boot.
func (e *Entry) SameVersion(o *Entry) bool {
	return e.Kind == o.Kind && e.Size == o.Size && e.ModTime == o.ModTime && e.ChangeTime == o.ChangeTime && e.Inode == o.Inode
}

// Identity tells one root folder from another that may come to lie under the same path.
type Identity struct {
	Device uint64 // the same until the next boot
	Inode  uint64
	FSID   uint64 // the file system's own id; 0 where it has none. On most file systems it outlives a reboot
	Born   int64  // when the folder was made, nanoseconds since 1970; 0 where that is not known
}

// Same tells whether two identities, perhaps from before and after a reboot, are of the same folder: equal inode, and equal
// file system id, or equal device where one has no such id. Another disk often gets the device number of the one before it, and some
// file systems make their id from that: a root that was made at another time is another one.
func (i Identity) Same(o Identity) bool {
	if i.Born != 0 && o.Born != 0 && i.Born != o.Born {
		return false
	}
	if i.FSID != 0 && o.FSID != 0 {
		return i.Inode == o.Inode && i.FSID == o.FSID
	}
	return i.Inode == o.Inode && i.Device == o.Device
}

// Problem is one path that could not be read or is not backed up. The walk goes on after it.
type Problem struct {
	Path   string // below the root, as bytes; "" is the root
	Reason string // Unreadable or Skipped
	Err    error
}

// The reasons of a Problem. What is Skipped is left out on purpose: a type that is not backed up, another file system.
const (
	ReasonUnreadable = "Unreadable"
	ReasonSkipped    = "Skipped"
)
