//go:build !linux

package beneath

// AtOnce is not to be had here.
func AtOnce(dirfd int, path string, oneMount bool) (fd int, ok bool) { return -1, false }
