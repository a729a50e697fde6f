package coordinator

import (
	"context"
	"fmt"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// Report takes note of what verification found. Bad news is believed whenever it is told, good news only in its turn.
func (c *Coordinator) Report(ctx context.Context, from v1.HostName, req *Report) (*ReportAnswer, error) {
	if len(req.Files) > maxRecords {
		return nil, fmt.Errorf("report of %d files: %w", len(req.Files), ErrBadRequest)
	}
	c.mu.Lock()
	h, _, err := c.meet(from, req.Source, req.Location)
	current := err == nil && c.countable(h, req.Life, req.Turn)
	switch {
	case current:
		h.turn = max(h.turn, req.Turn)
		if hasBad(req.Files) {
			h.settled = max(h.settled, req.Turn)
		}
	case err == nil && hasBad(req.Files):
		c.renewLife(h) // nothing tells which of its other messages are older
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	id, known := c.cat.HolderID(catalog.Holder{Host: from, Location: req.Location})
	if !known || len(req.Files) == 0 {
		return &ReportAnswer{}, nil
	}
	var bad int64
	err = c.cat.Update(func(tx *catalog.Tx) error {
		bad = 0
		for i := range req.Files {
			n, err := c.report(tx, id, &req.Files[i], current)
			if err != nil {
				return err
			}
			bad += n
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if bad > 0 {
		c.cfg.Events("ReplicasDamaged", fmt.Sprintf("location %s of host %s found %d of its replicas corrupt or missing", req.Location, from, bad))
	}
	return &ReportAnswer{}, nil
}

func hasBad(files []Reported) bool {
	for i := range files {
		if files[i].Kind != FoundGood {
			return true
		}
	}
	return false
}

// report takes one finding. A replica of another version than the one it speaks of is left alone.
func (c *Coordinator) report(tx *catalog.Tx, id catalog.HolderID, f *Reported, current bool) (bad int64, err error) {
	key, old, err := tx.Find(f.Path)
	if err != nil || old == nil || old.Replica(id) == nil {
		return 0, err
	}
	e := old.Clone()
	r := e.Replica(id)
	if f.Gen.Epoch == tx.Newest().Epoch && f.Gen.Seq != r.Seq && r.Seq != 0 {
		return 0, nil
	}
	switch f.Kind {
	case FoundMissing:
		e.RemoveReplica(id)
	case FoundCorrupt:
		if r.State == catalog.Granted || r.State == catalog.Leaving || r.State == catalog.Corrupt {
			return 0, nil
		}
		r.State = catalog.Corrupt
	case FoundGood:
		at := min(time.Unix(0, f.At).Unix(), c.clock().Unix())
		if !current || r.State != catalog.Confirmed || at <= r.Verified {
			return 0, nil
		}
		r.Verified = at
		return 0, tx.Put(key, old, e)
	default:
		return 0, fmt.Errorf("finding %d: %w", f.Kind, ErrBadRequest)
	}
	return 1, tx.Put(key, old, e)
}
