package location

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// Incoming is a file that was copied into a batch's folder, as the source's host announced it.
type Incoming struct {
	Path    v1.RelPath
	Gen     v1.Generation
	Size    int64
	ModTime int64
	Mode    uint32
	// Digest is what its bytes must have; zero: whatever they have.
	Digest v1.Digest
}

// Published is what became of one file: it is a replica now, durably, or Err says why not.
type Published struct {
	Record Record
	Err    error
}

// arrival is one file on its way through Publish.
type arrival struct {
	Incoming
	out   *Published
	dir   string // of the real name, below the location
	base  string
	old   Record
	held  bool // old is the replica that is replaced
	aside *intent
	// blocks are for verifying a large one by samples; nil: it is not large.
	blocks *blocks
	// inFolder: it gets its name with a whole folder.
	inFolder bool
}

// Publish makes replicas of the files: checks and hashes them, makes them durable, gives them their real names and records them, the
// whole batch at a cost of a handful of syncs. Answers are in the order of files. An error means that the batch as a whole failed;
// what it left undecided is settled when the location is opened again.
func (b *Batch) Publish(ctx context.Context, files []Incoming) ([]Published, error) {
	out := make([]Published, len(files))
	arrivals := b.arrivals(files, out)
	leave, err := b.l.enterToWrite(ctx)
	if err != nil {
		return nil, fmt.Errorf("publish files of %s: %w", b.source, err)
	}
	defer leave()
	b.sync.plan(len(arrivals), b.l.wholeSync)
	if err := b.inspect(ctx, arrivals); err != nil {
		return nil, fmt.Errorf("publish files of %s: %w", b.source, err)
	}
	if err := b.place(ctx, arrivals); err != nil {
		return nil, fmt.Errorf("publish files of %s: %w", b.source, err)
	}
	b.dropUnfinished(good(arrivals))
	return out, nil
}

// arrivals puts the files in the order of their folders.
func (b *Batch) arrivals(files []Incoming, out []Published) []*arrival {
	all := make([]*arrival, 0, len(files))
	for i, in := range files {
		out[i].Record = Record{Path: in.Path, Gen: in.Gen, Size: in.Size, ModTime: in.ModTime, Mode: in.Mode}
		if out[i].Err = checkPath(in.Path); out[i].Err != nil {
			continue
		}
		a := &arrival{Incoming: in, out: &out[i]}
		a.dir, a.base = beneath.Split(beneath.Join(string(b.source), string(in.Path)))
		all = append(all, a)
	}
	slices.SortStableFunc(all, func(x, y *arrival) int {
		return cmp.Or(cmp.Compare(x.dir, y.dir), cmp.Compare(x.base, y.base))
	})
	for i := range all {
		if i > 0 && all[i].Path == all[i-1].Path {
			all[i].out.Err = fmt.Errorf("%q was named twice: %w", all[i].Path, ErrVanished)
		}
	}
	return all
}

// good are those that nothing was found against.
func good(arrivals []*arrival) []*arrival {
	return slices.DeleteFunc(slices.Clone(arrivals), func(a *arrival) bool { return a.out.Err != nil })
}

const hashRun = 32 // files a worker takes at a time

// inspect checks and hashes what arrived, and makes its bytes durable meanwhile.
func (b *Batch) inspect(ctx context.Context, arrivals []*arrival) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.l.cfg.Workers + 1)
	if b.sync.whole {
		group.Go(b.sync.sync)
	}
	for run := range slices.Chunk(good(arrivals), hashRun) {
		group.Go(func() error { b.inspectRun(ctx, run); return ctx.Err() })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("sync and hash what arrived: %w", err)
	}
	return nil
}

func (b *Batch) inspectRun(ctx context.Context, run []*arrival) {
	hash := newHasher()
	defer hash.close()
	from := beneath.Cursor{Top: b.sync.top}
	defer from.Close()
	for _, a := range run {
		dir, _ := beneath.Split(string(a.Path))
		at, err := from.Find(beneath.Join(partialRoot, b.name, dir))
		if err == nil {
			err = b.inspectOne(ctx, hash, at, a)
		}
		if isAbsent(err) {
			err = ErrVanished
		}
		a.out.Err = err
	}
}

