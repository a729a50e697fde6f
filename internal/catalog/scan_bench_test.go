package catalog

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"clusterbackup/internal/tree"
)

// BenchmarkScan scans a tree, BENCH_TREE or a small one made here: first into an empty catalog, then with nothing changed.
func BenchmarkScan(b *testing.B) {
	root := os.Getenv("BENCH_TREE")
	if root == "" {
		root = b.TempDir()
		for _, d := range []string{"a", "b", "c"} {
			if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
				b.Fatal(err)
			}
			for _, f := range []string{"1", "2", "3"} {
				if err := os.WriteFile(filepath.Join(root, d, f), nil, 0o644); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	scan := func(b *testing.B, cat *Catalog) {
		src, err := tree.Open(root, tree.Options{OneFileSystem: true})
		if err != nil {
			b.Fatal(err)
		}
		id, err := src.Identity()
		if err != nil {
			b.Fatal(err)
		}
		s, err := cat.BeginScan(id)
		if err != nil {
			b.Fatal(err)
		}
		err = src.Walk(context.Background(), s.Folder, nil)
		if _, endErr := s.End(context.Background(), err == nil); err != nil || endErr != nil {
			b.Fatal(err, endErr)
		}
	}
	open := func(b *testing.B) *Catalog {
		cat, err := Open(filepath.Join(b.TempDir(), "catalog.db"), Options{})
		if err != nil {
			b.Fatal(err)
		}
		return cat
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			cat := open(b)
			scan(b, cat)
			if err := cat.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		cat := open(b)
		defer cat.Close()
		scan(b, cat)
		b.ReportAllocs()
		for b.Loop() {
			scan(b, cat)
		}
	})
}
