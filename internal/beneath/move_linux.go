package beneath

import "golang.org/x/sys/unix"

// Move renames a file to a name that must be free, else unix.EEXIST.
func (f Folder) Move(name string, to Folder, newName string) error {
	err := Retry(func() error { return unix.Renameat2(f.fd, name, to.fd, newName, unix.RENAME_NOREPLACE) })
	if err == unix.EINVAL || err == unix.ENOSYS { // not on this file system
		return f.moveByLink(name, to, newName)
	}
	return err
}
