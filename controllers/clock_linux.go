package controllers

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is a clock that never goes back and doesn't stop while the host sleeps, so that a grant runs out in time.
func monotonic() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(t.Nano())
}

// uptime is a clock by which retention runs: it never says that more time has passed than did.
func uptime() time.Duration { return monotonic() }
