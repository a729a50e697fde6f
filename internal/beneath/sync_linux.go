package beneath

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const fuseMagic = 0x65735546

// SyncAll makes everything written to the file system before the call durable.
func (f Folder) SyncAll() error { return Retry(func() error { return unix.Syncfs(f.fd) }) }

// CanSyncAll tells whether SyncAll can be relied on: since Linux 5.8 it reports what could not be written, and it does not reach
// the process behind a FUSE file system.
func (f Folder) CanSyncAll() bool {
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

// Fsync makes an open file or folder durable.
func Fsync(fd int) error { return Retry(func() error { return unix.Fsync(fd) }) }
