//go:build solaris || illumos

package tree

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// readLinkAt goes through /proc, which shows an open folder as that folder.
func readLinkAt(fd int, name string, buf []byte) (int, error) {
	return unix.Readlink(fmt.Sprintf("/proc/self/fd/%d/%s", fd, name), buf)
}
