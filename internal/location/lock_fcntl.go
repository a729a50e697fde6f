//go:build illumos || solaris || aix

package location

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock uses a POSIX lock where there is no flock. It holds between processes, not within one.
func tryLock(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
}
