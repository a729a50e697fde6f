package location

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// TestRebuiltVersionsGoByTheirFilesNames: a version whose name was cut, or whose folder goes by a hash, is found under its file's own
// path also after the index was lost.
func TestRebuiltVersionsGoByTheirFilesNames(t *testing.T) {
	h := newHome(t)
	clock := time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	h.cfg.Clock = func() time.Time { return clock }
	l := h.open()
	long := v1.RelPath("d/" + strings.Repeat("n", 250))
	inTheWay := v1.RelPath("x~20261122T150405Z/f") // x's version has the name of f's folder
	put(t, l, file{"x", "1", 1})
	put(t, l, file{"x", "2", 2})
	put(t, l, file{long, "1", 3}, file{inTheWay, "1", 4})
	put(t, l, file{long, "2", 5}, file{inTheWay, "2", 6})
	paths := func() (all []v1.RelPath) {
		for _, v := range versionsOf(t, l, "") {
			all = append(all, v.Path)
		}
		slices.Sort(all)
		return all
	}
	before := paths()
	if !slices.Contains(before, long) || !slices.Contains(before, inTheWay) {
		t.Fatalf("versions of %q", before)
	}
	fatalIf(t, l.Close())
	fatalIf(t, os.RemoveAll(h.cfg.IndexDir))
	l = h.open()
	_, err := l.Rebuild(t.Context(), nil)
	fatalIf(t, err)
	if after := paths(); !slices.Equal(after, before) {
		t.Errorf("versions of %q, before the index was lost of %q", after, before)
	}
}
