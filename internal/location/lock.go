package location

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"clusterbackup/internal/beneath"
)

// lockFile is locked as long as the location is open: what two hosts share, by a network file system or on one machine, would be
// taken for two replicas, and one host's drop would delete the other's.
const lockFile = kept + "/lock"

// lock takes the lock, or says ErrBusy. A file system that knows no locks is used without.
func (l *Location) lock() error {
	dir, base := beneath.Split(lockFile)
	at, err := l.top.Open(dir)
	if err != nil {
		return err
	}
	defer at.Close()
	var fd int
	err = beneath.Retry(func() (err error) {
		fd, err = unix.Openat(at.FD(), base, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", lockFile, err)
	}
	f := os.NewFile(uintptr(fd), lockFile)
	err = beneath.Retry(func() error { return tryLock(f) })
	switch {
	case err == nil:
		l.locked = f
		return nil
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%s is locked, another daemon uses it (is the folder shared by two hosts?): %w", lockFile, ErrBusy)
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		l.cfg.Log.Info("File system knows no locks: nothing keeps another host from using the same folder", "location", l.cfg.Name)
		err = nil
	}
	return errors.Join(err, f.Close())
}
