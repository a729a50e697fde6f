package coordinator

import (
	"context"
	"fmt"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

const maxRetire = 4096

// Retire lists files that are deleted in the source. What it lists has stopped counting, should the file come back.
func (c *Coordinator) Retire(ctx context.Context, from v1.HostName, req *Retire) (*RetireAnswer, error) {
	if c.cfg.Acting {
		return &RetireAnswer{}, nil
	}
	c.mu.Lock()
	h, _, err := c.order(from, req.Source, req.Location, req.Life, req.Turn)
	if err == nil {
		h.settled = req.Turn
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a := &RetireAnswer{}
	id, known := c.cat.HolderID(catalog.Holder{Host: from, Location: req.Location})
	if !known || !c.mustRetire(id) {
		return a, nil
	}
	most := min(req.Max, maxRetire)
	if most <= 0 {
		most = maxRetire
	}
	err = c.cat.Update(func(tx *catalog.Tx) error {
		*a = RetireAnswer{}
		var keys []catalog.Key
		tx.Retirees(id, "", func(key catalog.Key) bool {
			a.More = len(keys) == most
			if !a.More {
				keys = append(keys, key)
			}
			return !a.More
		})
		for _, key := range keys {
			if err := retireOne(tx, key, id, a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("retire: %w", err)
	}
	return a, nil
}

func retireOne(tx *catalog.Tx, key catalog.Key, id catalog.HolderID, a *RetireAnswer) error {
	old, err := tx.Get(key)
	if err != nil || old == nil || old.Live() || old.Replica(id) == nil {
		return err
	}
	path, err := tx.Path(key)
	if err != nil {
		return err
	}
	e := old.Clone()
	r := e.Replica(id)
	gone := Retiree{Path: path, DeletedAt: old.DeletedAt}
	if r.Seq != 0 {
		gone.Gen = v1.Generation{Epoch: tx.Newest().Epoch, Seq: r.Seq}
	}
	a.Files = append(a.Files, gone)
	if r.State == catalog.Leaving {
		return nil
	}
	r.State = catalog.Leaving
	return tx.Put(key, old, e)
}

// Retired takes note of what was moved to versions/.
func (c *Coordinator) Retired(ctx context.Context, from v1.HostName, req *Retired) (*RetiredAnswer, error) {
	c.mu.Lock()
	h, _, err := c.order(from, req.Source, req.Location, req.Life, req.Turn)
	if err == nil {
		h.settled = req.Turn
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	id, known := c.cat.HolderID(catalog.Holder{Host: from, Location: req.Location})
	if !known || len(req.Files) == 0 {
		return &RetiredAnswer{}, nil
	}
	err = c.cat.Update(func(tx *catalog.Tx) error {
		for _, path := range req.Files {
			key, e, err := tx.Find(path)
			if err != nil {
				return err
			}
			if e == nil {
				continue
			}
			if err := removeReplica(tx, key, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("retired: %w", err)
	}
	return &RetiredAnswer{}, nil
}
