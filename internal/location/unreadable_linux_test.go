package location

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A bad block makes one file unreadable, not the location. /proc/self/mem stands for one: reading its beginning is an I/O error.
func TestOneUnreadableFileDoesNotTakeTheLocationAway(t *testing.T) {
	for _, what := range []string{"known", "unknown"} {
		t.Run(what, func(t *testing.T) {
			h := newHome(t)
			l := h.open()
			put(t, l, file{"a", "1", 1}, file{"d/bad", "1", 1}, file{"d/z", "1", 1})
			fatalIf(t, l.Close())
			victim := filepath.Join(h.cfg.Root, "photos", "d", "bad")
			fatalIf(t, os.Remove(filepath.Join(h.cfg.Root, closedFile)))
			if what == "unknown" {
				fatalIf(t, os.RemoveAll(h.cfg.IndexDir))
			}
			if err := unix.Mount("/proc/self/mem", victim, "", unix.MS_BIND, ""); err != nil {
				t.Skip("may not mount: ", err)
			}
			t.Cleanup(func() { _ = unix.Unmount(victim, unix.MNT_DETACH) })
			l = h.open()
			found, err := l.Rebuild(t.Context(), nil)
			if err != nil || found.Unreadable != 1 || l.Rebuilding() {
				t.Fatalf("found %+v, %v", found, err)
			}
			rec, held, err := l.Get(photos, "d/bad")
			fatalIf(t, err)
			if held && !rec.Bad {
				t.Errorf("it is believed: %+v", rec)
			}
			if got := recordsOf(t, l, ""); !slices.Contains(got, "a") || !slices.Contains(got, "d/z") {
				t.Errorf("held %q", got)
			}
		})
	}
}
