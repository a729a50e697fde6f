package location

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

const (
	partialRoot   = kept + "/partial"
	resumePrefix  = "resume-"
	resumeForDays = 7
)

// ResumeFrom is the size from which an unfinished copy is worth keeping: from there on Begin with BatchOptions.Resume.
const ResumeFrom = 8 * mebibyte

// BatchOptions are for Begin.
type BatchOptions struct {
	// Reservation is handed over to the batch. Without one, Publish takes only what there is room for then.
	Reservation *Reservation
	// Resume, for a batch of one big file, is its path: what an earlier batch left of the copy is there again.
	Resume v1.RelPath
	// KeepVersions is how long a version that is replaced is kept at least, as long as a file has no more than MaxVersions (0: any
	// number) of them. Neither is shortened later.
	KeepVersions time.Duration
	MaxVersions  int
	// AddOnly: nothing that is there gives way to what arrives, neither a replica nor anything else.
	AddOnly bool
}

// promise is what a version is given when it is set aside.
type promise struct {
	keep  time.Duration
	count int // see Version.Count
}

func (o *BatchOptions) promise() promise {
	count := o.MaxVersions
	if count <= 0 {
		count = anyCount
	}
	return promise{o.KeepVersions, count}
}

// Batch is some files on their way into the location. It has a folder of its own until Close.
type Batch struct {
	l      *Location
	source v1.SourceName
	name   string // of its folder, in partial/
	opts   BatchOptions
	sync   *syncer
	closed bool
}

// Begin makes a folder for files of one source to be copied into.
func (l *Location) Begin(ctx context.Context, source v1.SourceName, opts BatchOptions) (*Batch, error) {
	if opts.Reservation == nil {
		opts.Reservation = &Reservation{space: l.space}
	}
	b := &Batch{l: l, source: source, opts: opts}
	if err := b.begin(ctx); err != nil {
		opts.Reservation.Release()
		return nil, fmt.Errorf("begin batch of %s: %w", source, err)
	}
	return b, nil
}

func (b *Batch) begin(ctx context.Context) (err error) {
	if err := checkSourceName(b.source); err != nil {
		return err
	}
	leave, err := b.l.enterToWrite(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if b.sync, err = b.l.newSyncer(); err != nil {
		return err
	}
	if err = b.takeFolder(); err != nil {
		b.sync.close()
	}
	return err
}

func (b *Batch) takeFolder() error {
	l := b.l
	b.name = "batch-" + strings.ToLower(rand.Text())
	if b.opts.Resume != "" {
		b.name = resumeName(b.source, b.opts.Resume)
		if !l.takeResume(b.name, b.opts.Reservation.Bytes()) {
			return fmt.Errorf("copy %q: %w", b.opts.Resume, ErrBusy)
		}
	}
	at, err := l.top.Ensure(beneath.Join(partialRoot, b.name), 0o700, func(string) {})
	if err != nil {
		l.leaveResume(b.name)
		return err
	}
	at.Close()
	return nil
}

// resumeName is the same for every copy of one file.
func resumeName(source v1.SourceName, path v1.RelPath) string {
	sum := sha256.Sum256([]byte(path))
	return resumePrefix + string(source) + "-" + hex.EncodeToString(sum[:12])
}

// takeResume takes an unfinished copy up: it is no longer idle. One of a file that was larger than what is reserved now, is not: until
// rsync cuts it, it would take more room than is counted.
func (l *Location) takeResume(name string, reserved int64) bool {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if _, taken := l.resumed[name]; taken {
		return false
	}
	l.resumed[name] = struct{}{}
	if partial, err := l.top.Open(partialRoot); err == nil {
		left := partial.TreeBytes(name)
		l.space.addIdle(-left, nil)
		if left > reserved {
			_ = partial.RemoveTree(name)
		}
		partial.Close()
	}
	return true
}

func (l *Location) leaveResume(name string) {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	delete(l.resumed, name)
}

// Dir is where the files are to be copied to, each at its path.
func (b *Batch) Dir() string { return filepath.Join(b.l.root, partialRoot, b.name) }

// Source is whose files they are.
func (b *Batch) Source() v1.SourceName { return b.source }

// guardInterval is how often a copy under way looks whether there still is room for it.
const guardInterval = 250 * time.Millisecond

// Guard returns a context for copying into the batch's folder. It ends, with ErrFull as its cause, when others have written so much
// to the file system that the rest of what was reserved would take of the reserve, and with Check's error when the location is no
// longer the one it was. stop is to be called when the copying is over.
func (b *Batch) Guard(ctx context.Context) (guarded context.Context, stop func()) {
	guarded, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		every := time.NewTicker(guardInterval)
		defer every.Stop()
		for {
			select {
			case <-guarded.Done():
				return
			case <-every.C:
			}
			if err := b.l.Check(guarded); err != nil {
				cancel(err)
			} else if !b.l.space.leaves(b.opts.Reservation.Bytes()) && !b.l.space.leaves(b.missing()) { // the former costs less
				cancel(fmt.Errorf("copy files of %s: others have written what was free above the reserve: %w", b.source, ErrFull))
			}
		}
	})
	return guarded, func() { cancel(nil); watching.Wait() }
}

