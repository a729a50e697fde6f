package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
	"clusterbackup/internal/rsync"
)

// batch claims some files and has them come here: fetch into partial, hash, sync, publish, confirm. It returns how many are
// confirmed now, or at least copied; 0: there is nothing to claim, or nothing came. again is shared by batches of one location: when to
// claim again if one of them did in vain, 0 if none did yet.
func (r *CopyReconciler) batch(ctx context.Context, s *Session, l *OpenLocation, extra bool, again *atomic.Int64) (int, error) {
	b := &copyBatch{CopyReconciler: r, session: s, location: l, again: again}
	defer b.release(ctx)
	if err := b.claim(ctx, extra); err != nil || len(b.files) == 0 {
		return 0, err
	}
	r.addUnderway(l.Name, len(b.files))
	defer r.addUnderway(l.Name, -len(b.files))
	stopRenewing := b.keepLease(ctx)
	defer stopRenewing()
	return b.run(ctx)
}

// reasonInterrupted gives claims back through no fault of the files: nothing is held against them.
const reasonInterrupted = "Interrupted"

// copyBatch is one batch under way. What isn't brought to an end is released.
type copyBatch struct {
	*CopyReconciler
	session  *Session
	location *OpenLocation
	lease    time.Duration
	again    *atomic.Int64
	files    []coordinator.Claimed
	origin   *coordinator.Origin
	space    Reservation
	// refused are files that cannot be written here, and why.
	refused  map[v1.RelPath]error
	released []coordinator.Released
}

// claim asks for files and takes room for them, one batch of a location at a time: the room that the next claim tells of is
// what this one has left, and the coordinator plans with it.
func (b *copyBatch) claim(ctx context.Context, extra bool) error {
	claiming := b.claiming(b.location.Name)
	claiming.Lock()
	defer claiming.Unlock()
	if b.again.Load() != 0 {
		return nil
	}
	client, free := b.session.client, b.location.Space().Free
	answer, err := b.session.peer.Claim(ctx, &coordinator.Claim{
		Source: client.Source, Location: b.location.Name, Room: free, Kept: b.Shortage.keep(client, b.location.Name, free),
		MaxFiles: batchFiles, MaxBytes: batchBytes, Extra: extra,
	})
	if err != nil {
		return err
	}
	b.Shortage.want(client, b.location.Name, answer.Wanted, answer.Largest)
	b.lease, b.origin = answer.Lease, answer.Origin
	if b.reserve(answer.Files); len(b.files) == 0 {
		b.again.Store(int64(max(answer.RetryAfter, 1)))
	}
	return nil
}

// reserve takes room for as many of the claimed files as fit; the others are given back.
func (b *copyBatch) reserve(claimed []coordinator.Claimed) {
	bytes, entries := make([]int64, len(claimed)), make([]int, len(claimed)) // of the files up to each
	folders := map[string]struct{}{}
	total := int64(0)
	for i, f := range claimed {
		total += f.Size
		for at := f.Path.Dir(); at != ""; at = v1.RelPath(at).Dir() {
			folders[at] = struct{}{}
		}
		// A folder may be there twice for a time: where the files arrive, and where they get their names.
		bytes[i], entries[i] = total, i+1+2*len(folders)
	}
	for n := len(claimed); n > 0; n-- {
		space, err := b.location.Reserve(bytes[n-1], entries[n-1])
		if err == nil {
			b.files, b.space = claimed[:n], space
			return
		}
		b.give(claimed[n-1], coordinator.ReasonNoRoom, err.Error())
	}
}

func (b *copyBatch) give(f coordinator.Claimed, reason, message string) {
	b.released = append(b.released, coordinator.Released{Path: f.Path, Gen: f.Gen, Reason: reason, Message: message})
}

// release tells what was given back, also when the batch was interrupted: the coordinator need not wait for the lease to end.
func (b *copyBatch) release(ctx context.Context) {
	if len(b.released) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	b.session.peer.Release(ctx, &coordinator.Release{Source: b.session.client.Source, Location: b.location.Name, Files: b.released})
}

// keepLease renews the claims until it is stopped.
func (b *copyBatch) keepLease(ctx context.Context) (stop func()) {
	paths := make([]v1.RelPath, len(b.files))
	for i, f := range b.files {
		paths[i] = f.Path
	}
	return b.Env.every(ctx, max(b.lease/3, time.Second), func(ctx context.Context) {
		b.session.renew(ctx, b.location, paths)
	})
}

