package location

import (
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// TestVerifiedWhenTheClockWasWrong: when a replica was read is told by the clock as it is, so that one which once was far ahead does not
// make everything look as if it were read just now for years.
func TestVerifiedWhenTheClockWasWrong(t *testing.T) {
	h := newHome(t)
	clock := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	h.cfg.Clock = func() time.Time { return clock }
	l := h.open()
	put(t, l, file{"a", "1", 1})
	clock = time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	put(t, l, file{"b", "1", 2})
	_, err := l.Verify(t.Context(), photos, []v1.RelPath{"a"}, VerifyOptions{})
	fatalIf(t, err)
	for _, path := range []v1.RelPath{"a", "b"} {
		rec, held, err := l.Get(photos, path)
		if !held || err != nil || rec.Verified != clock.Unix() {
			t.Errorf("%s: verified at %v, %v", path, time.Unix(rec.Verified, 0).UTC(), err)
		}
	}
}
