package beneath

import "golang.org/x/sys/unix"

// WriteOut has the system begin to write n bytes from offset of fd to the disk. Nothing is certain by it; a sync has less to wait for
// later.
func WriteOut(fd int, offset, n int64) {
	_ = unix.SyncFileRange(fd, offset, n, unix.SYNC_FILE_RANGE_WRITE)
}
