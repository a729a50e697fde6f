package location

import (
	"errors"
	"os"
	"path/filepath"
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

// TestCorruptIsNoVersionWithoutAnIndex: what was set aside as corrupt says so on the disk. It is counted, expires, and is nobody's version.
func TestCorruptIsNoVersionWithoutAnIndex(t *testing.T) {
	h := newHome(t)
	clock := time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	h.cfg.Clock = func() time.Time { return clock }
	l := h.open()
	long := v1.RelPath(strings.Repeat("n", 250))
	paths := []v1.RelPath{"d/f", long}
	put(t, l, file{"d/f", "old", 1}, file{long, "old", 1})
	put(t, l, file{"d/f", "good", 2}, file{long, "good", 2})
	for _, path := range paths {
		name := filepath.Join(l.Root(), "photos", string(path))
		fatalIf(t, os.WriteFile(name, []byte("evil"), 0o600))
		fatalIf(t, os.Chtimes(name, time.Time{}, time.Unix(0, file{seq: 2}.incoming().ModTime)))
	}
	verdicts, err := l.Verify(t.Context(), photos, paths, VerifyOptions{})
	if fatalIf(t, err); !slices.Equal(verdicts, []Verdict{Corrupt, Corrupt}) {
		t.Fatalf("verdicts %v", verdicts)
	}
	errs, err := l.Retire(t.Context(), photos, paths, time.Hour, nil) // in the second in which the older versions were set aside
	fatalIf(t, errors.Join(err, errors.Join(errs...)))
	put(t, l, file{"d/f", "good", 2}, file{long, "good", 2})
	before, err := l.Held(photos)
	fatalIf(t, err)

	fatalIf(t, l.Close())
	fatalIf(t, os.RemoveAll(h.cfg.IndexDir))
	l = h.open()
	_, err = l.Rebuild(t.Context(), nil)
	fatalIf(t, err)
	for _, path := range paths {
		var bad int
		for _, v := range versionsOf(t, l, string(path)) {
			content := contentOf(t, l, v.Name)
			if v.Bad != (content == "evil") {
				t.Errorf("%q holds %q, bad: %v", v.Name, content, v.Bad)
			}
			if v.Bad {
				bad++
			}
		}
		if bad != 1 {
			t.Errorf("%d of the versions of %q are bad, want 1", bad, path)
		}
	}
	if after, err := l.Held(photos); err != nil || after != before {
		t.Errorf("held %+v, before the index was lost %+v, %v", after, before, err)
	}
	now, err := l.AgingTime()
	fatalIf(t, err)
	_, err = l.Expire(t.Context(), now.Add(keepFound+time.Hour), func(v1.SourceName) Retention { return Retention{} })
	fatalIf(t, err)
	if left := versionsOf(t, l, ""); len(left) != 0 {
		t.Errorf("kept for ever: %+v", left)
	}
}
