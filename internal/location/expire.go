package location

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// Retention is how long what is no longer current is kept. Each version keeps what was promised when it was set aside, too: a shorter
// retention shortens nothing that is kept already.
type Retention struct {
	Deleted, Versions time.Duration
	// MaxVersions is how many replaced versions of one file are kept; 0: any number. What goes are those closest to another in
	// time, never the oldest or the newest: many quick rewrites can't push out what was there before.
	MaxVersions int
}

// NoteDeleted remembers for how long a source has its deleted files kept, so that it is known when the source itself is gone.
func (l *Location) NoteDeleted(source v1.SourceName, keep time.Duration) error {
	if l.NotedDeleted(source) == keep {
		return nil
	}
	return l.db.Update(func(tx *bbolt.Tx) error {
		if s := readSource(tx, source); s != nil {
			return s.b.Put(keyDeleted, binary.AppendVarint(nil, int64(keep)))
		}
		return nil
	})
}

// NotedDeleted is what NoteDeleted was told last; 0: nothing.
func (l *Location) NotedDeleted(source v1.SourceName) (keep time.Duration) {
	_ = l.db.View(func(tx *bbolt.Tx) error {
		if s := readSource(tx, source); s != nil {
			keep = time.Duration((&reader{b: s.b.Get(keyDeleted)}).varint())
		}
		return nil
	})
	return keep
}

// Expired counts what Expire deleted.
type Expired struct{ Versions, Bytes int64 }

// Expire deletes versions whose retention has ended, and unfinished copies that nobody came back for.
func (l *Location) Expire(ctx context.Context, now time.Time, retention func(v1.SourceName) Retention) (Expired, error) {
	var sum Expired
	l.dropIdleIf(func(partial beneath.Folder, name string) bool { return !l.resumable(partial, name) })
	sources, err := l.Sources()
	if err != nil {
		return sum, err
	}
	for _, source := range sources {
		if err := l.expireSource(ctx, source, now, retention(source), &sum); err != nil {
			return sum, fmt.Errorf("expire versions of %s: %w", source, err)
		}
	}
	return sum, nil
}

func (l *Location) expireSource(ctx context.Context, source v1.SourceName, now time.Time, ret Retention, sum *Expired) error {
	var ended, file []Version
	flush := func(least int) error {
		if len(ended) < least {
			return nil
		}
		err := l.deleteVersions(ctx, source, ended, sum)
		ended = ended[:0]
		return err
	}
	decide := func() error {
		if len(file) == 0 {
			return nil
		}
		out, _, err := l.endedOf(source, file, now, ret)
		ended = append(ended, out...)
		file = file[:0]
		return errors.Join(err, flush(retireRun))
	}
	for v, err := range l.Versions(source, "") {
		if err != nil {
			return err
		}
		if len(file) > 0 && file[0].Path != v.Path {
			if err := decide(); err != nil {
				return err
			}
		}
		file = append(file, v)
	}
	return errors.Join(decide(), flush(1))
}

// endedOf decides which versions of one file, from the oldest on, need not be kept; unconfirmed: the present one is not, which decides
// otherwise once it is.
func (l *Location) endedOf(source v1.SourceName, file []Version, now time.Time, ret Retention) (ended []Version, unconfirmed bool, err error) {
	current, held, err := l.Get(source, file[0].Path)
	unconfirmed = held && current.Replacing
	return endedVersions(file, unconfirmed, now, ret), unconfirmed, err
}

// crowd is files that have one more replaced version than when they were looked at last. Location.mu is held.
type crowd map[v1.SourceName]map[v1.RelPath]bool

// maxCrowd bounds the files of a source in it; Expire finds the others.
const maxCrowd = 10_000

func (c *crowd) add(source v1.SourceName, path v1.RelPath) {
	if *c == nil {
		*c = crowd{}
	}
	if (*c)[source] == nil {
		(*c)[source] = map[v1.RelPath]bool{}
	}
	if len((*c)[source]) < maxCrowd {
		(*c)[source][path] = true
	}
}

// Thin does what Expire does, for the files that were replaced since the last call alone: it costs nothing where there are none.
func (l *Location) Thin(ctx context.Context, now time.Time, retention func(v1.SourceName) Retention) (Expired, error) {
	l.mu.Lock()
	files := l.crowd
	l.crowd = nil
	l.mu.Unlock()
	var sum Expired
	for source, paths := range files {
		if err := l.thinSource(ctx, source, slices.Sorted(maps.Keys(paths)), now, retention(source), &sum); err != nil {
			return sum, fmt.Errorf("thin out versions of %s: %w", source, err)
		}
	}
	return sum, nil
}

