//go:build unix && !linux

package rsync

import "syscall"

// attributes: without a parent-death signal, an rsync whose daemon was killed ends when its connection does.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
