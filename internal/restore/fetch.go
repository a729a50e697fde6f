package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
	"clusterbackup/internal/manifest"
	"clusterbackup/internal/stream"
)

const (
	batchFiles = 2000
	batchBytes = 256 << 20
)

// job is one file on its way.
type job struct {
	path    v1.RelPath
	entry   *manifest.Entry
	want    *wanted
	tried   map[int]bool // holders
	again   map[int]bool // holders that are asked once more, since the connection broke
	replace bool
	why     error // why the latest holder's copy was no good
}

// batch is some files from one holder, all of them replicas or all of them versions.
type batch struct {
	holder   int
	versions bool
	jobs     []*job
	bytes    int64
}

// fetcher assigns files to holders, evenly, and fetches them.
type fetcher struct {
	r       *restore
	number  atomic.Int64 // of temporary folders
	batches chan *batch

	mu   sync.Mutex
	load []int64 // bytes assigned to each holder
	bad  []error // why a holder is not asked any more
}

// fetchAll fetches every file that is planned.
func (r *restore) fetchAll(ctx context.Context) error {
	f := &fetcher{r: r, batches: make(chan *batch), load: make([]int64, len(r.holders)), bad: make([]error, len(r.holders))}
	group, ctx := errgroup.WithContext(ctx)
	for range r.opts.Parallel {
		group.Go(func() error {
			for b := range f.batches {
				if err := f.run(ctx, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(f.batches)
		return f.fill(ctx)
	})
	return group.Wait()
}

// fill makes batches out of the plan.
func (f *fetcher) fill(ctx context.Context) error {
	open := map[[2]int]*batch{}
	send := func(b *batch) error {
		select {
		case f.batches <- b:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	to := beneath.Cursor{Top: f.r.target.top}
	defer to.Close()
	err := f.r.table.each(func(path v1.RelPath, row *row) error {
		if row.Want == nil {
			return ctx.Err()
		}
		j := &job{path: path, entry: row.Entry, want: row.Want, tried: map[int]bool{}, again: map[int]bool{}}
		if !f.r.needed(ctx, &to, j) {
			return ctx.Err()
		}
		src := f.pick(j)
		key := [2]int{src.Holder, 0}
		if src.Version != "" {
			key[1] = 1
		}
		b := open[key]
		if b == nil {
			b = &batch{holder: src.Holder, versions: src.Version != ""}
			open[key] = b
		}
		b.jobs = append(b.jobs, j)
		if b.bytes += j.want.Size; len(b.jobs) < batchFiles && b.bytes < batchBytes {
			return ctx.Err()
		}
		delete(open, key)
		return send(b)
	})
	for _, b := range open {
		if err == nil {
			err = send(b)
		}
	}
	return err
}

// needed compares with what is in the target already.
func (r *restore) needed(ctx context.Context, to *beneath.Cursor, j *job) bool {
	at, err := to.Find(j.path.Dir())
	var st unix.Stat_t
	if err == nil {
		st, err = at.Stat(j.path.Base())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true
	case err != nil:
		r.block(j, err)
		return false
	case !beneath.IsRegular(&st):
		r.block(j, fmt.Errorf("%w: a %s", errInTheWay, kindOf(&st)))
		return false
	}
	if st.Size == j.want.Size && r.same(ctx, at, j) {
		r.outdated(j)
		r.done(j.want.Size, func(s *Result) { s.Same++ })
		return false
	}
	j.replace = r.mayReplace(&st, j.want)
	if !j.replace {
		r.report(j.path, Kept, "another file has its name; --overwrite says "+string(r.opts.Overwrite))
		r.done(j.want.Size, nil)
	}
	return j.replace
}

// mayReplace tells whether a file that is there gives way to the one that is wanted.
func (r *restore) mayReplace(st *unix.Stat_t, want *wanted) bool {
	return r.opts.Overwrite == Always || r.opts.Overwrite == Older && beneath.ModTime(st) < want.ModTime
}

// same tells whether the file that is there has the bytes that are wanted.
func (r *restore) same(ctx context.Context, at beneath.Folder, j *job) bool {
	fd, err := at.OpenFile(j.path.Base())
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	digest, err := beneath.Digest(ctx, fd)
	return err == nil && digest == j.want.Digest
}

func kindOf(st *unix.Stat_t) string {
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFDIR:
		return "folder"
	case unix.S_IFLNK:
		return "symbolic link"
	}
	return "special file"
}

// block says that the target does not take a file.
func (r *restore) block(j *job, err error) {
	r.blocked(j.path, err)
	r.done(j.want.Size, nil)
}

// outdated says so of a file that is restored as an earlier version.
func (r *restore) outdated(j *job) {
	if j.want.Outdated {
		r.report(j.path, Outdated, "the version that was listed has no live replica; an earlier one was restored")
	}
}

// pick chooses the holder that has been given least, among those not tried and not known to be bad, if there are any.
func (f *fetcher) pick(j *job) (best source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	best.Holder = -1
	for _, src := range j.want.Sources {
		if j.tried[src.Holder] || f.bad[src.Holder] != nil && best.Holder >= 0 {
			continue
		}
		if best.Holder < 0 || f.bad[best.Holder] != nil || f.load[src.Holder] < f.load[best.Holder] {
			best = src
		}
	}
	if best.Holder >= 0 {
		f.load[best.Holder] += j.want.Size + 1000
		j.tried[best.Holder] = true
	}
	return best
}

// run fetches a batch, and what it did not bring from other holders.
func (f *fetcher) run(ctx context.Context, b *batch) error {
	again := []*batch{b}
	for len(again) > 0 {
		b, again = again[0], again[1:]
		left, err := f.fetch(ctx, b)
		if err != nil {
			return err
		}
		again = append(again, f.regroup(left)...)
	}
	return nil
}

// regroup assigns files to their next holders; those without one have failed.
func (f *fetcher) regroup(jobs []*job) []*batch {
	groups := map[[2]int]*batch{}
	var out []*batch
	for _, j := range jobs {
		src := f.pick(j)
		if src.Holder < 0 {
			f.r.report(j.path, Failed, j.why.Error())
			f.r.done(j.want.Size, nil)
			continue
		}
		key := [2]int{src.Holder, 0}
		if src.Version != "" {
			key[1] = 1
		}
		if groups[key] == nil {
			groups[key] = &batch{holder: src.Holder, versions: src.Version != ""}
			out = append(out, groups[key])
		}
		groups[key].jobs = append(groups[key].jobs, j)
	}
	return out
}

// fetch gets one batch from its holder and returns the files that it did not bring whole. The error is one that ends the restore.
func (f *fetcher) fetch(ctx context.Context, b *batch) (left []*job, err error) {
	r := f.r
	holder := r.holders[b.holder]
	name := strconv.FormatInt(f.number.Add(1), 10)
	temp := beneath.Join(r.target.temp, name)
	at, err := r.target.top.Ensure(temp, 0o700, func(string) {})
	if err != nil {
		return nil, err
	}
	from, to := beneath.Cursor{Top: at}, beneath.Cursor{Top: r.target.top}
	defer func() {
		from.Close()
		to.Close()
		at.Close()
		err = errors.Join(err, r.target.remove(name))
	}()
	refused := map[v1.RelPath]error{}
	connected, broken := f.stream(ctx, b, stream.Fetch{Dest: at, Refused: func(name v1.RelPath, why error) { refused[name] = why }})
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(broken, stream.ErrWrite):
		return nil, fmt.Errorf("write to target: %w", broken)
	case broken != nil:
		f.markBad(b.holder, broken)
	}
	for _, j := range b.jobs {
		if j.why = r.accept(ctx, &from, &to, b.name(j), j); j.why == nil {
			continue
		}
		j.why = cmp.Or(refused[b.name(j)], broken, j.why)
		j.why = fmt.Errorf("fetch from %s: %w", holder, j.why)
		left = append(left, j)
	}
	if connected && broken != nil {
		b.askAgain(left, refused)
	}
	return left, nil
}

// askAgain has the holder asked once more for what a broken connection did not bring, and on as long as anything comes.
func (b *batch) askAgain(left []*job, refused map[v1.RelPath]error) {
	for _, j := range left {
		if refused[b.name(j)] == nil && (len(left) < len(b.jobs) || !j.again[b.holder]) {
			j.again[b.holder] = true
			delete(j.tried, b.holder)
		}
	}
}

// patience is how long a holder may send nothing: others may have what it has, and it is asked once more if they don't.
const patience = 30 * time.Second

// stream has the batch's files come from its holder, if that lets itself be connected to.
func (f *fetcher) stream(ctx context.Context, b *batch, fetch stream.Fetch) (connected bool, err error) {
	conn, err := f.r.cluster.Dial(ctx, f.r.holders[b.holder])
	if err != nil {
		return false, err
	}
	fetch.Subdir, fetch.Idle = string(f.r.opts.Source), patience
	if b.versions {
		fetch.Subdir = ".clusterbackup/versions/" + fetch.Subdir
	}
	for _, j := range b.jobs {
		fetch.Files = append(fetch.Files, stream.File{Path: b.name(j), Size: j.want.Size})
	}
	return true, fetch.Run(ctx, conn)
}

// name is what the file is called at the holder.
func (b *batch) name(j *job) v1.RelPath {
	if !b.versions {
		return j.path
	}
	for _, src := range j.want.Sources {
		if src.Holder == b.holder && src.Version != "" {
			return src.Version
		}
	}
	return j.path
}

func (f *fetcher) markBad(holder int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad[holder] = err
}

var (
	errMissing = errors.New("it did not arrive")
	errDiffers = errors.New("its bytes differ from the digest that was recorded")
)

// accept checks what arrived and gives it its name. An error means that another holder may have it right.
func (r *restore) accept(ctx context.Context, from, to *beneath.Cursor, name v1.RelPath, j *job) error {
	f, err := fetched(from, name)
	if err != nil {
		return err
	}
	defer f.close()
	digest, err := beneath.Digest(ctx, f.fd)
	if err != nil {
		return err
	}
	if digest != j.want.Digest {
		return errDiffers
	}
	warning, err := r.place(ctx, f, to, j)
	if errors.Is(err, fs.ErrExist) {
		r.report(j.path, Kept, "another file has its name now")
		r.done(j.want.Size, nil)
		return nil
	}
	if err != nil {
		r.block(j, err)
		return nil
	}
	if warning != nil {
		r.report(j.path, Warned, warning.Error())
	}
	r.outdated(j)
	r.done(j.want.Size, func(s *Result) { s.Restored++; s.Bytes += j.want.Size })
	return nil
}

// fetched opens what arrived.
func fetched(from *beneath.Cursor, name v1.RelPath) (*finished, error) {
	at, err := from.Find(name.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errMissing
	}
	if err != nil {
		return nil, err
	}
	fd, _, err := at.OpenRegular(name.Base())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrNotRegular) {
		return nil, errMissing
	}
	return &finished{at, name.Base(), fd}, err
}

// place gives a file that was fetched its attributes, which may fail (warning), and its name.
func (r *restore) place(ctx context.Context, f *finished, to *beneath.Cursor, j *job) (warning, err error) {
	if err := r.target.ensure(j.path.Dir()); err != nil {
		return nil, err
	}
	at, err := to.Find(j.path.Dir())
	if err != nil {
		return nil, err
	}
	warning = r.dress(f, j)
	if err := r.stillReplaces(at, j); err != nil {
		return warning, err
	}
	if err = f.place(at, j.path.Base(), j.replace); !errors.Is(err, unix.EXDEV) {
		return warning, err
	}
	copied, err := f.copyTo(ctx, at)
	if err != nil {
		return nil, err
	}
	defer copied.close()
	warning = r.dress(copied, j)
	if err = r.stillReplaces(at, j); err == nil {
		err = copied.place(at, j.path.Base(), j.replace)
	}
	if err != nil {
		_ = at.Remove(copied.base)
	}
	return warning, err
}

// stillReplaces looks again at the file that is to be replaced, which may be another since it was planned: fs.ErrExist.
func (r *restore) stillReplaces(at beneath.Folder, j *job) error {
	if !j.replace {
		return nil
	}
	st, err := at.Stat(j.path.Base())
	if err == nil && (!beneath.IsRegular(&st) || !r.mayReplace(&st, j.want)) {
		return fs.ErrExist
	}
	return nil
}
