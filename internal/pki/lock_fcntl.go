//go:build illumos || solaris || aix

package pki

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock uses a POSIX lock where there is no flock. It holds between processes, not within one.
func tryLock(f *os.File) error {
	err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrLocked
	}
	return err
}
