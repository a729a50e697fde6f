package location

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// Config says which location is opened, and how.
type Config struct {
	// Root is the folder, absolute.
	Root string
	Name v1.LocationName
	// ClusterUID must be the one in location.json.
	ClusterUID string
	// IndexDir holds the indexes of this host's locations: STATE/locations. It is made if need be.
	IndexDir string
	// Capacity is at most how many bytes lie here; 0: no limit. Reserve is how many of the file system always stay free.
	Capacity, Reserve int64
	// Init allows to make a location where none is and none was known: the folder itself (not its parents) and its identity.
	Init bool
	// ManualRebuild leaves it to the caller to run Rebuild when Rebuilding is true; else that is done in the background.
	ManualRebuild bool
	// Disks is shared by the locations of one process; nil: this one has its file system for itself.
	Disks *Disks
	// Clock is time.Now unless given.
	Clock func() time.Time
	// Uptime grows as time passes, whatever is done to the clock, and goes on while the host sleeps; nil: the process's own.
	Uptime func() time.Duration
	// Workers is how many files are hashed at once; 0: 2.
	Workers int
	Log     logr.Logger
}

// Location is one open location.
type Location struct {
	cfg      Config
	root     string
	id       identity
	identity []byte // location.json as it was read
	top      beneath.Folder
	locked   *os.File // nil: the file system knows no locks
	device   uint64
	inode    uint64
	// folderMode is the mode that a folder gets here that we make.
	folderMode uint32
	wholeSync  bool // one sync of the file system may stand for many of files
	folds      bool // the file system takes different names for the same
	links      bool // it knows hard links
	db         *bbolt.DB
	space      *space

	// mu is held while files are moved: there is one set of intents at a time.
	mu         sync.Mutex
	crowd      crowd
	rebuildMu  sync.Mutex // held by Rebuild
	keptMu     sync.Mutex // held while a file of sums or manifests is replaced
	age        age
	clock      atomic.Int64 // the latest time seen, Unix seconds
	rebuilding atomic.Bool

	opened  bool // start came to its end
	stateMu sync.Mutex
	broken  error                   // ErrClosed, or why no more may be written
	inside  sync.WaitGroup          // calls that use open folders; Close waits for them
	stop    context.CancelFunc      // ends what runs in the background
	resumed map[string]struct{}     // folders of unfinished copies that are being worked on
	sums    map[v1.SourceName]*sums // what is known of the checksum files

	// fault is called at each step of changing files; tests stop the process there.
	fault func(step string)
}

// Open opens a location, settles what a crash left half done, and clears unfinished copies that can't be resumed.
func Open(cfg Config) (*Location, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Uptime == nil {
		began := time.Now()
		cfg.Uptime = func() time.Duration { return time.Since(began) }
	}
	cfg.Workers = cmp.Or(cfg.Workers, 2)
	if cfg.Disks == nil {
		cfg.Disks = &Disks{}
	}
	if !filepath.IsAbs(cfg.Root) {
		return nil, fmt.Errorf("open location %s: path %q is not absolute", cfg.Name, cfg.Root)
	}
	if err := os.MkdirAll(cfg.IndexDir, 0o700); err != nil {
		return nil, fmt.Errorf("open location %s: %w", cfg.Name, err)
	}
	id, raw, err := identify(&cfg)
	if err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(context.Background())
	l := &Location{
		stop: stop, cfg: cfg, root: cfg.Root, id: id, identity: raw, top: beneath.None,
		resumed: map[string]struct{}{}, sums: map[v1.SourceName]*sums{}, fault: func(string) {},
	}
	if err := l.start(); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("open location %s: %w", cfg.Name, err)
	}
	l.opened = true
	if l.Rebuilding() && !cfg.ManualRebuild {
		l.inside.Go(func() { l.rebuildAlone(background) })
	}
	return l, nil
}

func (l *Location) start() error {
	if err := l.openRoot(); err != nil {
		return err
	}
	if err := l.lock(); err != nil {
		return err
	}
	db, created, err := openIndex(l.cfg.IndexDir, l.id.UID)
	if err != nil {
		return err
	}
	l.db = db
	if err := l.Check(context.Background()); err != nil { // the folder that was opened is the one that was identified
		return err
	}
	if err := l.sweepKept(); err != nil {
		return err
	}
	whole, err := l.takeClosed()
	if err != nil {
		return err
	}
	if err := l.readIndex(created || !whole); err != nil {
		return err
	}
	if err := l.settle(); err != nil {
		return err
	}
	if err := l.probe(); err != nil {
		return err
	}
	return l.sweep()
}

