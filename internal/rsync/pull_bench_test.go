package rsync_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// BenchmarkBatch fetches batches over TLS on loopback and has plain local rsync copy the same files beside it: the metric
// "of-rsync" is the ratio of the two times.
func BenchmarkBatch(b *testing.B) {
	for _, shape := range []struct {
		files, size int
	}{{100, 4 << 10}, {1000, 4 << 10}, {10000, 4 << 10}, {2, 512 << 20}} {
		b.Run(fmt.Sprintf("%dx%dKiB", shape.files, shape.size>>10), func(b *testing.B) {
			src := b.TempDir()
			files := fill(b, src, shape.files, shape.size)
			s := serve(b, src)
			var plain time.Duration
			b.SetBytes(int64(shape.files) * int64(shape.size))
			for b.Loop() {
				b.StopTimer()
				dst, other := b.TempDir(), b.TempDir()
				began := time.Now()
				if err := exec.Command(tool(b).Path, "-a", src+"/", other+"/").Run(); err != nil {
					b.Fatal(err)
				}
				plain += time.Since(began)
				p := s.pull(b, dst)
				p.Files = files
				b.StartTimer()
				stats, err := p.Run(b.Context())
				if err != nil || stats.Files != int64(len(files)) {
					b.Fatalf("%+v, %v", stats, err)
				}
				b.StopTimer()
				os.RemoveAll(dst)
				os.RemoveAll(other)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed())/float64(plain), "of-rsync")
		})
	}
}

func fill(b *testing.B, dir string, files, size int) (paths []v1.RelPath) {
	b.Helper()
	content := random(b, min(size, 1<<20))
	for i := range files {
		path := v1.RelPath(fmt.Sprintf("%d/file-%d", i%20, i))
		must(b, os.MkdirAll(filepath.Join(dir, path.Dir()), 0o755))
		f, err := os.Create(filepath.Join(dir, string(path)))
		must(b, err)
		for at := 0; at < size; at += len(content) {
			_, err := f.Write(content)
			must(b, err)
		}
		must(b, f.Close())
		paths = append(paths, path)
	}
	return paths
}
