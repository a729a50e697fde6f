//go:build darwin || freebsd || dragonfly

package tree

import "golang.org/x/sys/unix"

func fileSystemID(fd int) uint64 {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatfs(fd, &st) }); err != nil {
		return 0
	}
	return uint64(uint32(st.Fsid.Val[0])) | uint64(uint32(st.Fsid.Val[1]))<<32
}