func (b *Batch) inspectOne(ctx context.Context, hash *hasher, at beneath.Folder, a *arrival) error {
	fd, st, err := at.OpenRegular(a.base)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if st.Size != a.Size || !sameTime(a.ModTime, beneath.ModTime(&st)) {
		return ErrChanged
	}
	if beneath.ModTime(&st) != a.ModTime {
		_ = at.SetModTime(a.base, a.ModTime) // coarse file systems keep what they can
	}
	digest, size, err := hash.sum(ctx, fd, a.Size)
	if err == nil && size != a.Size {
		err = ErrChanged
	}
	if err == nil && !a.Digest.IsZero() && digest != a.Digest {
		_ = at.Remove(a.base) // it has the right size and time: the next try would take it for whole
		err = ErrDigest
	}
	if err == nil && !b.sync.whole {
		err = beneath.Fsync(fd)
	}
	a.out.Record.Digest, a.blocks = digest, hash.blocks.of(digest)
	a.out.Record.Verified = b.l.cfg.Clock().Unix()
	return err
}

// place gives the files that passed their real names and records them.
func (b *Batch) place(ctx context.Context, arrivals []*arrival) error {
	l := b.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.Check(ctx); err != nil { // hashing may have taken long
		return err
	}
	if !l.space.leaves(0) { // others have written, or folders took more than was thought
		return ErrFull
	}
	if err := b.findOld(good(arrivals)); err != nil {
		return err
	}
	b.fit(good(arrivals))
	moves := b.planFolders(good(arrivals))
	if err := b.clearWay(ctx, good(arrivals)); err != nil {
		return err
	}
	ready := good(arrivals)
	if len(ready) == 0 {
		return nil
	}
	if err := l.commit(func(u *update) error { return u.putIntents(b.intents(ready)) }, nil); err != nil {
		return fmt.Errorf("write intents: %w", err)
	}
	l.fault("intents")
	if err := b.move(ready, moves); err != nil {
		return l.unsettled(err)
	}
	if err := b.record(ready); err != nil {
		return l.unsettled(err)
	}
	l.fault("recorded")
	return nil
}

func (b *Batch) findOld(arrivals []*arrival) error {
	return b.l.db.View(func(tx *bbolt.Tx) (err error) {
		s := readSource(tx, b.source)
		for _, a := range arrivals {
			if a.old, a.held, err = s.get(a.Path); err != nil {
				return err
			}
		}
		return nil
	})
}

// fit refuses what the reservation does not cover and what there is no more room for.
func (b *Batch) fit(arrivals []*arrival) {
	left := b.opts.Reservation.Bytes()
	for _, a := range arrivals {
		if left < a.Size {
			if err := b.l.space.grow(b.opts.Reservation, a.Size-left, 1); err != nil {
				a.out.Err = err
				continue
			}
			left = a.Size
		}
		left -= a.Size
	}
}

// clearWay makes the folders, and moves to versions what stands where a file or folder must go.
func (b *Batch) clearWay(ctx context.Context, arrivals []*arrival) error {
	root, err := b.l.top.Ensure(string(b.source), 0o700, b.sync.touched)
	if err != nil {
		return err
	}
	root.Close()
	to := beneath.Cursor{Top: b.l.top}
	defer to.Close()
	versions := beneath.Cursor{Top: b.l.top}
	defer versions.Close()
	for _, a := range arrivals {
		if a.inFolder {
			continue
		}
		if err := b.clearFor(ctx, a, &to); err != nil {
			if b.l.state() != nil {
				return err
			}
			a.out.Err = err
			continue
		}
		if a.held && a.old.Digest != a.out.Record.Digest {
			a.aside, a.out.Err = b.l.planVersion(&versions, b.sync, b.source, a.old, b.opts.promise(), Replaced)
		}
	}
	return nil
}

func (b *Batch) clearFor(ctx context.Context, a *arrival, to *beneath.Cursor) error {
	at, err := to.Make(a.dir, b.sync.touched)
	var inWay *beneath.InTheWayError
	if b.opts.AddOnly && (a.held || errors.As(err, &inWay)) {
		return fmt.Errorf("%q: %w", a.Path, ErrTaken)
	}
	for errors.As(err, &inWay) { // a file stands where a folder must go
		if err := b.l.retireAt(ctx, b.source, inWay.Path, b.opts.promise()); err != nil {
			return err
		}
		at, err = to.Make(a.dir, b.sync.touched)
	}
	if err != nil {
		return err
	}
	st, err := at.Stat(a.base)
	switch {
	case isAbsent(err):
		a.held = false
		return nil
	case err != nil:
		return err
	case b.opts.AddOnly:
		return fmt.Errorf("%q: %w", a.Path, ErrTaken)
	case beneath.IsFolder(&st):
		to.Close()
		a.held = false
		return b.l.retireBelow(ctx, b.source, a.Path, b.opts.promise())
	case !beneath.IsRegular(&st):
		return fmt.Errorf("%q is in the way: %w", beneath.Join(a.dir, a.base), ErrNotRegular)
	case a.held:
		return nil
	case b.l.folds:
		return fmt.Errorf("%q: %w", a.Path, ErrNameTaken)
	}
	return b.l.retireAt(ctx, b.source, beneath.Join(a.dir, a.base), b.opts.promise())
}

