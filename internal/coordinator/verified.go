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
	// Oldest is when the first of the others was read, Unix seconds: none of them is overdue before that is too long ago. 0: there are none.
	Oldest int64
}

// Revision changes whenever the catalog does.
func (c *Coordinator) Revision() uint64 { return c.cat.Revision() }

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
			case v.Oldest == 0 || r.Verified < v.Oldest:
				v.Oldest = r.Verified
			}
		}
		return true
	})
	if err != nil {
		err = fmt.Errorf("count verified replicas: %w", err)
	}
	return v, err
}
