//go:build darwin || freebsd || netbsd

package tree

import "golang.org/x/sys/unix"

// born is when a folder was made, in nanoseconds since 1970; 0: the file system does not know.
func born(fd int) int64 {
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstat(fd, &st) }); err != nil {
		return 0
	}
	return max(0, st.Btim.Nano())
}
