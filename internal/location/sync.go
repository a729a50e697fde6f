package location

import (
	"fmt"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"clusterbackup/internal/beneath"
)

// fewFiles is up to how many files are synced one by one, although the whole file system could be at once: one sync of everything
// also waits for what others are writing.
const fewFiles = 8

// syncer makes one batch's changes durable: by one sync of the file system where that can be relied on, by a parallel fsync of
// every file and folder that was touched elsewhere.
type syncer struct {
	top     beneath.Folder
	whole   bool // sync everything at once
	workers int
	folders map[string]struct{}
	count   int // of syncs, for tests
}

// newSyncer must be called before the batch's first byte is written: errors of writing are reported to descriptors opened before.
func (l *Location) newSyncer() (*syncer, error) {
	top, err := l.top.Child(".")
	if err != nil {
		return nil, fmt.Errorf("open location: %w", err)
	}
	return &syncer{top: top, workers: 4, folders: map[string]struct{}{}}, nil
}

func (s *syncer) close() { s.top.Close() }

// plan decides how n files are synced.
func (s *syncer) plan(n int, canSyncAll bool) { s.whole = canSyncAll && n > fewFiles }

// touched notes that the entries of a folder changed.
func (s *syncer) touched(path string) {
	if !s.whole {
		s.folders[path] = struct{}{}
	}
}

// sync makes all that was touched durable.
func (s *syncer) sync() error {
	if s.whole {
		s.count++
		return s.top.SyncAll()
	}
	s.count += len(s.folders)
	var group errgroup.Group
	group.SetLimit(s.workers)
	for path := range s.folders {
		group.Go(func() error { return s.syncFolder(path) })
	}
	err := group.Wait()
	clear(s.folders)
	return err
}

func (s *syncer) syncFolder(path string) error {
	at, err := s.top.Open(path)
	if isAbsent(err) {
		return nil // pruned meanwhile; its parent was touched too
	}
	if err != nil {
		return err
	}
	defer at.Close()
	if err := beneath.Fsync(at.FD()); err != nil && err != unix.EINVAL {
		return fmt.Errorf("sync folder %q: %w", path, err)
	}
	return nil
}
