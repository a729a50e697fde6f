//go:build !linux

package controllers

import "time"

var started = time.Now()

// monotonic is a clock by which grants run out. Where the system's monotonic clock may stop while the host sleeps, the wall clock is
// looked at too, and whichever says that more time has passed is believed.
func monotonic() time.Duration {
	return max(time.Since(started), time.Duration(time.Now().UnixNano()-started.UnixNano()))
}

// uptime is a clock by which retention runs: it never says that more time has passed than did.
func uptime() time.Duration { return time.Since(started) }