func (l *Location) thinSource(ctx context.Context, source v1.SourceName, paths []v1.RelPath, now time.Time, ret Retention, sum *Expired) error {
	var ended []Version
	for _, path := range paths {
		file, err := l.versionsOf(source, path)
		if err != nil {
			return err
		}
		if len(file) == 0 {
			continue
		}
		out, unconfirmed, err := l.endedOf(source, file, now, ret)
		if err != nil {
			return err
		}
		if unconfirmed {
			l.mu.Lock()
			l.crowd.add(source, path)
			l.mu.Unlock()
		}
		ended = append(ended, out...)
	}
	for run := range slices.Chunk(ended, retireRun) {
		if err := l.deleteVersions(ctx, source, run, sum); err != nil {
			return err
		}
	}
	return nil
}

// versionsOf are those of one file, from the oldest on.
func (l *Location) versionsOf(source v1.SourceName, path v1.RelPath) (all []Version, err error) {
	key := pathKey(path)
	for v, err := range scan(l, source, bucketVersions, key, append(bytes.Clone(key), 1), decodeVersion) {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// endedVersions decides which versions of one file, from the oldest on, need not be kept. While the present one is not confirmed, the
// latest that was is kept, and what came after it.
func endedVersions(versions []Version, unconfirmed bool, now time.Time, ret Retention) []Version {
	guarded := len(versions)
	if unconfirmed {
		guarded = 0
		for i, v := range versions {
			if !v.Replacing && !v.Bad {
				guarded = i
			}
		}
	}
	var ended, stay []Version
	for i, v := range versions {
		keep := ret.Versions
		if v.Reason == Retired {
			keep = ret.Deleted
		}
		switch {
		case i >= guarded:
		case now.After(v.Until) && now.After(v.Aside.Add(keep)):
			ended = append(ended, v)
		case v.Reason == Replaced:
			stay = append(stay, v)
		}
	}
	if ret.MaxVersions > 0 {
		ended = append(ended, thin(stay, promised(stay, now, ret.MaxVersions))...)
	}
	return ended
}

// promised is how many replaced versions of a file are kept: as many as now, or as any of them was told that are kept still. Who makes
// the number smaller, or deletes the source, shortens nothing.
func promised(versions []Version, now time.Time, count int) int {
	for i := range versions {
		if !now.After(versions[i].Until) {
			count = max(count, versions[i].Count)
		}
	}
	return count
}

// thin picks which of the versions go so that n are left.
func thin(versions []Version, n int) []Version {
	left := slices.Clone(versions)
	var out []Version
	for len(left) > max(n, 2) {
		closest := 1
		for i := 1; i < len(left)-1; i++ {
			if gap(left, i) < gap(left, closest) {
				closest = i
			}
		}
		out = append(out, left[closest])
		left = slices.Delete(left, closest, closest+1)
	}
	if len(left) > n { // n is 1: the newest
		out = append(out, left[0])
	}
	return out
}

// gap is the time between the versions on both sides.
func gap(versions []Version, i int) time.Duration {
	return versions[i+1].Since.Sub(versions[i-1].Since)
}

// deleteVersions forgets versions, durably, and deletes them; a crash in between leaves intents that do the rest.
func (l *Location) deleteVersions(ctx context.Context, source v1.SourceName, versions []Version, sum *Expired) error {
	leave, err := l.enterToWrite(ctx)
	if err != nil {
		return err
	}
	defer leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	intents := make([]*intent, len(versions))
	for i, v := range versions {
		intents[i] = &intent{kind: intentExpire, source: source, record: v.Record, name: v.Name[len(versionsFolder(source))+1:]}
	}
	var freed totals
	err = l.commit(func(u *update) error {
		s, err := u.source(source)
		if err != nil {
			return err
		}
		for i := range versions {
			if err := s.removeVersion(&versions[i]); err != nil {
				return err
			}
		}
		return u.putIntents(intents)
	}, func(delta totals) { freed = delta }) // the room is free once the files are gone
	if err != nil {
		return err
	}
	l.fault("expireIntents")
	sync, err := l.newSyncer()
	if err != nil {
		return l.unsettled(err)
	}
	defer sync.close()
	sync.plan(len(versions), l.wholeSync)
	for _, v := range versions {
		if err := l.unlink(sync, v.Name); err != nil {
			return l.unsettled(err)
		}
		l.fault("expired")
	}
	if err := sync.sync(); err != nil {
		return l.unsettled(err)
	}
	if err := l.commit(func(u *update) error { return u.clearIntents() }, nil); err != nil {
		return l.unsettled(err)
	}
	l.space.changed(freed)
	sum.Versions -= freed.versions
	sum.Bytes -= freed.versionBytes
	for _, v := range versions {
		dir, _ := beneath.Split(v.Name)
		l.pruneUp(dir)
	}
	return nil
}
