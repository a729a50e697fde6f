package location

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const fuseMagic = 0x65735546

// syncAll makes everything written to the file system before the call durable.
func (f folder) syncAll() error { return retry(func() error { return unix.Syncfs(f.fd) }) }

// canSyncAll tells whether syncAll can be relied on: since Linux 5.8 it reports what could not be written, and it does not reach
// the process behind a FUSE file system.
func (f folder) canSyncAll() bool {
	var st unix.Statfs_t
	var uts unix.Utsname
	if unix.Fstatfs(f.fd, &st) != nil || st.Type == fuseMagic || unix.Uname(&uts) != nil {
		return false
	}
	parts := strings.SplitN(unix.ByteSliceToString(uts.Release[:]), ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, _ := strconv.Atoi(parts[0])
	minor, _ := strconv.Atoi(parts[1])
	return major > 5 || major == 5 && minor >= 8
}

func fsync(fd int) error { return retry(func() error { return unix.Fsync(fd) }) }
