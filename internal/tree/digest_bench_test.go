package tree_test

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
)

// BenchmarkDigest computes the digests of small files some folders deep, and reads and hashes the same files by their plain paths
// beside it: the metric "of-read" is the ratio of the two times.
func BenchmarkDigest(b *testing.B) {
	root := b.TempDir()
	folder := filepath.Join(root, "2024", "07", "holiday", "phone", "raw")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(folder, "IMG_000001.jpeg")
	if err := os.WriteFile(file, make([]byte, 4000), 0o644); err != nil {
		b.Fatal(err)
	}
	time.Sleep(60 * time.Millisecond) // a file that was changed just now is waited for
	tr, err := tree.Open(root, tree.Options{OneFileSystem: true})
	if err != nil {
		b.Fatal(err)
	}
	path := v1.RelPath("2024/07/holiday/phone/raw/IMG_000001.jpeg")
	e, err := tr.Stat(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	var reading time.Duration
	b.ReportAllocs()
	for b.Loop() {
		for range 100 {
			if _, err := tr.Digest(context.Background(), path, e); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		began := time.Now()
		for range 100 {
			bytes, err := os.ReadFile(file)
			if err != nil {
				b.Fatal(err)
			}
			sha256.Sum256(bytes)
		}
		reading += time.Since(began)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(reading), "of-read")
}
