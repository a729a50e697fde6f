//go:build !linux

package location

const noAtime = 0
