package catalog

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"testing"

	v1 "clusterbackup/api/v1"
)

// listing yields files at these paths, then err if there is one.
func listing(err error, paths ...string) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		for i, path := range paths {
			if !yield(Listed{Path: v1.RelPath(path), Size: int64(i), ModTime: 5, Mode: 0o600, Digest: v1.Digest{byte(i), 1}}, nil) {
				return
			}
		}
		if err != nil {
			yield(Listed{}, err)
		}
	}
}

func TestFill(t *testing.T) {
	open := func() *Catalog {
		cat, err := Open(filepath.Join(t.TempDir(), "c.db"), Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cat.Close() })
		return cat
	}
	paths := []string{"a", "d/b", "d/e/c", "d/f", "x/y/z/w"}
	for i := range 2 * batchSize {
		paths = append(paths, fmt.Sprintf("many/%d/%d", i%7, i))
	}
	cat := open()
	if err := cat.Fill(t.Context(), listing(nil, paths...)); err != nil {
		t.Fatal(err)
	}
	if files, _ := cat.Total(); files != int64(len(paths)) || !cat.Scanned() || !cat.Current() {
		t.Errorf("%d files of %d, scanned %v, current %v", files, len(paths), cat.Scanned(), cat.Current())
	}
	err := cat.View(func(tx *Tx) error {
		for i, path := range paths {
			key, e, err := tx.Find(v1.RelPath(path))
			if err != nil || e == nil || !e.Live() || e.Size != int64(i) || e.ModTime != 5 || e.Digest != (v1.Digest{byte(i), 1}) || e.Seq == 0 {
				return fmt.Errorf("%s: %+v, %w", path, e, err)
			}
			if back, err := tx.Path(key); err != nil || string(back) != path {
				return fmt.Errorf("%s has path %s, %w", path, back, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	broken := errors.New("cut short")
	for name, files := range map[string]iter.Seq2[Listed, error]{
		"listing that is cut short": listing(broken, "a", "b"), "file that is listed twice": listing(nil, "a", "a"), "file in a file": listing(nil, "a", "a/b"),
	} {
		if cat := open(); cat.Fill(t.Context(), files) == nil || cat.Scanned() {
			t.Errorf("a %s is taken for whole", name)
		}
	}
}
