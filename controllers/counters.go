package controllers

import (
	"sync"

	v1 "clusterbackup/api/v1"
)

// Count is what was done for one source in one location since the daemon started.
type Count struct {
	CopiedFiles, CopiedBytes int64
	DroppedFiles             int64
	VerifiedBytes            int64
	CorruptReplicas          int64
	ReceivedBytes            int64
}

// CountKey is one source in one location.
type CountKey struct {
	Source   v1.SourceName
	Location v1.LocationName
}

// Counters keeps a Count for each source and location. It may be used by several goroutines at once; the zero value is empty.
type Counters struct {
	mu     sync.Mutex
	counts map[CountKey]Count
}

// Add adds to one Count.
func (c *Counters) Add(source v1.SourceName, location v1.LocationName, by Count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[CountKey]Count{}
	}
	key := CountKey{source, location}
	n := c.counts[key]
	n.CopiedFiles += by.CopiedFiles
	n.CopiedBytes += by.CopiedBytes
	n.DroppedFiles += by.DroppedFiles
	n.VerifiedBytes += by.VerifiedBytes
	n.CorruptReplicas += by.CorruptReplicas
	n.ReceivedBytes += by.ReceivedBytes
	c.counts[key] = n
}

// All returns a copy of every Count.
func (c *Counters) All() map[CountKey]Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[CountKey]Count, len(c.counts))
	for k, n := range c.counts {
		all[k] = n
	}
	return all
}
