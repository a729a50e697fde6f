//go:build netbsd || solaris

package location

import (
	"golang.org/x/sys/unix"

	"clusterbackup/internal/beneath"
)

// freeBytes is how much of the file system may still be written, and the size of its blocks.
func freeBytes(f beneath.Folder) (free, block int64, err error) {
	var st unix.Statvfs_t
	if err := beneath.Retry(func() error { return unix.Fstatvfs(f.FD(), &st) }); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * int64(st.Frsize), int64(st.Frsize), nil
}
