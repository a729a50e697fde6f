package coordinator

import (
	"context"
	"fmt"
	"sync"
	"testing"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// Several hosts, scans and readers at once; for the race detector, and for locks that wait for one another.
func TestAtOnce(t *testing.T) {
	names := []v1.HostName{"a", "b", "c", "d"}
	w := newWorld(t, t, 2, names...)
	defer w.stop()
	w.room(1000, names...)
	for i := range 400 {
		w.tree.put(fmt.Sprintf("d%d/f%03d", i%9, i), mib)
	}
	w.scan()
	for _, name := range names {
		w.peers[name].meet()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var readers, hosts sync.WaitGroup
	for _, f := range []func(){
		func() { w.c.Status() },
		func() { w.tick() },
		func() {
			for range w.c.Files(ctx, Query{Underserved: true, Limit: 50}) {
			}
		},
		func() { w.scan() },
		func() { _ = w.cat.View(func(tx *catalog.Tx) error { return nil }) },
	} {
		readers.Go(func() {
			for ctx.Err() == nil {
				f()
			}
		})
	}
	for _, name := range names {
		hosts.Go(func() {
			p := w.peers[name]
			for range 60 {
				p.fill(10)
				p.hello()
				p.drop(ReasonSurplus, 1<<40)
			}
		})
	}
	hosts.Wait()
	cancel()
	readers.Wait()
	// The hosts may have stopped with a file or two not asked for yet; the copies counted below show that none was dropped in vain.
	w.settle(0, names...)
	w.settle(2, names...)
	w.served(2)
	if w.copies() != 800 {
		t.Errorf("%d copies, want 800", w.copies())
	}
}
