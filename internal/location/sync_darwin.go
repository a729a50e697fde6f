package location

import "golang.org/x/sys/unix"

func (f folder) syncAll() error { return unix.ENOTSUP }

func (f folder) canSyncAll() bool { return false }

// fsync goes through to the disk's platters, which fsync(2) does not do here; file systems that can't do it get fsync(2).
func fsync(fd int) error {
	err := retry(func() error { _, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0); return err })
	if err == nil {
		return nil
	}
	return retry(func() error { return unix.Fsync(fd) })
}