func (b *Batch) intents(arrivals []*arrival) []*intent {
	all := make([]*intent, len(arrivals))
	for i, a := range arrivals {
		a.out.Record.Since = b.l.now().Unix()
		if a.held && a.old.Digest == a.out.Record.Digest {
			a.out.Record.Since = a.old.Since
		}
		a.out.Record.Replacing = a.aside != nil || a.held && a.old.Replacing
		all[i] = &intent{kind: intentPublish, source: b.source, record: a.out.Record}
		if a.aside != nil {
			all[i].name, all[i].since, all[i].aside, all[i].until, all[i].reason = a.aside.name, a.aside.since, a.aside.aside, a.aside.until, Replaced
			all[i].count = a.aside.count
		}
	}
	return all
}

// move sets the old ones aside, durably, and puts the new ones in their place, durably. Until the new one has the name, the old one
// keeps it where the file system knows hard links.
func (b *Batch) move(arrivals []*arrival, folders []folderMove) error {
	anyAside, err := b.setAside(arrivals)
	if err != nil {
		return err
	}
	if anyAside {
		b.l.fault("aside")
		if err := b.sync.sync(); err != nil {
			return fmt.Errorf("sync earlier versions: %w", err)
		}
	}
	from, to := beneath.Cursor{Top: b.sync.top}, beneath.Cursor{Top: b.sync.top}
	defer from.Close()
	defer to.Close()
	for _, f := range folders {
		b.moveFolder(f)
		b.l.fault("renamed")
	}
	for _, a := range arrivals {
		if a.out.Err == nil && !a.inFolder {
			a.out.Err = b.rename(a, &from, &to)
			b.l.fault("renamed")
		}
		if a.out.Err != nil && a.aside != nil {
			if err := b.l.undoAside(b.source, a.aside, a.dir, a.base); err != nil {
				return err
			}
		}
	}
	if err := b.sync.sync(); err != nil {
		return fmt.Errorf("sync published files: %w", err)
	}
	b.l.fault("synced")
	return nil
}

func (b *Batch) setAside(arrivals []*arrival) (any bool, err error) {
	at, versions := beneath.Cursor{Top: b.sync.top}, beneath.Cursor{Top: b.sync.top}
	defer at.Close()
	defer versions.Close()
	for _, a := range arrivals {
		if a.aside == nil {
			continue
		}
		any = true
		from, err := at.Find(a.dir)
		if err != nil {
			return any, err
		}
		a.out.Err = b.l.linkAside(&versions, b.sync, b.source, a.aside, from, a.base)
	}
	return any, nil
}

func (b *Batch) rename(a *arrival, from, to *beneath.Cursor) error {
	dir, _ := beneath.Split(string(a.Path))
	src, err := from.Find(beneath.Join(partialRoot, b.name, dir))
	if err != nil {
		return err
	}
	dst, err := to.Find(a.dir)
	if err != nil {
		return err
	}
	err = src.Rename(a.base, dst, a.base)
	if err == unix.EACCES { // rsync gave the folder its mode in the source
		_ = beneath.Retry(func() error { return unix.Fchmod(src.FD(), 0o700) })
		err = src.Rename(a.base, dst, a.base)
	}
	if err != nil {
		return fmt.Errorf("rename to %q: %w", beneath.Join(a.dir, a.base), err)
	}
	b.sync.touched(a.dir)
	return nil
}

// record is the end of it: from here on the files are replicas.
func (b *Batch) record(arrivals []*arrival) error {
	var bytes int64
	err := b.l.commit(func(u *update) error {
		s, err := u.source(b.source)
		if err != nil {
			return err
		}
		for _, a := range good(arrivals) {
			if a.aside != nil {
				if err := s.putVersion(a.aside.version(a.old)); err != nil {
					return err
				}
			}
			if err := errors.Join(s.put(&a.out.Record), s.putBlocks(a.Path, a.blocks)); err != nil {
				return err
			}
			bytes += a.Size
		}
		return u.clearIntents()
	}, func(delta totals) { b.l.space.settleReserved(b.opts.Reservation, bytes, delta) })
	if err != nil {
		return fmt.Errorf("record published files: %w", err)
	}
	return nil
}
