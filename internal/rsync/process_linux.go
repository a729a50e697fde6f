package rsync

import "syscall"

// attributes: an rsync must not outlive a daemon that was killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
