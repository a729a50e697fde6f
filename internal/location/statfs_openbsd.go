package location

import "golang.org/x/sys/unix"

// freeBytes is how much of the file system may still be written, and the size of its blocks.
func (f folder) freeBytes() (free, block int64, err error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(f.fd, &st) }); err != nil {
		return 0, 0, err
	}
	return st.F_bavail * int64(st.F_bsize), int64(st.F_bsize), nil
}