func (l *Location) openRoot() error {
	top, err := beneath.OpenFolder(l.root)
	if err != nil {
		return err
	}
	l.top = top
	var st unix.Stat_t
	if err := unix.Fstat(top.FD(), &st); err != nil {
		return err
	}
	l.device, l.inode = uint64(st.Dev), st.Ino
	l.wholeSync = top.CanSyncAll()
	l.space = &space{top: top, device: l.device, disks: l.cfg.Disks, capacity: l.cfg.Capacity, reserve: l.cfg.Reserve}
	for _, name := range []string{partialRoot, versionsRoot, sumsRoot, manifestsRoot} {
		f, err := top.Ensure(name, 0o700, func(string) {})
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

// readIndex takes over counts and clock, and finds out whether the index speaks of these very files; doubt says that it may not.
func (l *Location) readIndex(doubt bool) error {
	rebuild := doubt
	var held totals
	err := l.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		clock := reader{b: meta.Get(keyClock)}
		if len(clock.b) > 0 {
			l.clock.Store(clock.varint())
		}
		if err := l.startAge(tx); err != nil {
			return fmt.Errorf("read the clock of retention: %w", err)
		}
		root := reader{b: meta.Get(keyRoot)}
		rebuild = rebuild || meta.Get(keyRebuild) != nil || root.uvarint() != l.inode
		return tx.Bucket(bucketSources).ForEachBucket(func(name []byte) error {
			t := readSource(tx, v1.SourceName(name)).totals()
			held.add(t)
			return nil
		})
	})
	if err != nil {
		return err
	}
	l.space.start(held, l.keptBytes())
	return l.markRebuild(rebuild)
}

// markRebuild notes in the index that it has to be compared with the files before it is believed. A location without files needs none.
func (l *Location) markRebuild(rebuild bool) error {
	if rebuild {
		any, err := l.holdsAnything()
		if err != nil {
			return err
		}
		rebuild = any
	}
	l.rebuilding.Store(rebuild)
	return l.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if rebuild {
			return meta.Put(keyRebuild, []byte{1})
		}
		root := binary.AppendUvarint(nil, l.inode)
		if string(meta.Get(keyRoot)) == string(root) && meta.Get(keyRebuild) == nil {
			return nil
		}
		return errors.Join(meta.Delete(keyRebuild), meta.Put(keyRoot, root))
	})
}

// Close ends all use of the location: calls that are under way are waited for, later ones get ErrClosed.
func (l *Location) Close() error {
	l.stateMu.Lock()
	was := l.broken
	l.broken = ErrClosed
	l.stateMu.Unlock()
	if was == ErrClosed {
		return nil
	}
	l.stop()
	l.inside.Wait()
	var err error
	if l.opened && was == nil && !l.rebuilding.Load() && l.identified() == nil {
		err = l.markClosed()
	}
	if l.db != nil {
		err = errors.Join(err, l.db.Close())
	}
	if l.locked != nil {
		err = errors.Join(err, l.locked.Close())
	}
	if l.top.FD() >= 0 {
		l.top.Close()
	}
	return err
}

// enter is called at the start of what reads or writes files, and leave at its end.
func (l *Location) enter() (leave func(), err error) {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if l.broken != nil {
		return nil, l.broken
	}
	l.inside.Add(1)
	return l.inside.Done, nil
}

// enterToWrite is enter for what needs to know what is held.
func (l *Location) enterToWrite(ctx context.Context) (leave func(), err error) {
	if l.rebuilding.Load() {
		return nil, ErrRebuilding
	}
	if leave, err = l.enter(); err != nil {
		return nil, err
	}
	if err := l.Check(ctx); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// UID is the location's identity, from its location.json.
func (l *Location) UID() string { return l.id.UID }

// Name is the location's name.
func (l *Location) Name() v1.LocationName { return l.cfg.Name }

// Root is the location's folder.
func (l *Location) Root() string { return l.root }

// SourceDir is the folder that holds a source's replicas; rsync may read it as a basis.
func (l *Location) SourceDir(source v1.SourceName) string {
	return filepath.Join(l.root, string(source))
}

// Rebuilding tells whether the index has to be compared with the files before it is believed: it was lost, or the disk is not the one
// it was written for. Until that is done, most methods return ErrRebuilding; Records and Versions tell what was found so far.
func (l *Location) Rebuilding() bool { return l.rebuilding.Load() }

// state is why nothing may be written, or nil.
func (l *Location) state() error {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	return l.broken
}

// unsettled stops all writing after a failure that left intents behind.
func (l *Location) unsettled(err error) error {
	err = fmt.Errorf("%w: %w", ErrUnsettled, err)
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if l.broken == nil {
		l.broken = err
	}
	return err
}

// now never goes back, not even over a restart: a host whose clock starts in 1970 must not end what was to be kept.
func (l *Location) now() time.Time {
	now := l.cfg.Clock()
	for {
		last := l.clock.Load()
		if now.Unix() <= last {
			return time.Unix(last, 0)
		}
		if l.clock.CompareAndSwap(last, now.Unix()) {
			return now
		}
	}
}
