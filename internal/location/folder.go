package location

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// folder is an open directory. Every operation names one component below it and follows no symbolic link, so that nothing planted
// in a location can lead out of it, or from one source's files to another's.
type folder struct{ fd int }

const folderFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

// inTheWayError says that a component of a path is there but is no folder.
type inTheWayError struct{ path string }

func (e *inTheWayError) Error() string { return fmt.Sprintf("%q is in the way: not a folder", e.path) }

// retry repeats call while signals interrupt it.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func openFolder(path string) (folder, error) {
	f := folder{-1}
	err := retry(func() (err error) { f.fd, err = unix.Open(path, folderFlags, 0); return err })
	if err != nil {
		return f, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

func (f folder) close() { _ = unix.Close(f.fd) }

// child opens the folder called name.
func (f folder) child(name string) (folder, error) {
	c := folder{-1}
	err := retry(func() (err error) {
		c.fd, err = unix.Openat(f.fd, name, folderFlags|unix.O_NOFOLLOW, 0)
		return err
	})
	return c, err
}

// open opens the folder at path below f; "" is f itself.
func (f folder) open(path string) (folder, error) {
	at, err := f.child(".")
	if err != nil || path == "" {
		return at, err
	}
	for name := range strings.SplitSeq(path, "/") {
		next, err := at.child(name)
		at.close()
		if err != nil {
			return folder{-1}, fmt.Errorf("open folder %q: %w", path, err)
		}
		at = next
	}
	return at, nil
}

// ensure opens the folder at path below f and makes what is missing of it with the mode. made is told of each folder that gained an entry.
func (f folder) ensure(path string, mode uint32, made func(string)) (folder, error) {
	at, err := f.child(".")
	if err != nil || path == "" {
		return at, err
	}
	end := 0
	for name := range strings.SplitSeq(path, "/") {
		parent := strings.TrimSuffix(path[:end], "/")
		end += len(name) + 1
		next, err := at.ensureChild(name, mode, func() { made(parent) })
		at.close()
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) {
			return folder{-1}, &inTheWayError{path[:end-1]}
		}
		if err != nil {
			return folder{-1}, fmt.Errorf("make folder %q: %w", path, err)
		}
		at = next
	}
	return at, nil
}

func (f folder) ensureChild(name string, mode uint32, made func()) (folder, error) {
	next, err := f.child(name)
	if err != unix.ENOENT {
		return next, err
	}
	err = retry(func() error { return unix.Mkdirat(f.fd, name, mode) })
	if err != nil && err != unix.EEXIST {
		return next, err
	}
	made()
	return f.child(name)
}

func (f folder) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(f.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// openFile opens a file to read; it never waits, whatever the file is. That it is read is not noted as its access time, where this
// process may have that: each note would be a write.
func (f folder) openFile(name string) (fd int, err error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	open := func(flags int) error {
		return retry(func() (err error) { fd, err = unix.Openat(f.fd, name, flags, 0); return err })
	}
	if err = open(flags | noAtime); noAtime != 0 && err == unix.EPERM {
		err = open(flags)
	}
	return fd, err
}

// openRegular opens what must be a regular file, and a file of ours: a mode that its owner can't read, where this process is not root,
// is changed.
func (f folder) openRegular(name string) (fd int, st unix.Stat_t, err error) {
	fd, err = f.openFile(name)
	if err != nil {
		var statErr error
		if st, statErr = f.stat(name); statErr == nil && !isRegular(&st) {
			return -1, st, ErrNotRegular
		}
	}
	if err == unix.EACCES {
		_ = f.chmod(name, uint32(st.Mode)&0o7777|0o400)
		fd, err = f.openFile(name)
	}
	if err != nil {
		return -1, st, err
	}
	if err = retry(func() error { return unix.Fstat(fd, &st) }); err == nil && !isRegular(&st) {
		err = ErrNotRegular
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, st, err
}

// create opens a file to write, empty.
func (f folder) create(name string) (fd int, err error) {
	err = retry(func() (err error) {
		fd, err = unix.Openat(f.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	return fd, err
}

func (f folder) rename(name string, to folder, newName string) error {
	return retry(func() error { return unix.Renameat(f.fd, name, to.fd, newName) })
}

func (f folder) remove(name string) error {
	return retry(func() error { return unix.Unlinkat(f.fd, name, 0) })
}

func (f folder) removeFolder(name string) error {
	return retry(func() error { return unix.Unlinkat(f.fd, name, unix.AT_REMOVEDIR) })
}

// chmod must only be given what is known to be no symbolic link.
func (f folder) chmod(name string, mode uint32) error {
	return retry(func() error { return unix.Fchmodat(f.fd, name, mode, 0) })
}

func (f folder) setModTime(name string, ns int64) error {
	ts := unix.NsecToTimespec(ns)
	return retry(func() error {
		return unix.UtimesNanoAt(f.fd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// names lists the folder in no order.
func (f folder) names() ([]string, error) {
	again, err := f.child(".")
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(again.fd), ".")
	defer d.Close()
	return d.Readdirnames(-1)
}

// exists tells whether there is anything called name.
func (f folder) exists(name string) (bool, error) {
	_, err := f.stat(name)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// removeTree deletes what is called name, folders whole, and follows no link. Folders that rsync left without write permission
// get it first.
func (f folder) removeTree(name string) error {
	err := f.remove(name)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	st, statErr := f.stat(name)
	if statErr != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	if st.Mode&0o700 != 0o700 {
		_ = f.chmod(name, 0o700)
	}
	return f.removeFolderTree(name)
}

func (f folder) removeFolderTree(name string) error {
	sub, err := f.child(name)
	if err != nil {
		return err
	}
	defer sub.close()
	names, err := sub.names()
	for _, n := range names {
		err = errors.Join(err, sub.removeTree(n))
	}
	if err != nil {
		return err
	}
	return f.removeFolder(name)
}

// treeBytes adds up the sizes of the files below the folder called name.
func (f folder) treeBytes(name string) int64 {
	sub, err := f.child(name)
	if err != nil {
		return 0
	}
	defer sub.close()
	names, _ := sub.names()
	var sum int64
	for _, n := range names {
		st, err := sub.stat(n)
		switch {
		case err != nil:
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			sum += sub.treeBytes(n)
		default:
			sum += st.Size
		}
	}
	return sum
}

// split parts a slash-separated path into its folder ("" for none) and its last component.
func split(path string) (dir, base string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// cursor keeps the folder open that was asked for last: callers go through files in path order.
type cursor struct {
	top  folder
	path string
	at   folder
	open bool
}

func (c *cursor) close() {
	if c.open {
		c.at.close()
		c.open = false
	}
}

func (c *cursor) move(path string, enter func(string) (folder, error)) (folder, error) {
	if c.open && c.path == path {
		return c.at, nil
	}
	c.close()
	at, err := enter(path)
	if err == nil {
		c.at, c.path, c.open = at, path, true
	}
	return at, err
}

// find opens the folder at path.
func (c *cursor) find(path string) (folder, error) { return c.move(path, c.top.open) }

// make opens the folder at path and makes what is missing of it.
func (c *cursor) make(path string, made func(string)) (folder, error) {
	return c.move(path, func(p string) (folder, error) { return c.top.ensure(p, 0o755, made) })
}

// join puts slash-separated paths together, skipping empty ones.
func join(parts ...string) string { return filepath.ToSlash(filepath.Join(parts...)) }
