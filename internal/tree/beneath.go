package tree

import (
	"errors"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"clusterbackup/internal/beneath"
)

const folderFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openFolder opens the folder path ("": root itself, not a copy) below root one component after the other, so that neither
// a link nor the length of the path matters. ErrOtherFileSystem: the path leaves the root's, and may not; whatever is absent
// there says nothing.
func (t *Tree) openFolder(root int, path string) (int, error) {
	if path == "" {
		return root, nil
	}
	if fd, ok := beneath.AtOnce(root, path, t.oneFS); ok {
		if t.stays(fd) == nil { // subvolumes are of one mount, and none leads back to the root's file system
			return fd, nil
		}
		unix.Close(fd)
	}
	at := root
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		next, err := openAt(at, name, folderFlags)
		closeUnless(at, root)
		if err != nil {
			return -1, err
		}
		at = next
		if err := t.stays(at); err != nil {
			unix.Close(at)
			return -1, err
		}
	}
	return at, nil
}

// stays tells whether the folder is on a file system that may be entered.
func (t *Tree) stays(fd int) error {
	var e Entry
	if !t.oneFS {
		return nil
	}
	if err := statFD(fd, &e); err != nil {
		return err
	}
	if e.Device != t.identity.Device {
		return ErrOtherFileSystem
	}
	return nil
}

func closeUnless(fd, keep int) {
	if fd != keep {
		unix.Close(fd)
	}
}

func openAt(fd int, name string, flags int) (int, error) {
	return retry(func() (int, error) { return unix.Openat(fd, name, flags, 0) })
}

// retry repeats what a signal interrupted, as happens on FUSE and network file systems.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// absent tells whether err says that no such thing is there: no entry, or something else than a folder on the way
// (a symbolic link is EMLINK on FreeBSD, EFTYPE on NetBSD, ELOOP or ENOTDIR elsewhere).
func absent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) || linkRefused(err)
}

func goneIfAbsent(err error) error {
	if absent(err) {
		return ErrGone
	}
	return err
}

func readLink(fd int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := retry(func() (int, error) { return readLinkAt(fd, name, buf) })
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}
