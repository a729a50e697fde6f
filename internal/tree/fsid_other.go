//go:build unix && !linux && !darwin && !freebsd && !dragonfly

package tree

// fileSystemID is 0: these systems derive it from the device number, which Identity has already.
func fileSystemID(int) uint64 { return 0 }
