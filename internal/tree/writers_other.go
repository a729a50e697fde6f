//go:build !linux

package tree

import "time"

// quietFor is longer than dirty pages wait to be written, which gives a file that is changed through a mapping a new change time.
const quietFor = time.Minute

// written tells whether somebody may be writing to a file, by a call that began before its change time was read, or through a mapping:
// as long as it was changed lately.
func written(_ int, e *Entry) bool { return time.Since(time.Unix(0, e.ChangeTime)) < quietFor }
