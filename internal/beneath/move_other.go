//go:build !linux

package beneath

// Move renames a file to a name that must be free, else unix.EEXIST.
func (f Folder) Move(name string, to Folder, newName string) error {
	return f.moveByLink(name, to, newName)
}
