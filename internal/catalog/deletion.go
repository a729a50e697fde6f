package catalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"clusterbackup/internal/tree"
)

// anchor is the identity of the source's root when it was last believed.
type anchor tree.Identity

// Held is deletions that a scan saw and did not believe.
type Held struct {
	// Files is how many files; with HeldForeign those that are gone or changed; 0 with a Why: not counted.
	Files int64
	// Why is one of the Held reasons; empty: nothing is held.
	Why string
	// Approved: the next scan believes as many.
	Approved bool
	// Root is the identity of what lay under the source's path then.
	Root anchor
}

// Why deletions are held.
const (
	// HeldMany: more than half of the files, and at least a hundred.
	HeldMany = "MassDeletion"
	// HeldEmpty: the root is empty.
	HeldEmpty = "RootEmpty"
	// HeldOrphans: holders have more files that the catalog has never seen than the source has: the catalog was lost, and what lies
	// under the source's path may not be what it was.
	HeldOrphans = "UnknownToCatalog"
	// HeldForeign: the root, or a folder on another file system, is not the one it was, nor provably the same tree. Nothing is taken from
	// it, changes and additions neither.
	HeldForeign = "AnotherFileSystem"
)

// mass is the least number of deletions that can be too many.
const mass = 100

// End ends the scan. clean says that the walk was complete: only then anything is taken for deleted (S4). The error is
// that of writing.
func (s *Scan) End(ctx context.Context, clean bool) (Result, error) {
	close(s.changes)
	<-s.done
	defer s.c.scanning.Store(false)
	err := context.Cause(s.ctx)
	s.cancel(nil)
	if err == nil && clean {
		err = s.settle(ctx)
	}
	if clearErr := s.c.clearGone(); err == nil {
		err = clearErr
	}
	if err == nil && clean && s.result.Held.Why == "" && !s.result.Again {
		s.c.current.Store(true)
	}
	return s.result, err
}

// settle decides about what is gone.
func (s *Scan) settle(ctx context.Context) error {
	gone, err := s.c.countGone(ctx)
	if err != nil {
		return err
	}
	held := s.judge(gone)
	if held.Why != "" {
		s.result.Held = held
		return s.c.setState(func(st *state) bool {
			if st.Held == held {
				return false
			}
			st.Held = held
			return true
		})
	}
	if s.foreign.found {
		return s.accept()
	}
	if s.result.Deleted, err = s.c.applyGone(ctx); err != nil {
		return err
	}
	return s.c.setState(func(st *state) bool {
		if st.Scanned && st.Held == (Held{}) {
			return false
		}
		st.Scanned, st.Held = true, Held{}
		return true
	})
}

// accept makes what was foreign the known tree. What is held stays so until the scan of it.
func (s *Scan) accept() error {
	s.result.Again = true
	if len(s.adopt) > 0 {
		if err := s.store(s.adopt); err != nil {
			return err
		}
	}
	return s.c.setAnchor(s.identity)
}

// Knows tells whether a root of that identity is the one that the catalog is of, or the first there is.
func (c *Catalog) Knows(identity tree.Identity) bool {
	known := c.now().Root
	return known == (anchor{}) || tree.Identity(known).Same(identity)
}

func (c *Catalog) setAnchor(root anchor) error {
	return c.setState(func(st *state) bool {
		if st.Root == root {
			return false
		}
		st.Root = root
		return true
	})
}

// judge says whether that many files may be believed to be deleted.
func (s *Scan) judge(gone int64) Held {
	held := Held{Files: gone, Root: s.identity}
	total, _ := s.c.Total()
	switch {
	case s.foreign.found && !s.foreign.same():
		held.Why, held.Files = HeldForeign, s.foreign.lost()
	case s.foreign.found:
		return Held{}
	case s.emptied && total > 0:
		held.Why = HeldEmpty
	case gone >= mass && gone*2 > total:
		held.Why = HeldMany
	default:
		return Held{}
	}
	was := s.c.now().Held
	if was.Approved && (was.Why == held.Why || was.Why == HeldForeign) && was.Root == s.identity && held.Files <= was.Files {
		return Held{}
	}
	return held
}