func (b *copyBatch) run(ctx context.Context) (int, error) {
	source := b.session.client.Source
	began := b.Env.now()
	keep := b.Retention(source)
	options := location.BatchOptions{KeepVersions: keep.Versions.Duration, MaxVersions: int(*keep.MaxVersions), AddOnly: b.origin != nil}
	if len(b.files) == 1 && b.files[0].Size >= location.ResumeFrom {
		options.Resume = b.files[0].Path
	}
	partial, err := b.space.Begin(ctx, source, options)
	if err != nil {
		b.space.Release()
		b.giveAll(reasonFor(err), err)
		return 0, err
	}
	defer partial.Close()
	broken := b.fetch(ctx, partial)
	if broken == nil {
		broken = ctx.Err()
	}
	if ctx.Err() != nil {
		b.giveAll(reasonInterrupted, broken)
		return 0, broken
	}
	if errors.Is(broken, location.ErrFull) {
		b.giveAll(reasonFor(broken), broken)
		return 0, broken
	}
	fetched := b.Env.now()
	published, err := partial.Publish(ctx, b.incoming())
	if err != nil {
		b.giveAll(reasonFor(err), err)
		return 0, err
	}
	settled := b.Env.now()
	n, err := b.confirm(ctx, published, broken)
	b.Log.V(1).Info("Copied batch", "source", source, "location", b.location.Name, "files", len(b.files), "fetch", fetched.Sub(began).String(),
		"publish", settled.Sub(fetched).String(), "confirm", b.Env.since(settled).String())
	return n, errors.Join(broken, err)
}

// reasonFor tells the coordinator why files did not come, from what a batch ended with.
func reasonFor(err error) string {
	switch {
	case errors.Is(err, rsync.ErrFailed):
		return coordinator.ReasonFailed
	case atFault(err):
		return coordinator.ReasonNoRoom
	}
	return reasonInterrupted
}

// atFault tells whether a batch ended with something that the location can't take.
func atFault(err error) bool { return errors.Is(err, rsync.ErrWrite) || location.CannotTake(err) }

func (b *copyBatch) giveAll(reason string, err error) {
	for _, f := range b.files {
		b.give(f, reason, err.Error())
	}
}

func (b *copyBatch) fetch(ctx context.Context, partial Batch) error {
	f := Fetch{Files: b.files, Dest: partial.Dir(), Earlier: b.location.SourceDir(b.session.client.Source), Origin: b.origin}
	for _, file := range b.files {
		// Files that have grown since they were claimed must not take more than was reserved.
		f.MaxSize = max(f.MaxSize, file.Size, 1)
		f.MaxBytes += file.Size
	}
	f.MaxBytes = max(f.MaxBytes, 1)
	b.refused = map[v1.RelPath]error{}
	f.Refused = func(path v1.RelPath, why error) { b.refused[path] = why }
	f.Received = func(bytes int) {
		b.Counters.Add(b.session.client.Source, b.location.Name, Count{ReceivedBytes: int64(bytes)})
	}
	guarded, stop := partial.Guard(ctx)
	err := b.Fetch(guarded, b.session.client, f)
	stop()
	if err != nil && !errors.Is(err, rsync.ErrTooLarge) { // else what is whole is taken, and the others are looked at again
		return fmt.Errorf("copy %d files: %w", len(b.files), err)
	}
	return nil
}

func (b *copyBatch) incoming() []location.Incoming {
	incoming := make([]location.Incoming, len(b.files))
	for i, f := range b.files {
		incoming[i] = location.Incoming{Path: f.Path, Gen: f.Gen, Size: f.Size, ModTime: f.ModTime, Mode: f.Mode, Digest: f.Digest}
	}
	return incoming
}

// confirm has the published files confirmed; those that did not arrive as they were claimed are released. Of a transfer that broke
// off (broken is why), what came whole before is as good as any.
func (b *copyBatch) confirm(ctx context.Context, published []location.Published, broken error) (int, error) {
	var records []coordinator.Record
	var bytes int64
	for i, p := range published {
		switch {
		case p.Err != nil && broken != nil:
			b.give(b.files[i], reasonFor(broken), broken.Error())
			continue
		case p.Err != nil && b.refused[b.files[i].Path] != nil:
			b.give(b.files[i], coordinator.ReasonFailed, b.refused[b.files[i].Path].Error())
			continue
		case p.Err != nil:
			b.give(b.files[i], reasonOf(p.Err), p.Err.Error())
			continue
		}
		records = append(records, recordOf(p.Record))
		bytes += p.Record.Size
	}
	b.Counters.Add(b.session.client.Source, b.location.Name, Count{CopiedFiles: int64(len(records)), CopiedBytes: bytes})
	if len(records) == 0 {
		return 0, nil
	}
	if b.session.client.Acting {
		defer b.Sessions.outdate(b.session.client.Source, false)
	}
	return len(records), b.settle(ctx, b.session, b.location, records)
}

// reasonOf tells the coordinator why a file did not arrive as it was claimed.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, location.ErrVanished):
		return coordinator.ReasonVanished
	case errors.Is(err, location.ErrChanged):
		return coordinator.ReasonChanged
	case errors.Is(err, location.ErrFull):
		return coordinator.ReasonNoRoom
	}
	return coordinator.ReasonFailed
}
