package beneath

import "golang.org/x/sys/unix"

// Link is not offered for open folders here; callers rename instead.
func (f Folder) Link(string, Folder, string) error { return unix.ENOTSUP }
