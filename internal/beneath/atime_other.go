//go:build !linux

package beneath

const noAtime = 0