// missing is how many bytes are reserved and not there yet.
func (b *Batch) missing() int64 {
	partial, err := b.l.top.Open(partialRoot)
	if err != nil {
		return 0
	}
	defer partial.Close()
	return max(0, b.opts.Reservation.Bytes()-partial.TreeBytes(b.name))
}

// Close removes what was not published and gives up the room. What is left of a big file stays to be resumed. Close waits for no
// disk and may be called twice.
func (b *Batch) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	defer b.sync.close()
	partial, err := b.sync.top.Open(partialRoot)
	if err != nil {
		b.opts.Reservation.Release()
		return fmt.Errorf("close batch: %w", err)
	}
	defer partial.Close()
	if b.opts.Resume == "" {
		err = partial.RemoveTree(b.name)
		b.opts.Reservation.Release()
		return err
	}
	left := partial.TreeBytes(b.name)
	if left == 0 || !b.l.space.leaves(0) {
		err = partial.RemoveTree(b.name)
		left = partial.TreeBytes(b.name)
	}
	b.l.space.addIdle(left, b.opts.Reservation)
	b.l.leaveResume(b.name)
	return err
}

// dropUnfinished removes what earlier batches left of files that are whole now.
func (b *Batch) dropUnfinished(arrivals []*arrival) {
	whole := map[string]bool{}
	for _, a := range arrivals {
		if a.Size >= ResumeFrom && a.Path != b.opts.Resume {
			whole[resumeName(b.source, a.Path)] = true
		}
	}
	if len(whole) > 0 {
		b.l.dropIdleIf(func(_ beneath.Folder, name string) bool { return whole[name] })
	}
}

// sweep clears partial/ of what nobody works on: all but unfinished copies that can be resumed.
func (l *Location) sweep() error {
	partial, err := l.top.Open(partialRoot)
	if err != nil {
		return err
	}
	defer partial.Close()
	names, err := partial.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if l.resumable(partial, name) {
			l.space.addIdle(partial.TreeBytes(name), nil)
			continue
		}
		if err := partial.RemoveTree(name); err != nil {
			l.cfg.Log.Error(err, "Unfinished copy could not be removed", "location", l.cfg.Name)
		}
	}
	return nil
}

func (l *Location) resumable(partial beneath.Folder, name string) bool {
	st, err := partial.Stat(name)
	return err == nil && strings.HasPrefix(name, resumePrefix) && st.Mode&unix.S_IFMT == unix.S_IFDIR &&
		l.cfg.Clock().Sub(time.Unix(0, beneath.ModTime(&st))) < resumeForDays*24*time.Hour
}

// dropIdle removes unfinished copies that nobody works on, and tells whether there were any.
func (l *Location) dropIdle() bool {
	return l.dropIdleIf(func(beneath.Folder, string) bool { return true })
}

func (l *Location) dropIdleIf(drop func(partial beneath.Folder, name string) bool) bool {
	leave, err := l.enterToWrite(context.Background())
	if err != nil {
		return false
	}
	defer leave()
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	partial, err := l.top.Open(partialRoot)
	if err != nil {
		return false
	}
	defer partial.Close()
	names, _ := partial.Names()
	dropped := false
	for _, name := range names {
		if _, busy := l.resumed[name]; busy || !strings.HasPrefix(name, resumePrefix) || !drop(partial, name) {
			continue
		}
		bytes := partial.TreeBytes(name)
		if partial.RemoveTree(name) == nil {
			l.space.addIdle(-bytes, nil)
			dropped = true
		}
	}
	return dropped
}

// probe finds out what the file system can: whether it takes different names for the same, as those of macOS and FAT do, and whether
// it knows hard links; and what mode a folder gets that we make.
func (l *Location) probe() error {
	partial, err := l.top.Open(partialRoot)
	if err != nil {
		return err
	}
	defer partial.Close()
	probe, err := partial.Ensure("probe", beneath.FolderMode, func(string) {})
	if err != nil {
		return err
	}
	defer probe.Close()
	fd, err := probe.Create("file", 0o600)
	if err != nil {
		return err
	}
	_ = unix.Close(fd)
	st, err := probe.Stat(".")
	if err != nil {
		return err
	}
	l.folderMode = uint32(st.Mode) & 0o7777
	l.links = probe.Link("file", probe, "link") == nil
	l.folds, err = probe.Exists("FILE")
	return errors.Join(err, partial.RemoveTree("probe"))
}

// checkSourceName refuses what could lead out of the location; that it is a DNS label was checked elsewhere.
func checkSourceName(source v1.SourceName) error {
	if source == "" || source[0] == '.' || strings.ContainsAny(string(source), "/\x00") {
		return fmt.Errorf("source name %q is not a name", source)
	}
	return nil
}

// checkPath refuses what could lead out of the source's folder, and what the index can't hold.
func checkPath(path v1.RelPath) error {
	if len(path) > maxKey {
		return fmt.Errorf("path of %d bytes is too long", len(path))
	}
	_, err := v1.ParseRelPath(string(path))
	return err
}
