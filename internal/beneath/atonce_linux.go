package beneath

import "golang.org/x/sys/unix"

// AtOnce has the kernel go down the path from an open folder, in one call, where it can (Linux 5.6) and no link, and with oneMount no
// mount, is on the way. Where it will not, for whatever reason, going step by step shows why.
func AtOnce(dirfd int, path string, oneMount bool) (fd int, ok bool) {
	how := &unix.OpenHow{Flags: folderFlags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if oneMount {
		how.Resolve |= unix.RESOLVE_NO_XDEV
	}
	err := Retry(func() (err error) { fd, err = unix.Openat2(dirfd, path, how); return err })
	return fd, err == nil
}
