package location

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	v1 "clusterbackup/api/v1"
)

// BenchmarkPublish measures batches of 1000 small new files, from what rsync left in partial/ to durable replicas.
func BenchmarkPublish(b *testing.B) {
	l := newHome(b).open()
	content := string(bytes.Repeat([]byte("0123456789abcdef"), 256))
	n := 0
	for b.Loop() {
		b.StopTimer()
		batch, err := l.Begin(b.Context(), photos, BatchOptions{})
		fatalIf(b, err)
		var files []file
		for range 1000 {
			n++
			files = append(files, file{v1.RelPath(fmt.Sprintf("dir/with/some/depth/%d/%d", n/50, n)), content, uint64(n)})
		}
		in := stage(b, batch, files...)
		b.StartTimer()
		_, err = batch.Publish(b.Context(), in)
		fatalIf(b, err)
		fatalIf(b, batch.Close())
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/file")
	st, err := os.Stat(filepath.Join(l.cfg.IndexDir, l.UID()+".db"))
	fatalIf(b, err)
	b.ReportMetric(float64(st.Size())/float64(n), "indexB/file")
}

// BenchmarkList measures going through the index, as an inventory does.
func BenchmarkList(b *testing.B) {
	l := newHome(b).open()
	var files []file
	for i := range 20_000 {
		files = append(files, file{v1.RelPath(fmt.Sprintf("dir/%d/%d", i/50, i)), "", 1})
	}
	put(b, l, files...)
	for b.Loop() {
		for _, err := range l.Folders(photos, "") {
			fatalIf(b, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(files)), "ns/file")
}
