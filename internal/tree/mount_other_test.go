//go:build unix && !linux

package tree_test

import "errors"

func mount(string) error   { return errors.ErrUnsupported }
func unmount(string) error { return errors.ErrUnsupported }
