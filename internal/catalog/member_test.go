package catalog

import (
	"slices"
	"strings"
	"testing"
)

func TestMembersLargeOnesBySizeSmallOnesByFolder(t *testing.T) {
	x := newFixture(t)
	for path, size := range map[string]int{"a/small": 10, "a/large": SmallFile, "b/tiny": 1, "b/larger": 2 * SmallFile, "b/most": SmallFile - 1, "empty": 0} {
		x.write(path, strings.Repeat("x", size))
	}
	x.scan()
	class := x.cat.Classes()[0].ID
	visited := func(most int64, after Member) (paths []string, last Member) {
		x.must(x.cat.View(func(tx *Tx) error {
			tx.Members(class, most, after, func(m Member) bool {
				path, err := tx.Path(m.Key)
				x.must(err)
				paths, last = append(paths, string(path)), m
				return len(paths) < 3
			})
			return nil
		}))
		return paths, last
	}
	first, last := visited(1<<40, Member{})
	rest, _ := visited(1<<40, last)
	all := append(slices.Clone(first), rest...)
	if !slices.Equal(all[:2], []string{"b/larger", "a/large"}) {
		t.Errorf("the large ones are not first, the largest before the others: %q", all)
	}
	folders := make([]string, 0, 4)
	for _, path := range all[2:] {
		folder, _, _ := strings.Cut(path, "/")
		folders = append(folders, folder)
	}
	if len(all) != 6 || len(slices.Compact(folders)) != 3 {
		t.Errorf("the small ones are not all there, folder by folder: %q", all)
	}
	if fit, _ := visited(10, Member{}); len(fit) != 3 || slices.Contains(fit, "b/most") {
		t.Errorf("of at most 10 bytes: %q", fit)
	}
	for size, want := range map[int64]string{0: "small", SmallFile - 2: "most", SmallFile - 1: "large", SmallFile: "larger"} {
		x.must(x.cat.View(func(tx *Tx) error {
			m, ok := tx.SmallestAbove(class, size)
			if got := m.Key.Name(); !ok || m.Size <= size || size > 0 && got != want {
				t.Errorf("above %d bytes: %q of %d bytes, want %s", size, got, m.Size, want)
			}
			return nil
		}))
	}
}
