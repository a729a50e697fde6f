package tree

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// Digest reads one file and returns the SHA-256 of its bytes, if it is the version that want describes (SameVersion) from
// the first byte to the last. ErrChanged: it is another version, or became one. ErrGone: as for Stat.
//
// What a Summer saw whole lately is not read again.
//
// Two writes within one tick of the file system's clock leave the same times behind, so a file that was changed just now is
// read only when that tick is over: up to 50 ms later, 2 s on file systems that count whole seconds.
func (t *Tree) Digest(ctx context.Context, path v1.RelPath, want Entry) (v1.Digest, error) {
	if sum, ok := t.noted.of(path, &want); ok {
		return sum, nil
	}
	fd, err := t.openFile(path)
	if err != nil {
		return v1.Digest{}, fmt.Errorf("digest %q: %w", path, err)
	}
	defer unix.Close(fd)
	sum, err := digest(ctx, fd, &want)
	if err != nil {
		return v1.Digest{}, fmt.Errorf("digest %q: %w", path, err)
	}
	return sum, nil
}

func digest(ctx context.Context, fd int, want *Entry) (sum v1.Digest, err error) {
	if err := unchanged(fd, want); err != nil {
		return sum, err
	}
	if err := settle(ctx, want, time.Now()); err != nil {
		return sum, err
	}
	if sum, err = beneath.Digest(ctx, fd); err != nil {
		return sum, err
	}
	return sum, unchanged(fd, want)
}

func unchanged(fd int, want *Entry) error {
	var now Entry
	if err := statFD(fd, &now); err != nil {
		return err
	}
	if now.Kind != KindFile || !now.SameVersion(want) {
		return ErrChanged
	}
	return nil
}

// unsettled is how long the tick in which the file was last changed goes on; 0 or less: it is over.
func unsettled(e *Entry, now time.Time) time.Duration {
	tick := 50 * time.Millisecond
	if e.ChangeTime%1e9 == 0 && e.ModTime%1e9 == 0 {
		tick = 2 * time.Second
	}
	return min(time.Unix(0, e.ChangeTime).Add(tick).Sub(now), tick)
}

// settle waits until that tick is over.
func settle(ctx context.Context, e *Entry, now time.Time) error {
	wait := unsettled(e, now)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// openFile opens a regular file of the tree. What is none is ErrChanged: it isn't opened, since opening a device can do things.
func (t *Tree) openFile(path v1.RelPath) (int, error) {
	root, err := t.open()
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	folder, err := t.openFolder(root, path.Dir())
	if err != nil {
		return -1, goneIfAbsent(err)
	}
	defer closeUnless(folder, root)
	var e Entry
	if err := statAt(folder, path.Base(), &e); err != nil {
		return -1, goneIfAbsent(err)
	}
	if e.Kind != KindFile {
		return -1, ErrChanged
	}
	fd, err := beneath.At(folder).OpenFile(path.Base()) // which doesn't wait for a FIFO that was put in the file's place meanwhile
	return fd, goneIfAbsent(err)
}
