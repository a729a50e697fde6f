package catalog

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrCorrupt: the file is damaged, or is no catalog. It was left as it is; moving it away makes the next Open begin a new
// one, which the next scan and the holders' inventories fill.
var ErrCorrupt = errors.New("catalog is damaged")

// ErrInUse: another process has the catalog open.
var ErrInUse = errors.New("catalog is in use by another process")

// Options of Open.
type Options struct {
	// Clock is for epochs and the times of deletions. Nil: time.Now.
	Clock func() time.Time
	// NoSync leaves durability to the operating system; for what is made anew rather than opened again: tests, listings.
	NoSync bool
}

// Catalog is one source's. All methods may be called at once from several goroutines.
type Catalog struct {
	db    *bolt.DB
	path  string
	clock func() time.Time

	writer sync.Mutex // held while a transaction writes, until what it changed is published

	scanning atomic.Bool
	current  atomic.Bool // see Current

	mu    sync.RWMutex // guards what follows, which mirrors what is committed
	state state
	table table
	// watch is told of committed moves of files between classes.
	watch func(uint64, []Moved)
}

const format = 2

// The buckets.
var (
	metaBucket    = []byte("meta")
	folderBucket  = []byte("folders") // folder id → parent id, name
	entryBucket   = []byte("entries") // Key → Entry
	classBucket   = []byte("classes") // class id → Class
	memberBucket  = []byte("members") // see memberKey
	deletedBucket = []byte("deleted") // time, Key → nothing
	retireBucket  = []byte("retire")  // holder id, Key → nothing
	holderBucket  = []byte("holders") // holder id → Holder
	grantBucket   = []byte("grants")  // grant id → Grant
	goneBucket    = []byte("gone")    // Key → whether only what is below: what the running scan missed
	allBuckets    = [][]byte{metaBucket, folderBucket, entryBucket, classBucket, memberBucket, deletedBucket, retireBucket,
		holderBucket, grantBucket, goneBucket}
)

// Open opens the catalog in a file, or makes a new one. One that an earlier program made in a format of its own is set aside beside
// it, and a new one begun: it fills as after a loss. Errors: ErrCorrupt, ErrInUse.
func Open(path string, opts Options) (*Catalog, error) {
	c, err := open(path, opts)
	switch {
	case errors.Is(err, ErrCorrupt):
		return nil, fmt.Errorf("%w (its bytes are kept; once it is moved away, a new one is made from the source and what its holders report)", err)
	case !errors.Is(err, errOlder):
		return c, err
	}
	if err := os.Rename(path, path+".older"); err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", path, err)
	}
	return open(path, opts)
}

func open(path string, opts Options) (*Catalog, error) {
	c := &Catalog{path: path, clock: opts.Clock}
	if c.clock == nil {
		c.clock = time.Now
	}
	fresh, err := isFresh(path)
	switch {
	case err == nil && fresh:
		err = c.create(path, opts.NoSync)
	case err == nil:
		err = check(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", path, err)
	}
	c.db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, NoSync: opts.NoSync,
	})
	if err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", path, classify(err))
	}
	err = c.db.View(func(tx *bolt.Tx) error { return errors.Join(c.state.load(tx), c.table.load(tx)) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open catalog %s: %w", path, err), c.db.Close())
	}
	return c, nil
}

// lockTimeout is how long another process may have the file.
const lockTimeout = 2 * time.Second

func classify(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrInUse
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EIO):
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// isFresh tells whether there is no catalog yet. An empty file holds none.
func isFresh(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err != nil {
		return false, err
	}
	return info.Size() == 0, nil
}

// create makes an empty catalog whole before it has its name: a crash leaves none, or a whole one.
func (c *Catalog) create(path string, noSync bool) error {
	var uid [16]byte
	if _, err := rand.Read(uid[:]); err != nil {
		return err
	}
	first := state{UID: hex.EncodeToString(uid[:]), Format: format, Epoch: uint64(c.clock().UnixNano()), NextFolder: rootFolder + 1}
	first.Begun, first.NextGrant = first.Epoch, first.Epoch
	unfinished := path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(unfinished, 0o600, &bolt.Options{Timeout: lockTimeout, NoSync: noSync})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range allBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return first.store(tx)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// check finds damage before it is relied on: a file that was cut short, pages that are none, values that make no sense. It
// reads every page, as opening for writing does anyway, to find the free ones; but that would bring the process down.
func check(path string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return classify(err)
	}
	defer db.Close()
	tx, err := db.Begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if tx.Size() > info.Size() {
		return fmt.Errorf("%w: it has %d bytes of %d", ErrCorrupt, info.Size(), tx.Size())
	}
	for _, name := range allBuckets {
		b := tx.Bucket(name)
		if b == nil {
			return fmt.Errorf("%w: it has no %s", ErrCorrupt, name)
		}
		cur := b.Cursor()
		last := []byte(nil)
		for k, _ := cur.First(); k != nil; k, _ = cur.Next() {
			if bytes.Compare(k, last) <= 0 && last != nil {
				return fmt.Errorf("%w: %s is out of order", ErrCorrupt, name)
			}
			last = k
		}
	}
	return nil
}

// Close ends it.
func (c *Catalog) Close() error { return c.db.Close() }

// Watch has f told, after each commit that changed classes and before the next transaction writes, the new ClassesVersion and
// which files moved between classes. f may not write to the catalog, nor wait for whoever does. To be set before the catalog
// is used.
func (c *Catalog) Watch(f func(version uint64, moved []Moved)) { c.watch = f }

// Moved is a file that is in another class than before. Class 0 is none: it is no live file.
type Moved struct {
	Key      string
	From, To uint32
}

// View reads from one consistent state. f should be short, and hold nothing that a writer might wait for.
func (c *Catalog) View(f func(*Tx) error) error {
	return c.db.View(func(b *bolt.Tx) error {
		tx := newTx(c, b)
		return f(tx)
	})
}

// Revision changes with each transaction that wrote.
func (c *Catalog) Revision() (id uint64) {
	_ = c.db.View(func(b *bolt.Tx) error {
		id = uint64(b.ID())
		return nil
	})
	return id
}

// Update changes the catalog durably and as a whole, or not at all. There is one at a time.
func (c *Catalog) Update(f func(*Tx) error) error {
	c.writer.Lock()
	defer c.writer.Unlock()
	var tx *Tx
	err := c.db.Update(func(b *bolt.Tx) error {
		tx = newTx(c, b)
		tx.begin()
		if err := f(tx); err != nil {
			return err
		}
		return tx.flush()
	})
	if err != nil {
		return err
	}
	tx.publish()
	if c.watch != nil && len(tx.staged) > 0 {
		c.watch(c.ClassesVersion(), tx.moved)
	}
	return nil
}

// state is the catalog's few numbers, kept in meta as one value.
type state struct {
	UID    string
	Format uint32
	// Epoch and Seq name the newest generation. Begun is the epoch that the catalog was created in.
	Epoch, Seq, Begun     uint64
	NextFolder, NextGrant uint64
	// Changes counts transactions that changed what a manifest shows; Digested counts live files whose digest is known.
	Changes, Digested uint64
	// Scanned: a scan was complete and clean once, since the catalog was created.
	Scanned bool
	// Amnesic: holders were found to know more than the catalog, and not all of them have reported yet.
	Amnesic bool
	// Whole: it was amnesic, and is no more.
	Whole bool
	Root  anchor
	Held  Held
	// Orphans are replicas of files that the catalog, new or older than they are, has never seen.
	Orphans Held
}

func be64(x uint64) []byte { return binary.BigEndian.AppendUint64(nil, x) }
