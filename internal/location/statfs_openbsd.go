package location

import (
	"golang.org/x/sys/unix"

	"clusterbackup/internal/beneath"
)

// freeBytes is how much of the file system may still be written, and the size of its blocks.
func freeBytes(f beneath.Folder) (free, block int64, err error) {
	var st unix.Statfs_t
	if err := beneath.Retry(func() error { return unix.Fstatfs(f.FD(), &st) }); err != nil {
		return 0, 0, err
	}
	return st.F_bavail * int64(st.F_bsize), int64(st.F_bsize), nil
}
