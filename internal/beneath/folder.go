package beneath

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Folder is an open directory. Its methods may be called by several goroutines at once; none may after Close. Errors are those of the
// system calls (unix.Errno), wrapped where a path of several components is named.
type Folder struct{ fd int }

// None is no folder.
var None = Folder{-1}

const folderFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

// ErrNotRegular: it is something else than a regular file.
var ErrNotRegular = errors.New("not a regular file")

// InTheWayError says that a component of a path is there but is no folder.
type InTheWayError struct{ Path string }

func (e *InTheWayError) Error() string { return fmt.Sprintf("%q is in the way: not a folder", e.Path) }

// Retry repeats call while signals interrupt it.
func Retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// OpenFolder opens a directory by its path in the file system; links on the way are followed.
func OpenFolder(path string) (Folder, error) {
	f := Folder{-1}
	err := Retry(func() (err error) { f.fd, err = unix.Open(path, folderFlags, 0); return err })
	if err != nil {
		return f, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

// At is the directory that a descriptor is of; it stays the caller's to close.
func At(fd int) Folder { return Folder{fd} }

// FD is its descriptor, -1 for None.
func (f Folder) FD() int { return f.fd }

// Close closes it.
func (f Folder) Close() { _ = unix.Close(f.fd) }

// Child opens the folder called name; ".." is unix.EXDEV.
func (f Folder) Child(name string) (Folder, error) {
	c := Folder{-1}
	if name == ".." {
		return c, unix.EXDEV
	}
	err := Retry(func() (err error) {
		c.fd, err = unix.Openat(f.fd, name, folderFlags|unix.O_NOFOLLOW, 0)
		return err
	})
	return c, err
}

// Open opens the folder at path below f; "" is f itself.
func (f Folder) Open(path string) (Folder, error) {
	if path == "" {
		return f.Child(".")
	}
	if fd, ok := AtOnce(f.fd, path, false); ok {
		return Folder{fd}, nil
	}
	at, err := f.Child(".")
	if err != nil {
		return at, err
	}
	for name := range strings.SplitSeq(path, "/") {
		next, err := at.Child(name)
		at.Close()
		if err != nil {
			return Folder{-1}, fmt.Errorf("open folder %q: %w", path, err)
		}
		at = next
	}
	return at, nil
}

// Ensure opens the folder at path below f and makes what is missing of it with the mode. made is told of each folder that gained an
// entry. *InTheWayError: something else has the name.
func (f Folder) Ensure(path string, mode uint32, made func(string)) (Folder, error) {
	if path == "" {
		return f.Child(".")
	}
	if fd, ok := AtOnce(f.fd, path, false); ok {
		return Folder{fd}, nil
	}
	parent, name := Split(path)
	at, err := f.Ensure(parent, mode, made)
	if err != nil {
		return at, err
	}
	defer at.Close()
	next, err := at.ensureChild(name, mode, func() { made(parent) })
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) {
		return None, &InTheWayError{path}
	}
	if err != nil {
		return None, fmt.Errorf("make folder %q: %w", path, err)
	}
	return next, nil
}

func (f Folder) ensureChild(name string, mode uint32, made func()) (Folder, error) {
	next, err := f.Child(name)
	if err != unix.ENOENT {
		return next, err
	}
	err = Retry(func() error { return unix.Mkdirat(f.fd, name, mode) })
	if err != nil && err != unix.EEXIST {
		return next, err
	}
	made()
	return f.Child(name)
}

// Stat looks at what is called name; a link is not followed.
func (f Folder) Stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := Retry(func() error { return unix.Fstatat(f.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// OpenFile opens a file to read; it never waits, whatever the file is. That it is read is not noted as its access time, where this
// process may have that: each note would be a write.
func (f Folder) OpenFile(name string) (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	open := func(flags int) error {
		return Retry(func() (err error) { fd, err = unix.Openat(f.fd, name, flags, 0); return err })
	}
	if err = open(flags | noAtime); noAtime != 0 && err == unix.EPERM {
		err = open(flags)
	}
	return fd, err
}

// OpenRegular opens what must be a regular file (ErrNotRegular), and a file of ours: a mode that its owner can't read, where this
// process is not root, is changed.
func (f Folder) OpenRegular(name string) (fd int, st unix.Stat_t, err error) {
	fd, err = f.OpenFile(name)
	if err != nil {
		var statErr error
		if st, statErr = f.Stat(name); statErr == nil && !IsRegular(&st) {
			return -1, st, ErrNotRegular
		}
	}
	if err == unix.EACCES {
		_ = f.Chmod(name, uint32(st.Mode)&0o7777|0o400)
		fd, err = f.OpenFile(name)
	}
	if err != nil {
		return -1, st, err
	}
	if err = Retry(func() error { return unix.Fstat(fd, &st) }); err == nil && !IsRegular(&st) {
		err = ErrNotRegular
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, st, err
}

// Create opens a file to write, empty. If it is new it has the mode, less the process's umask.
func (f Folder) Create(name string, mode uint32) (fd int, err error) {
	err = Retry(func() (err error) {
		fd, err = unix.Openat(f.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

// Rename moves a file to another folder; what has the name there is replaced.
func (f Folder) Rename(name string, to Folder, newName string) error {
	return Retry(func() error { return unix.Renameat(f.fd, name, to.fd, newName) })
}

// moveByLink is Move where nothing less will do: a link does not replace. Where there are no hard links either, a look must do.
func (f Folder) moveByLink(name string, to Folder, newName string) error {
	err := f.Link(name, to, newName)
	if err == nil {
		return f.Remove(name)
	}
	if err == unix.EEXIST {
		return err
	}
	if there, err := to.Exists(newName); there || err != nil {
		return cmp.Or(err, error(unix.EEXIST))
	}
	return f.Rename(name, to, newName)
}

// Remove deletes what is no folder.
func (f Folder) Remove(name string) error {
	return Retry(func() error { return unix.Unlinkat(f.fd, name, 0) })
}

// RemoveFolder deletes an empty folder.
func (f Folder) RemoveFolder(name string) error {
	return Retry(func() error { return unix.Unlinkat(f.fd, name, unix.AT_REMOVEDIR) })
}

// Chmod must only be given what is known to be no symbolic link.
func (f Folder) Chmod(name string, mode uint32) error {
	return Retry(func() error { return unix.Fchmodat(f.fd, name, mode, 0) })
}

// SetModTime sets the modification time, in nanoseconds since 1970, also of a link.
func (f Folder) SetModTime(name string, ns int64) error {
	ts := unix.NsecToTimespec(ns)
	return Retry(func() error {
		return unix.UtimesNanoAt(f.fd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// Names lists the folder in no order.
func (f Folder) Names() ([]string, error) {
	again, err := f.Child(".")
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(again.fd), ".")
	defer d.Close()
	return d.Readdirnames(-1)
}

// Exists tells whether there is anything called name.
func (f Folder) Exists(name string) (bool, error) {
	_, err := f.Stat(name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// RemoveTree deletes what is called name, folders whole, and follows no link. Folders that rsync left without write permission
// get it first.
func (f Folder) RemoveTree(name string) error {
	err := f.Remove(name)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	st, statErr := f.Stat(name)
	if statErr != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	if st.Mode&0o700 != 0o700 {
		_ = f.Chmod(name, 0o700)
	}
	return f.removeFolderTree(name)
}

func (f Folder) removeFolderTree(name string) error {
	sub, err := f.Child(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	names, err := sub.Names()
	for _, n := range names {
		err = errors.Join(err, sub.RemoveTree(n))
	}
	if err != nil {
		return err
	}
	return f.RemoveFolder(name)
}

// TreeBytes adds up the sizes of the files below the folder called name.
func (f Folder) TreeBytes(name string) int64 {
	sub, err := f.Child(name)
	if err != nil {
		return 0
	}
	defer sub.Close()
	names, _ := sub.Names()
	var sum int64
	for _, n := range names {
		st, err := sub.Stat(n)
		switch {
		case err != nil:
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			sum += sub.TreeBytes(n)
		default:
			sum += st.Size
		}
	}
	return sum
}

// Split parts a slash-separated path into its folder ("" for none) and its last component.
func Split(path string) (dir, base string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// Join puts slash-separated paths together, skipping empty ones.
func Join(parts ...string) string { return filepath.ToSlash(filepath.Join(parts...)) }

// IsRegular tells whether it is a regular file.
func IsRegular(st *unix.Stat_t) bool { return uint32(st.Mode)&unix.S_IFMT == unix.S_IFREG }

// IsFolder tells whether it is a directory.
func IsFolder(st *unix.Stat_t) bool { return uint32(st.Mode)&unix.S_IFMT == unix.S_IFDIR }

// ModTime is the modification time in nanoseconds since 1970.
func ModTime(st *unix.Stat_t) int64 { return st.Mtim.Nano() }

// ReadFull fills buf from an open file; io.EOF means that the file ended with what was read.
func ReadFull(fd int, buf []byte) (n int, err error) {
	for n < len(buf) {
		var k int
		err := Retry(func() (err error) { k, err = unix.Read(fd, buf[n:]); return err })
		if err != nil {
			return n, err
		}
		if k == 0 {
			return n, io.EOF
		}
		n += k
	}
	return n, nil
}

// WriteAll writes all of buf to an open file.
func WriteAll(fd int, buf []byte) error {
	for len(buf) > 0 {
		var k int
		err := Retry(func() (err error) { k, err = unix.Write(fd, buf); return err })
		if err != nil {
			return err
		}
		buf = buf[k:]
	}
	return nil
}
