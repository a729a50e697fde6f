package controllers

import (
	"testing"
	"time"
)

func TestIsDue(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	for ago, want := range map[time.Duration]bool{
		0:                          false,
		10 * time.Hour:             false,
		90 * time.Hour:             true, // it is done before the interval is over
		-time.Hour:                 false,
		-73 * 365 * 24 * time.Hour: true, // it was noted when the clock was wrong
	} {
		if got := isDue(now.Add(-ago), now, 100*time.Hour); got != want {
			t.Errorf("read %v ago: due %v", ago, got)
		}
	}
}
