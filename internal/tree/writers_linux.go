package tree

import "golang.org/x/sys/unix"

// written tells whether somebody may be writing to a file that is open here, by a call that began before its change time was read, or
// through a mapping. A lease to read is granted only while nobody has the file open to write (fcntl(2), F_SETLEASE); it is given back at
// once. Where there are no leases, or not for this process, nobody can tell.
func written(fd int, _ *Entry) bool {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return true
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	return err != nil
}
