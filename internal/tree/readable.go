package tree

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// readable tells which files this process may read, from their permission bits where those are enough.
type readable struct {
	uid    uint32
	groups []uint32
}

func newReadable() *readable {
	r := &readable{uid: uint32(os.Geteuid()), groups: []uint32{uint32(os.Getegid())}}
	groups, _ := os.Getgroups()
	for _, g := range groups {
		r.groups = append(r.groups, uint32(g))
	}
	return r
}

// mayRead asks the system only about files whose bits say no: an access list or a capability may say yes.
func (r *readable) mayRead(folder int, e *Entry) bool {
	if r.uid == 0 || r.bits(e)&0o4 != 0 {
		return true
	}
	return unix.Faccessat(folder, e.Name, unix.R_OK, unix.AT_EACCESS) == nil
}

func (r *readable) bits(e *Entry) uint32 {
	switch {
	case e.UID == r.uid:
		return e.Mode >> 6
	case slices.Contains(r.groups, e.GID):
		return e.Mode >> 3
	}
	return e.Mode
}
