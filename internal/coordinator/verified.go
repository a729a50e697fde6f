package coordinator

import (
	"context"
	"fmt"
	"time"

	"clusterbackup/internal/catalog"
)

// Verification counts the confirmed replicas of the current versions by when their bytes were compared with the digest last.
type Verification struct {
	// Replicas is all of them. Of Overdue ones that is longer ago than asked about, of Unknown ones nobody has said yet.
	Replicas, Overdue, Unknown int64
}

// Verification counts what was read since a time. It goes through the whole catalog.
func (c *Coordinator) Verification(ctx context.Context, since time.Time) (v Verification, err error) {
	due := since.Unix()
	err = c.cat.Walk(ctx, "", "", func(item catalog.Item) bool {
		if !item.Entry.Live() {
			return true
		}
		for _, r := range item.Entry.Replicas {
			if r.State != catalog.Confirmed || r.Seq != item.Entry.Seq {
				continue
			}
			v.Replicas++
			switch {
			case r.Verified == 0:
				v.Unknown++
			case r.Verified < due:
				v.Overdue++
			}
		}
		return true
	})
	if err != nil {
		err = fmt.Errorf("count verified replicas: %w", err)
	}
	return v, err
}
