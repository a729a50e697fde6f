package v1

import (
	"fmt"
	"strings"
	"time"
)

// ParseWindow reads a time of day "HH:MM-HH:MM" as minutes after midnight; the end may lie on the next day.
func ParseWindow(window string) (from, to int, err error) {
	first, second, ok := strings.Cut(window, "-")
	if ok {
		from, ok = minutes(first)
	}
	if ok {
		to, ok = minutes(second)
	}
	if !ok || from == to {
		return 0, 0, fmt.Errorf(`%q: want two times of day, as in "22:00-06:00"`, window)
	}
	return from, to, nil
}

func minutes(s string) (int, bool) {
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil
}

// WithinWindows tells whether a time lies in one of the windows by its own zone's clock. No windows: always. One that cannot be read
// is no window.
func WithinWindows(windows []string, at time.Time) bool {
	now := at.Hour()*60 + at.Minute()
	for _, window := range windows {
		from, to, err := ParseWindow(window)
		if err != nil {
			continue
		}
		if from < to && from <= now && now < to || from > to && (now >= from || now < to) {
			return true
		}
	}
	return len(windows) == 0
}
