package coordinator

import (
	"context"
	"fmt"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
)

// BenchmarkBackup claims and confirms 50,000 files at two of three hosts: what the coordinator itself costs a first backup.
func BenchmarkBackup(b *testing.B) {
	const folders, each = 100, 500
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b, b, 2, "a", "b", "c")
		w.room(1<<30, "a", "b", "c")
		s, err := w.cat.BeginScan(tree.Identity{Device: 1, Inode: 2})
		if err != nil {
			b.Fatal(err)
		}
		ctx := context.Background()
		root := &tree.Folder{Self: tree.Entry{Kind: tree.KindFolder, Device: 1}}
		for i := range folders {
			root.Entries = append(root.Entries, tree.Entry{Name: fmt.Sprintf("d%03d", i), Kind: tree.KindFolder, Device: 1})
		}
		if err := s.Folder(ctx, root); err != nil {
			b.Fatal(err)
		}
		for i := range folders {
			f := &tree.Folder{Path: root.Entries[i].Name, Handle: root.Entries[i].Handle, Self: tree.Entry{Kind: tree.KindFolder, Device: 1}}
			for j := range each {
				w.tree.tick++
				c := content{number: int(w.tree.tick), size: 4000 + w.tree.tick%97, mtime: w.tree.tick, ctime: w.tree.tick, inode: uint64(w.tree.tick)}
				name := fmt.Sprintf("file-%04d", j)
				w.tree.files[v1.RelPath(f.Path+"/"+name)] = c
				f.Entries = append(f.Entries, w.tree.entry(name, c))
			}
			if err := s.Folder(ctx, f); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := s.End(ctx, true); err != nil {
			b.Fatal(err)
		}
		for _, p := range w.peers {
			p.meet()
		}
		b.StartTimer()
		begin := time.Now()
		for busy := true; busy; {
			busy = false
			for _, name := range []v1.HostName{"a", "b", "c"} {
				busy = w.peers[name].fill(1000) > 0 || busy
			}
		}
		b.ReportMetric(float64(time.Since(begin).Microseconds())/(2*folders*each), "µs/copy")
		w.served(2)
		w.stop()
	}
}
