//go:build !linux && !darwin

package location

import "golang.org/x/sys/unix"

func (f folder) syncAll() error { return unix.ENOTSUP }

func (f folder) canSyncAll() bool { return false }

func fsync(fd int) error { return retry(func() error { return unix.Fsync(fd) }) }
