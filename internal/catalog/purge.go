package catalog

import (
	"context"
	"encoding/binary"
	"time"
)

// Purge forgets files that were deleted before a time and that nobody holds any more.
func (c *Catalog) Purge(ctx context.Context, before time.Time) error {
	from := []byte(nil)
	for {
		var due []Key
		err := c.View(func(tx *Tx) error {
			cur := tx.deleted.Cursor()
			k, _ := cur.Seek(from)
			for n := 0; len(k) > 16 && n < batchSize; k, _ = cur.Next() {
				if int64(binary.BigEndian.Uint64(k)) >= before.UnixNano() {
					k = nil
					break
				}
				n++
				e, err := tx.Get(Key(k[8:]))
				if err != nil {
					return err
				}
				if e != nil && len(e.Replicas) == 0 {
					due = append(due, Key(k[8:]))
				}
			}
			from = append(from[:0], k...)
			return nil
		})
		if err != nil {
			return err
		}
		if err := c.remove(due, before); err != nil {
			return err
		}
		if len(from) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (c *Catalog) remove(due []Key, before time.Time) error {
	if len(due) == 0 {
		return nil
	}
	return c.Update(func(tx *Tx) error {
		for _, key := range due {
			e, err := tx.Get(key)
			if err != nil {
				return err
			}
			if e == nil || e.DeletedAt == 0 || e.DeletedAt >= before.UnixNano() || len(e.Replicas) > 0 {
				continue
			}
			if err := tx.Remove(key, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Each changes entries in batches: f gets every entry that has replicas, and returns the changed copy, or nil to leave it.
// It is for rare events, such as a new epoch or a host that left for good.
func (c *Catalog) Each(ctx context.Context, f func(*Entry) *Entry) error {
	var after []byte
	for {
		done := false
		var due []Key
		err := c.View(func(tx *Tx) error {
			cur := tx.entries.Cursor()
			k, v := cur.Seek(after)
			n := 0
			for ; k != nil && n < 4*batchSize; k, v = cur.Next() {
				n++
				e, err := decodeEntry(v)
				if err != nil {
					return err
				}
				if len(e.Replicas) > 0 && f(e) != nil {
					due = append(due, Key(k))
				}
			}
			done = k == nil
			after = append(after[:0], k...)
			return nil
		})
		if err == nil {
			err = c.rewrite(due, f)
		}
		if err != nil || done {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (c *Catalog) rewrite(keys []Key, f func(*Entry) *Entry) error {
	if len(keys) == 0 {
		return nil
	}
	return c.Update(func(tx *Tx) error {
		for _, key := range keys {
			old, err := tx.Get(key)
			if err != nil {
				return err
			}
			if old == nil {
				continue
			}
			e := f(old.Clone())
			if e == nil {
				continue
			}
			if err := tx.Put(key, old, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Demote takes every replica's confirmation away: each is to be compared anew.
func (c *Catalog) Demote(ctx context.Context) error {
	return c.Each(ctx, func(e *Entry) *Entry {
		changed := e.Clone()
		did := false
		for i := range changed.Replicas {
			if changed.Replicas[i].State == Confirmed {
				changed.Replicas[i].State = Unconfirmed
				did = true
			}
		}
		if !did {
			return nil
		}
		return changed
	})
}

// Forget removes every replica of these holders.
func (c *Catalog) Forget(ctx context.Context, gone map[HolderID]bool) error {
	return c.Each(ctx, func(e *Entry) *Entry {
		changed := e.Clone()
		changed.Replicas = changed.Replicas[:0]
		for _, r := range e.Replicas {
			if !gone[r.Holder] {
				changed.Replicas = append(changed.Replicas, r)
			}
		}
		if len(changed.Replicas) == len(e.Replicas) {
			return nil
		}
		return changed
	})
}
