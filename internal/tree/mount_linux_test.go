package tree_test

import "golang.org/x/sys/unix"

func mount(path string) error   { return unix.Mount("tmpfs", path, "tmpfs", 0, "size=1m") }
func unmount(path string) error { return unix.Unmount(path, unix.MNT_DETACH) }
