//go:build unix && !linux && !darwin && !freebsd && !netbsd

package tree

// born is 0: these systems do not say when a folder was made.
func born(int) int64 { return 0 }
