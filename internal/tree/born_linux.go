package tree

import "golang.org/x/sys/unix"

// born is when a folder was made, in nanoseconds since 1970; 0: the file system does not know.
func born(fd int) int64 {
	var st unix.Statx_t
	if _, err := retry(func() (int, error) { return 0, unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st) }); err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return max(0, st.Btime.Sec*1e9+int64(st.Btime.Nsec))
}
