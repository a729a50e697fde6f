package daemon

import (
	"context"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
)

const (
	// recountAfter is how long a count of verified replicas is good for, and recountCost how many times longer than it took: counting
	// goes through the whole catalog.
	recountAfter = 2 * time.Second
	recountCost  = 50
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
	if start.Before(one.expires) && one.interval == interval {
		return one.counts, one.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), recountTimeout)
	defer cancel()
	one.interval = interval
	one.counts, one.err = c.Verification(ctx, start.Add(-interval))
	took := time.Since(start)
	one.expires = time.Now().Add(max(recountAfter, recountCost*took))
	return one.counts, one.err
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
