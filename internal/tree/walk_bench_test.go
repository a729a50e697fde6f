package tree_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"clusterbackup/internal/tree"
)

// BenchmarkWalk walks 200,000 files in three shapes of tree, and has find look at the same tree beside it: the metric
// "of-find" is the ratio of the two times.
func BenchmarkWalk(b *testing.B) {
	for _, shape := range []struct{ folders, files int }{{20000, 10}, {2000, 100}, {1, 200000}} {
		b.Run(fmt.Sprintf("%dx%d", shape.folders, shape.files), func(b *testing.B) {
			root := b.TempDir()
			fill(b, root, shape.folders, shape.files)
			tr, err := tree.Open(root, tree.Options{OneFileSystem: true})
			if err != nil {
				b.Fatal(err)
			}
			pass(b, tr) // warm
			var finding time.Duration
			b.ReportAllocs()
			for b.Loop() {
				pass(b, tr)
				b.StopTimer()
				began := time.Now()
				out := exec.Command("find", root, "-printf", `%p %s %T@ %C@ %i %m %U %G %n %y\n`)
				if err := out.Run(); err != nil {
					b.Fatal(err)
				}
				finding += time.Since(began)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed())/float64(finding), "of-find")
		})
	}
}

func pass(b *testing.B, tr *tree.Tree) {
	var files atomic.Int64
	err := tr.Walk(b.Context(), func(_ context.Context, f *tree.Folder) error {
		n := 0
		for i := range f.Entries {
			if f.Entries[i].Kind == tree.KindFile {
				n++
			}
		}
		files.Add(int64(n))
		return f.Err
	}, nil)
	if err != nil || files.Load() != 200000 {
		b.Fatalf("%d files, %v", files.Load(), err)
	}
}

func fill(b *testing.B, root string, folders, files int) {
	for d := range folders {
		dir := filepath.Join(root, fmt.Sprint(d%97), fmt.Sprint(d))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for f := range files {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("IMG_%06d.jpeg", f*7919%files)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
}
