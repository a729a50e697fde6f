package tree

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nameSource lists the names of a folder. The kernel writes them into one buffer after another; they are gathered into one
// string a folder, each followed by its NUL, so that neither listing nor stat allocates for each entry.
type nameSource struct {
	raw   []byte
	names []byte
	ends  []int
	inos  []uint64
}

const (
	direntIno    = 0
	direntReclen = 16
	direntName   = 19
)

// read appends the folder's names to into and returns it. Where it fails, what came before is returned too.
func (s *nameSource) read(fd int, into []listed) ([]listed, error) {
	if s.raw == nil {
		s.raw = make([]byte, 64<<10)
	}
	s.names, s.ends, s.inos = s.names[:0], s.ends[:0], s.inos[:0]
	var failed error
	for {
		n, err := retry(func() (int, error) { return unix.Getdents(fd, s.raw) })
		if n <= 0 {
			failed = err
			break
		}
		s.take(s.raw[:n])
	}
	all := string(s.names)
	into = slices.Grow(into, len(s.ends))
	at := 0
	for i, end := range s.ends {
		into = append(into, listed{name: all[at:end], inode: s.inos[i]})
		at = end + 1
	}
	return into, failed
}

func (s *nameSource) take(block []byte) {
	for len(block) >= direntName {
		size := int(binary.NativeEndian.Uint16(block[direntReclen:]))
		if size < direntName || size > len(block) {
			return
		}
		name := block[direntName:size]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if string(name) != "." && string(name) != ".." {
			s.names = append(s.names, name...)
			s.ends = append(s.ends, len(s.names))
			s.names = append(s.names, 0)
			s.inos = append(s.inos, binary.NativeEndian.Uint64(block[direntIno:]))
		}
		block = block[size:]
	}
}

// statListed is statAt for a name that nameSource made: a NUL lies behind it.
func statListed(fd int, name string, e *Entry) error {
	var st unix.Statx_t
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(unsafe.StringData(name))),
			unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(&st)), 0)
		switch errno {
		case 0:
			e.fromStatx(&st)
			return nil
		case unix.EINTR:
		case unix.ENOSYS, unix.EPERM: // a kernel before 4.11, or a sandbox that doesn't know statx
			return statAt(fd, name, e)
		default:
			return errno
		}
	}
}

func (e *Entry) fromStatx(st *unix.Statx_t) {
	e.setType(uint32(st.Mode))
	e.Size = int64(st.Size)
	e.ModTime = st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec)
	e.ChangeTime = st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec)
	e.Inode = st.Ino
	e.Device = unix.Mkdev(st.Dev_major, st.Dev_minor)
	e.UID, e.GID = st.Uid, st.Gid
	e.Links = st.Nlink
}

func fileSystemID(fd int) uint64 {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatfs(fd, &st) }); err != nil {
		return 0
	}
	return uint64(uint32(st.Fsid.Val[0])) | uint64(uint32(st.Fsid.Val[1]))<<32
}
