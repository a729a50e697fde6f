package sim

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/location"
)

// locations are the one location of a host, as its loops find it.
type locations struct{ h *host }

// Use implements controllers.Locations.
func (l locations) Use() (open []*controllers.OpenLocation, done func()) {
	if l.h.disk.away {
		return nil, func() {}
	}
	return []*controllers.OpenLocation{{Location: l.h.disk, Name: l.h.location, Draining: l.h.draining}}, func() {}
}

// UseOne implements controllers.Locations.
func (l locations) UseOne(v1.LocationName) (open *controllers.OpenLocation, done func()) {
	all, done := l.Use()
	if len(all) == 0 {
		return nil, done
	}
	return all[0], done
}

// Waiting implements controllers.Locations.
func (l locations) Waiting(v1.LocationName, v1.SourceName, string) {}

// The disk as a location: what package location does with real files, and what it promises, is done here with numbers. What
// takes time on a real disk takes time here.

// step is the time that a step on disk takes; the disk may not be there at its end, or the step may fail.
func (d *disk) step() error {
	d.h.w.slow()
	switch {
	case d.away:
		return location.ErrMissing
	case d.h.w.rng.Float64() < d.h.w.failing:
		return location.ErrUnsettled
	}
	return nil
}

// UID implements controllers.Room.
func (d *disk) UID() string { return d.uid }

// Space implements controllers.Room.
func (d *disk) Space() location.Space {
	return location.Space{Capacity: d.allowed(), Used: d.used(), Reserved: d.reserved, Free: d.free()}
}

// SourceDir implements controllers.Room.
func (d *disk) SourceDir(s v1.SourceName) string { return "/" + string(s) }

// Reserve implements controllers.Room.
func (d *disk) Reserve(bytes int64, _ int) (controllers.Reservation, error) {
	switch {
	case d.away:
		return nil, location.ErrMissing
	case bytes > d.free():
		return nil, location.ErrFull
	}
	d.reserved += bytes
	return &reservation{d, bytes}, nil
}

// reservation is room that is kept for a copy.
type reservation struct {
	d     *disk
	bytes int64
}

// Release implements controllers.Reservation.
func (r *reservation) Release() { r.take(r.bytes) }

func (r *reservation) take(bytes int64) {
	r.bytes -= bytes
	r.d.reserved -= bytes
}

// Begin implements controllers.Reservation.
func (r *reservation) Begin(_ context.Context, s v1.SourceName, o location.BatchOptions) (controllers.Batch, error) {
	r.d.batches++
	b := &batch{d: r.d, source: s, dir: fmt.Sprint("/partial/", r.d.batches), keep: o.KeepVersions, addOnly: o.AddOnly, room: r}
	r.d.partial[b.dir] = make(map[v1.RelPath]arrival)
	return b, nil
}

// arrival is a file that has come over.
type arrival struct {
	content content
	size    int64
	modTime int64
}

// batch is some files on their way in.
type batch struct {
	d      *disk
	source v1.SourceName
	dir    string
	keep   time.Duration
	// addOnly: see location.BatchOptions.
	addOnly bool
	room    *reservation
}

// Dir implements controllers.Batch.
func (b *batch) Dir() string { return b.dir }

// Guard implements controllers.Batch: who fills a disk is seen by the next look at its space.
func (b *batch) Guard(ctx context.Context) (guarded context.Context, stop func()) {
	return ctx, func() {}
}

// Close implements controllers.Batch.
func (b *batch) Close() error {
	delete(b.d.partial, b.dir)
	b.room.Release()
	return nil
}

// Publish implements controllers.Batch.
func (b *batch) Publish(_ context.Context, files []location.Incoming) ([]location.Published, error) {
	if err := b.d.step(); err != nil {
		return nil, err
	}
	published := make([]location.Published, len(files))
	for i := range files {
		published[i].Err = b.publish(&files[i])
		published[i].Record, _, _ = b.d.Get(b.source, files[i].Path)
	}
	return published, nil
}

func (b *batch) publish(f *location.Incoming) error {
	d, w := b.d, b.d.h.w
	a, ok := d.partial[b.dir][f.Path]
	switch {
	case !ok:
		return location.ErrVanished
	case a.size != f.Size || a.modTime != f.ModTime:
		return location.ErrChanged
	case b.room.bytes < a.size:
		return location.ErrFull
	case b.addOnly && f.Digest != a.content.digest():
		return location.ErrDigest
	case b.addOnly && d.get(b.source, f.Path) != nil:
		return location.ErrTaken
	}
	if old := d.get(b.source, f.Path); old != nil {
		w.say("%s replaces %s of %s, generation %v, by %v", d.h.name, f.Path, b.source, old.gen, f.Gen)
		d.retire(b.source, f.Path, w.clock.now+b.keep)
	}
	b.room.take(a.size)
	d.put(b.source, f.Path, &replica{gen: f.Gen, content: a.content, was: a.content, size: a.size, modTime: a.modTime, verified: w.clock.time().Unix()})
	w.truth.copied(w.source(b.source), d.h, f.Path)
	w.stats.copies++
	w.stats.copied += f.Size
	w.stats.lastMove = w.clock.now
	return nil
}

func (r *replica) record(path v1.RelPath) location.Record {
	return location.Record{Path: path, Gen: r.gen, Digest: r.was.digest(), Size: r.size, ModTime: r.modTime, Bad: r.bad, Verified: r.verified}
}

// Sources implements controllers.Index.
func (d *disk) Sources() ([]v1.SourceName, error) { return slices.Sorted(maps.Keys(d.replicas)), nil }

