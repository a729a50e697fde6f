//go:build !solaris

package location

import "golang.org/x/sys/unix"

func (f folder) link(name string, to folder, newName string) error {
	return retry(func() error { return unix.Linkat(f.fd, name, to.fd, newName, 0) })
}
