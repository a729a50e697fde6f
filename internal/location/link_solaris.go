package location

import "golang.org/x/sys/unix"

// link is not offered for open folders here; callers rename instead.
func (f folder) link(string, folder, string) error { return unix.ENOTSUP }