// Approve lets what is held through: the next scan, or inventory, that finds the same, or less, gone believes it. ErrNothingHeld.
func (c *Catalog) Approve() (Held, error) {
	var held Held
	err := c.setState(func(st *state) bool {
		what := &st.Held
		if what.Why == "" {
			what = &st.Orphans
		}
		held = *what
		if held.Why == "" || held.Approved {
			return false
		}
		what.Approved = true
		return true
	})
	if err == nil && held.Why == "" {
		err = ErrNothingHeld
	}
	return held, err
}

// ErrNothingHeld: no deletions wait for approval.
var ErrNothingHeld = errors.New("no deletions are held")

// setState changes the state; f says whether it did.
func (c *Catalog) setState(f func(*state) bool) error {
	if now := c.now(); !f(&now) {
		return nil
	}
	return c.Update(func(tx *Tx) error {
		tx.dirty = f(&tx.state) || tx.dirty
		return nil
	})
}

// countGone counts the files among what the scan missed, those below missing folders included.
func (c *Catalog) countGone(ctx context.Context) (files int64, err error) {
	err = c.eachGone(ctx, func(tx *Tx, e *Entry, below bool) error {
		if below {
			e = &Entry{Child: e.Child}
		}
		n, err := tx.countFiles(ctx, e)
		files += n
		return err
	})
	return files, err
}

