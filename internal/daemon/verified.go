package daemon

import (
	"context"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
)

const (
	// Counting goes through the whole catalog. While that changes, a count is good for recountAfter, and for recountCost times as long
	// as it took; while nothing changes, for as long as none of what was counted becomes overdue.
	recountAfter = 2 * time.Second
	recountCost  = 200
	// recountTimeout bounds one count.
	recountTimeout = time.Minute
)

// verifications keeps the counts of verified replicas, for each source of this host.
type verifications struct {
	mu   sync.Mutex
	kept map[v1.SourceName]*verification
}

type verification struct {
	mu       sync.Mutex // held while it is counted
	counts   coordinator.Verification
	interval time.Duration
	revision uint64 // of the catalog
	expires  time.Time
	err      error
}

// of is how many replicas of a source were read within its interval.
func (v *verifications) of(source *v1.Source, c *coordinator.Coordinator) (coordinator.Verification, error) {
	one := v.one(v1.SourceName(source.Name))
	one.mu.Lock()
	defer one.mu.Unlock()
	interval := source.Spec.Verify.Interval.Duration
	start := time.Now()
	revision := c.Revision()
	if one.interval == interval && (start.Before(one.expires) || one.err == nil && revision == one.revision && one.stands(start)) {
		return one.counts, one.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), recountTimeout)
	defer cancel()
	one.interval, one.revision = interval, revision
	one.counts, one.err = c.Verification(ctx, start.Add(-interval))
	took := time.Since(start)
	one.expires = time.Now().Add(max(recountAfter, recountCost*took))
	return one.counts, one.err
}

// stands tells whether the count of an unchanged catalog would be the same now.
func (v *verification) stands(now time.Time) bool {
	return v.counts.Oldest == 0 || now.Before(time.Unix(v.counts.Oldest, 0).Add(v.interval))
}

func (v *verifications) one(source v1.SourceName) *verification {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.kept == nil {
		v.kept = map[v1.SourceName]*verification{}
	}
	if v.kept[source] == nil {
		v.kept[source] = &verification{}
	}
	return v.kept[source]
}
