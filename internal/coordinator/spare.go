package coordinator

import (
	"context"
	"fmt"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/placement"
)

// Spare tells which files need not lie in a location of the source's own host, where they got by way of a Source or a location that
// changed its host: those that are deleted in the source, and those that as many other hosts hold as a grant to drop them would
// ask for (S1). What lies there counts nowhere, so that nothing has to be recorded before it goes. A file that the catalog does not
// know is not spare.
func (c *Coordinator) Spare(ctx context.Context, at v1.LocationName, paths []v1.RelPath) (spare []v1.RelPath, err error) {
	if err := ctx.Err(); err != nil || !c.cat.Current() {
		return nil, err
	}
	c.mu.Lock()
	v := c.look()
	c.mu.Unlock()
	err = c.cat.View(func(tx *catalog.Tx) error {
		for _, path := range paths {
			_, e, err := tx.Find(path)
			if err != nil {
				return err
			}
			if e != nil && c.isSpare(v, at, e) {
				spare = append(spare, path)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tell what is spare: %w", err)
	}
	return spare, nil
}

func (c *Coordinator) isSpare(v *view, at v1.LocationName, e *catalog.Entry) bool {
	f := &placement.DropFacts{Host: c.cfg.Host, Location: at, Desired: v.min, Amnesic: v.amnesic, Deleted: !e.Live(), Excess: true,
		Holders: []placement.Holder{{Host: c.cfg.Host, Location: at}}}
	for _, r := range e.Replicas {
		f.Holders = append(f.Holders, v.fact(e, r))
	}
	no := placement.MayDrop(f)
	return no == placement.Allowed || no == placement.IsDeleted
}
