package coordinator

import (
	"context"
	"errors"
	"runtime"
	"sync"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/tree"
)

// digester computes digests of source files, a few at a time, each file once even if several holders ask at once.
type digester struct {
	tree  Tree
	slots chan struct{}

	mu      sync.Mutex
	running map[digestKey]*digesting
}

type digestKey struct {
	path v1.RelPath
	seq  uint64
}

type digesting struct {
	done   chan struct{}
	digest v1.Digest
	err    error
}

func newDigester(t Tree) *digester {
	return &digester{tree: t, slots: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), running: make(map[digestKey]*digesting)}
}

// of computes the digest of one version, which stat describes. Whoever comes first computes it; the others wait, and
// compute it themselves if the first gave up.
func (d *digester) of(ctx context.Context, path v1.RelPath, seq uint64, stat tree.Entry) (v1.Digest, error) {
	key := digestKey{path, seq}
	for {
		d.mu.Lock()
		r, busy := d.running[key]
		if !busy {
			r = &digesting{done: make(chan struct{})}
			d.running[key] = r
		}
		d.mu.Unlock()
		if !busy {
			d.compute(ctx, key, r, stat)
			return r.digest, r.err
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return v1.Digest{}, ctx.Err()
		}
		if !errors.Is(r.err, context.Canceled) && !errors.Is(r.err, context.DeadlineExceeded) {
			return r.digest, r.err
		}
	}
}

func (d *digester) compute(ctx context.Context, key digestKey, r *digesting, stat tree.Entry) {
	defer func() {
		d.mu.Lock()
		delete(d.running, key)
		d.mu.Unlock()
		close(r.done)
	}()
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		r.err = ctx.Err()
		return
	}
	r.digest, r.err = d.tree.Digest(ctx, key.path, stat)
}

// observe looks at one file now and lets the catalog catch up. It returns the generation of the version that was known, if that is the
// one that is there; zero if not. A file that is gone stays known until the next scan: one look at one path is no proof of a deletion.
func (c *Coordinator) observe(ctx context.Context, path v1.RelPath) (known v1.Generation, err error) {
	now, err := c.cfg.Tree.Stat(ctx, path)
	if err != nil {
		return known, err
	}
	err = c.cat.View(func(tx *catalog.Tx) error {
		_, e, err := tx.Find(path)
		if e != nil {
			if was := e.Stat(""); was.SameVersion(&now) {
				known = tx.Generation(e)
			}
		}
		return err
	})
	if err != nil || !known.IsZero() {
		return known, err
	}
	return known, c.cat.Update(func(tx *catalog.Tx) error {
		_, err := tx.Observe(path, &now)
		return err
	})
}