// Held implements controllers.Index.
func (d *disk) Held(s v1.SourceName) (location.Held, error) {
	return location.Held{Replicas: int64(len(d.replicas[s])), ReplicaBytes: d.bytesOf[s]}, nil
}

// Highest implements controllers.Index.
func (d *disk) Highest(s v1.SourceName) (v1.Generation, error) { return d.highest[s], nil }

// ManifestVersion implements controllers.Index: listings are not simulated.
func (d *disk) ManifestVersion(v1.SourceName) (string, error) { return "", nil }

// Get implements controllers.Index.
func (d *disk) Get(s v1.SourceName, path v1.RelPath) (location.Record, bool, error) {
	if r := d.get(s, path); r != nil {
		return r.record(path), true, nil
	}
	return location.Record{}, false, nil
}

// GetAll implements controllers.Index.
func (d *disk) GetAll(s v1.SourceName, paths []v1.RelPath) (records []location.Record, held []bool, err error) {
	records, held = make([]location.Record, len(paths)), make([]bool, len(paths))
	for i, path := range paths {
		records[i], held[i], _ = d.Get(s, path)
	}
	return records, held, nil
}

// Records implements controllers.Index.
func (d *disk) Records(s v1.SourceName, _ string) iter.Seq2[location.Record, error] {
	return func(yield func(location.Record, error) bool) {
		for _, path := range slices.Sorted(maps.Keys(d.replicas[s])) {
			if r := d.get(s, path); r != nil && !yield(r.record(path), nil) {
				return
			}
		}
	}
}

// Folders implements controllers.Index.
func (d *disk) Folders(s v1.SourceName, _ string) iter.Seq2[location.Folder, error] {
	folders := make(map[string][]location.Record)
	for _, path := range slices.Sorted(maps.Keys(d.replicas[s])) {
		folders[path.Dir()] = append(folders[path.Dir()], d.get(s, path).record(path))
	}
	return func(yield func(location.Folder, error) bool) {
		for _, path := range slices.Sorted(maps.Keys(folders)) {
			if !yield(location.Folder{Path: path, Records: folders[path]}, nil) {
				return
			}
		}
	}
}

// TakeOver implements controllers.Changes.
func (d *disk) TakeOver(s v1.SourceName, records []location.Record) error {
	if d.away {
		return location.ErrMissing
	}
	for _, record := range records {
		if r := d.get(s, record.Path); r != nil && r.was.digest() == record.Digest {
			r.gen = record.Gen
			d.know(s, r.gen)
		}
	}
	return nil
}

// Confirmed implements controllers.Changes.
func (d *disk) Confirmed(_ v1.SourceName, paths []v1.RelPath) error {
	d.h.w.stats.confirms += int64(len(paths))
	return nil
}

// Retire implements controllers.Changes.
func (d *disk) Retire(_ context.Context, s v1.SourceName, paths []v1.RelPath, keep time.Duration, still func(location.Record) bool) ([]error, error) {
	w := d.h.w
	if err := d.step(); err != nil {
		return nil, err
	}
	errs := make([]error, len(paths))
	for i, path := range paths {
		switch record, held, _ := d.Get(s, path); {
		case !held:
		case still != nil && !still(record):
			errs[i] = location.ErrReplaced
		default:
			w.say("%s retires %s of %s", d.h.name, path, s)
			w.truth.checkRetired(d.h, w.source(s), path)
			d.retire(s, path, w.clock.now+keep)
		}
	}
	return errs, nil
}

// DropAll implements controllers.Changes. Slow disks have grants run out meanwhile, and it may end half way.
func (d *disk) DropAll(_ context.Context, s v1.SourceName, doomed []location.Doomed) ([]error, error) {
	errs := make([]error, len(doomed))
	for i, gone := range doomed {
		if err := d.step(); err != nil {
			return nil, err
		}
		if errs[i] = d.drop(s, gone); errs[i] != nil {
			d.h.w.say("%s does not drop %s of %s, generation %v: %v", d.h.name, gone.Path, s, gone.Gen, errs[i])
		}
	}
	return errs, nil
}

func (d *disk) drop(s v1.SourceName, gone location.Doomed) error {
	w := d.h.w
	r := d.get(s, gone.Path)
	switch {
	case r == nil:
		return location.ErrNotHeld
	case r.gen != gone.Gen && !gone.Gen.IsZero():
		return location.ErrGeneration
	case !gone.Valid():
		return location.ErrGrant
	}
	d.remove(s, gone.Path)
	w.truth.dropped(d.h.remotes[w.source(s)], gone.Path)
	w.stats.drops++
	w.stats.dropped += r.size
	w.stats.lastMove = w.clock.now
	w.say("%s dropped %s of %s", d.h.name, gone.Path, s)
	return nil
}

// Rebuild implements controllers.Checks: nobody but the loops touches a simulated disk, flipped bits aside.
func (d *disk) Rebuild(context.Context, func(location.Found)) (location.Found, error) {
	return location.Found{}, nil
}

// Verify implements controllers.Checks.
func (d *disk) Verify(_ context.Context, s v1.SourceName, paths []v1.RelPath, _ location.VerifyOptions) ([]location.Verdict, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	verdicts := make([]location.Verdict, len(paths))
	for i, path := range paths {
		switch r := d.get(s, path); {
		case r == nil:
			verdicts[i] = location.NotHeld
		case r.content != r.was:
			verdicts[i], r.bad = location.Corrupt, true
		default:
			verdicts[i], r.verified = location.Intact, d.h.w.clock.time().Unix()
		}
	}
	return verdicts, nil
}
