package tree

import "golang.org/x/sys/unix"

func linkRefused(error) bool { return false }

// openFolderAtOnce has the kernel go down the path with the rules of openFolder in one call, where it can (Linux 5.6). Where it will
// not, for whatever reason, openFolder finds out why.
func (t *Tree) openFolderAtOnce(root int, path string) (fd int, ok bool) {
	how := &unix.OpenHow{Flags: folderFlags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if t.oneFS {
		how.Resolve |= unix.RESOLVE_NO_XDEV
	}
	fd, err := retry(func() (int, error) { return unix.Openat2(root, path, how) })
	if err != nil {
		return -1, false
	}
	// Parts of one mount can be different file systems all the same (subvolumes); none of them leads back to the root's.
	if t.stays(fd) != nil {
		unix.Close(fd)
		return -1, false
	}
	return fd, true
}
