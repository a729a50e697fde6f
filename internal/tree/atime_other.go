//go:build !linux

package tree

const noAtime = 0