// eachGone visits what the scan missed.
func (c *Catalog) eachGone(ctx context.Context, visit func(tx *Tx, e *Entry, below bool) error) error {
	var after []byte
	for {
		n := 0
		err := c.View(func(tx *Tx) error {
			cur := tx.b.Bucket(goneBucket).Cursor()
			k, v := cur.Seek(after)
			if k != nil && string(k) == string(after) {
				k, v = cur.Next()
			}
			for ; k != nil && n < batchSize; k, v = cur.Next() {
				n++
				after = append(after[:0], k...)
				e, err := tx.Get(Key(k))
				if err != nil {
					return err
				}
				if e == nil || e.DeletedAt != 0 {
					continue
				}
				if err := visit(tx, e, len(v) > 0); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n == 0 {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (tx *Tx) countFiles(ctx context.Context, e *Entry) (files int64, err error) {
	if e.Live() {
		files++
	}
	if e.Child == 0 {
		return files, nil
	}
	stack := []uint64{e.Child}
	for len(stack) > 0 {
		prefix := be64(stack[len(stack)-1])
		stack = stack[:len(stack)-1]
		cur := tx.entries.Cursor()
		for k, v := cur.Seek(prefix); k != nil && string(k[:8]) == string(prefix); k, v = cur.Next() {
			switch {
			case len(v) < classAt+4:
				return files, fmt.Errorf("%w: %q", ErrCorrupt, k)
			case v[flagsAt]&flagDeleted == 0 && tree.Kind(v[0]) == tree.KindFile:
				files++
			}
			if v[flagsAt]&flagChild != 0 {
				stack = append(stack, binary.BigEndian.Uint64(v[childAt:]))
			}
		}
		if err := ctx.Err(); err != nil {
			return files, err
		}
	}
	return files, nil
}

// anyBelow tells whether anything is believed to be there below a folder.
func (tx *Tx) anyBelow(folder uint64) bool {
	stack := []uint64{folder}
	for len(stack) > 0 {
		prefix := be64(stack[len(stack)-1])
		stack = stack[:len(stack)-1]
		cur := tx.entries.Cursor()
		for k, v := cur.Seek(prefix); len(k) > 8 && string(k[:8]) == string(prefix) && len(v) > flagsAt; k, v = cur.Next() {
			if v[flagsAt]&flagDeleted == 0 {
				return true
			}
			if v[flagsAt]&flagChild != 0 {
				stack = append(stack, binary.BigEndian.Uint64(v[childAt:]))
			}
		}
	}
	return false
}

// applyGone marks what the scan missed as deleted, in batches.
func (c *Catalog) applyGone(ctx context.Context) (deleted int64, err error) {
	now := c.clock().UnixNano()
	for {
		left := 0
		var did int64
		probe := c.goneLeft()
		if !probe {
			return deleted, nil
		}
		err := c.Update(func(tx *Tx) error {
			left, did = batchSize, 0
			gone := tx.b.Bucket(goneBucket)
			for left > 0 {
				k, v := gone.Cursor().First()
				if k == nil {
					return nil
				}
				key := Key(k)
				done, err := tx.delete(key, len(v) > 0, now, &left, &did)
				if err != nil {
					return err
				}
				if done {
					if err := gone.Delete([]byte(key)); err != nil {
						return err
					}
				}
			}
			return nil
		})
		deleted += did
		if err != nil {
			return deleted, err
		}
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
	}
}

func (c *Catalog) goneLeft() (left bool) {
	_ = c.db.View(func(tx *bolt.Tx) error {
		k, _ := tx.Bucket(goneBucket).Cursor().First()
		left = k != nil
		return nil
	})
	return left
}

// clearGone forgets what a scan missed; not writing if there is nothing.
func (c *Catalog) clearGone() error {
	if !c.goneLeft() {
		return nil
	}
	return c.Update(func(tx *Tx) error {
		if err := tx.b.DeleteBucket(goneBucket); err != nil {
			return err
		}
		_, err := tx.b.CreateBucket(goneBucket)
		return err
	})
}

// goneValue is what the gone bucket has of a key.
func goneValue(below bool) []byte {
	if below {
		return []byte{1}
	}
	return nil
}

// delete marks an entry, and first all below it, deleted at that time; or only what is below it. left bounds the work; done is
// false when it ran out.
func (tx *Tx) delete(key Key, below bool, at int64, left *int, did *int64) (done bool, err error) {
	e, err := tx.Get(key)
	if err != nil || e == nil {
		return true, err
	}
	if e.Child != 0 {
		if done, err := tx.deleteBelow(e.Child, at, left, did); !done || err != nil {
			return done, err
		}
		if e, err = tx.Get(key); err != nil || e == nil {
			return true, err
		}
	}
	if below || e.DeletedAt != 0 {
		return true, nil
	}
	*left--
	*did++
	tx.changed = true
	return true, tx.markDeleted(key, e, at)
}

// markDeleted marks one entry. Only files are remembered once they are gone, and folders as long as there are such in them.
func (tx *Tx) markDeleted(key Key, e *Entry, at int64) error {
	switch {
	case e.Kind == tree.KindFile, len(e.Replicas) > 0:
		gone := e.Clone()
		gone.Kind, gone.DeletedAt = tree.KindFile, at
		if err := tx.Put(key, e, gone); err != nil || gone.Child == 0 {
			return err
		}
		return tx.prune(gone.Child)
	case e.Child != 0:
		gone := e.Clone()
		gone.Kind, gone.DeletedAt = tree.KindFolder, at
		if err := tx.Put(key, e, gone); err != nil {
			return err
		}
		return tx.prune(e.Child)
	}
	return tx.Remove(key, e)
}

// deleteBelow deletes what is in a folder.
func (tx *Tx) deleteBelow(folder uint64, at int64, left *int, did *int64) (done bool, err error) {
	prefix := be64(folder)
	after := append([]byte(nil), prefix...)
	for {
		keys := tx.liveBelow(prefix, after, 256)
		if len(keys) == 0 {
			return true, nil
		}
		for _, key := range keys {
			if *left <= 0 {
				return false, nil
			}
			if done, err := tx.delete(key, false, at, left, did); !done || err != nil {
				return done, err
			}
			after = append([]byte(key), 0)
		}
	}
}

// liveBelow lists some keys of a folder's entries that are there, or have something below them.
func (tx *Tx) liveBelow(prefix, from []byte, most int) (keys []Key) {
	cur := tx.entries.Cursor()
	for k, v := cur.Seek(from); k != nil && string(k[:8]) == string(prefix) && len(keys) < most; k, v = cur.Next() {
		if len(v) > flagsAt && (v[flagsAt]&flagDeleted == 0) {
			keys = append(keys, Key(k))
		}
	}
	return keys
}
