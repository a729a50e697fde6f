//go:build !solaris

package beneath

import "golang.org/x/sys/unix"

// Link gives a file a second name; none is replaced (unix.EEXIST).
func (f Folder) Link(name string, to Folder, newName string) error {
	return Retry(func() error { return unix.Linkat(f.fd, name, to.fd, newName, 0) })
}
