package coordinator

import (
	"context"
	"time"

	v1 "clusterbackup/api/v1"
)

// changing are files that lately arrived otherwise than they had been announced. They are looked at right before files are given, so that
// one that grows all the time is given as it is then: else it is never copied. The zero value is empty.
type changing struct{ until map[v1.RelPath]time.Time }

const (
	maxChanging = 256
	changingFor = 10 * time.Minute
)

func (c *changing) note(path v1.RelPath, now time.Time) {
	if c.until == nil {
		c.until = make(map[v1.RelPath]time.Time)
	}
	if len(c.until) < maxChanging {
		c.until[path] = now.Add(changingFor)
	}
}

// paths are those that were noted lately.
func (c *changing) paths(now time.Time) (paths []v1.RelPath) {
	for path, until := range c.until {
		if now.After(until) {
			delete(c.until, path)
			continue
		}
		paths = append(paths, path)
	}
	return paths
}

// lookAtChanging has the catalog know those files as they are now.
func (c *Coordinator) lookAtChanging(ctx context.Context) {
	c.mu.Lock()
	paths := c.changing.paths(c.clock())
	c.mu.Unlock()
	for _, path := range paths {
		_, _ = c.observe(ctx, path) // if it can't be looked at, a copy tells as much
	}
}
