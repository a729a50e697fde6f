package rsync

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mayChroot: root in a container may lack the capability.
func mayChroot() bool { return os.Geteuid() == 0 && effective(unix.CAP_SYS_CHROOT) }

func effective(capability uint) bool {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err == nil && set>>capability&1 == 1
		}
	}
	return false
}

// startConfined starts cmd such that it reads nothing but root, scratch and the libraries it is made of. It is called on a
// thread of its own, which keeps the restriction.
func startConfined(cmd *exec.Cmd, root, scratch string) error {
	if !mayChroot() {
		if err := landlock(root, scratch, cmd.Path); err != nil && !errors.Is(err, errNoLandlock) {
			return err
		}
	}
	return cmd.Start()
}

var errNoLandlock = errors.New("the kernel has no Landlock")

// What the first version of Landlock can forbid; later versions' rights don't matter to a process that can write nowhere.
const (
	landlockAll  = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	landlockRead = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockRun  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
)

var libraries = []string{"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local/lib",
	"/nix/store", "/gnu/store", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/ssl/openssl.cnf"}

// landlock restricts the calling thread, and what it starts, for good.
func landlock(root, scratch, binary string) error {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landlockAll}
	fd, _, errno := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP || errno == unix.EPERM {
		return errNoLandlock
	}
	if errno != 0 {
		return fmt.Errorf("create Landlock ruleset: %w", errno)
	}
	defer unix.Close(int(fd))
	allow := []struct {
		path   string
		access uint64
		needed bool
	}{{root, landlockRead, true}, {scratch, landlockRead, true}, {binary, landlockRun, true},
		{"/dev/null", unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE, false}}
	for _, a := range allow {
		if err := landlockAllow(int(fd), a.path, a.access); err != nil && a.needed {
			return err
		}
	}
	for _, path := range libraries {
		landlockAllow(int(fd), path, landlockRun) // what is absent here isn't needed here
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if _, _, errno := syscall.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("restrict by Landlock: %w", errno)
	}
	return nil
}

func landlockAllow(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %q: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %q: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &^= unix.LANDLOCK_ACCESS_FS_READ_DIR
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := syscall.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("allow %q by Landlock: %w", path, errno)
	}
	return nil
}

// widen lets a pipe hold more, so that both sides wake less often. The default serves where it is refused.
func widen(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
	}
}
