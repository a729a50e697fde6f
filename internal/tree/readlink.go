//go:build unix && !dragonfly && !solaris && !illumos

package tree

import "golang.org/x/sys/unix"

func readLinkAt(fd int, name string, buf []byte) (int, error) { return unix.Readlinkat(fd, name, buf) }
