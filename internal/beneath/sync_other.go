//go:build !linux && !darwin

package beneath

import "golang.org/x/sys/unix"

// SyncAll is not to be had here.
func (f Folder) SyncAll() error { return unix.ENOTSUP }

// CanSyncAll tells whether SyncAll can be relied on.
func (f Folder) CanSyncAll() bool { return false }

// Fsync makes an open file or folder durable.
func Fsync(fd int) error { return Retry(func() error { return unix.Fsync(fd) }) }
