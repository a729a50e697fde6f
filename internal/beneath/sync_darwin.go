package beneath

import "golang.org/x/sys/unix"

// SyncAll is not to be had here.
func (f Folder) SyncAll() error { return unix.ENOTSUP }

// CanSyncAll tells whether SyncAll can be relied on.
func (f Folder) CanSyncAll() bool { return false }

// Fsync goes through to the disk's platters, which fsync(2) does not do here; file systems that can't do it get fsync(2).
func Fsync(fd int) error {
	err := Retry(func() error { _, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0); return err })
	if err == nil {
		return nil
	}
	return Retry(func() error { return unix.Fsync(fd) })
}
