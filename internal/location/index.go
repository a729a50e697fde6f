package location

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	v1 "clusterbackup/api/v1"
)

// The index is one bbolt file:
//
//	meta     uid, root (what the root's inode was), clock (the latest time written), rebuild (present: not complete),
//	         closed (see closedFile), age (see AgingTime)
//	intents  number → what is being done to the files right now; empty unless a crash left something
//	sources  SOURCE → replicas (pathKey → Record), versions (versionKey → Version), blocks (pathKey → blocks, of large replicas),
//	         listings (time → generation),
//	         totals, highest (generation), changed, summed (counters: do the sums need writing?), manifest (its version),
//	         deleted (see NoteDeleted)
var (
	bucketMeta     = []byte("meta")
	bucketIntents  = []byte("intents")
	bucketSources  = []byte("sources")
	bucketReplicas = []byte("replicas")
	bucketVersions = []byte("versions")
	bucketBlocks   = []byte("blocks")
	bucketListings = []byte("listings")

	keyUID      = []byte("uid")
	keyRoot     = []byte("root")
	keyClock    = []byte("clock")
	keyRebuild  = []byte("rebuild")
	keyTotals   = []byte("totals")
	keyHighest  = []byte("highest")
	keyChanged  = []byte("changed")
	keySummed   = []byte("summed")
	keyManifest = []byte("manifest")
	keyDeleted  = []byte("deleted")
)

// maxKey is what bbolt takes; paths longer than that are refused.
const maxKey = bbolt.MaxKeySize - 16

// openIndex opens or makes the index of the location uid, and reads it once so that damage shows now and not in the middle of work.
func openIndex(dir, uid string) (db *bbolt.DB, created bool, err error) {
	path := filepath.Join(dir, uid+".db")
	_, statErr := os.Stat(path)
	created = errors.Is(statErr, os.ErrNotExist)
	var file *os.File // bbolt's, which it leaves open and locked when it panics
	defer func() {
		switch {
		case err == nil:
		case db != nil:
			_ = db.Close()
			db = nil
		case file != nil:
			unlock(file) // what is still mapped holds the lock beyond Close
			_ = file.Close()
		}
	}()
	defer asDamage(path, &err)()
	// The list of free pages is kept in the file: where it is not, bbolt looks for them in a goroutine of its own, whose panic over a
	// damaged file nobody could catch.
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, false, fmt.Errorf("open index %s: another process has it: %w", path, ErrBusy)
	}
	if err != nil {
		return nil, false, err
	}
	fresh, err := prepareIndex(db, uid)
	if err != nil {
		return db, false, err
	}
	return db, created || fresh, checkIndex(db)
}

// asDamage turns what bbolt says, or panics with, about a file that is not what it should be into ErrCorruptIndex.
func asDamage(path string, err *error) func() {
	old := debug.SetPanicOnFault(true) // a file cut short faults when its mapped pages are read
	return func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			*err = fmt.Errorf("%v", r)
		}
		if *err == nil || errors.Is(*err, ErrBusy) || errors.Is(*err, os.ErrPermission) {
			return
		}
		*err = fmt.Errorf("read index %s: %w: %w (its bytes are kept; once it is moved away, a new one is made from the files)", path, ErrCorruptIndex, *err)
	}
}

func prepareIndex(db *bbolt.DB, uid string) (fresh bool, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		fresh = meta == nil
		if !fresh && string(meta.Get(keyUID)) != uid {
			return fmt.Errorf("it is the index of location %q", meta.Get(keyUID))
		}
		return nil
	})
	if err != nil || !fresh {
		return fresh, err
	}
	return true, db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketIntents, bucketSources} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		return meta.Put(keyUID, []byte(uid))
	})
}

// checkIndex reads every record.
func checkIndex(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket(bucketIntents).ForEach(func(_, v []byte) error {
			_, err := decodeIntent(v)
			return err
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketSources).ForEachBucket(func(name []byte) error {
			return checkSource(tx.Bucket(bucketSources).Bucket(name))
		})
	})
}

func checkSource(b *bbolt.Bucket) error {
	err := b.Bucket(bucketReplicas).ForEach(func(k, v []byte) error {
		_, err := decodeRecord(k, v)
		return err
	})
	if err != nil {
		return err
	}
	return b.Bucket(bucketVersions).ForEach(func(k, v []byte) error {
		_, err := decodeVersion(k, v)
		return err
	})
}

// sourceTx is one source's part of the index within a transaction.
type sourceTx struct {
	name               v1.SourceName
	b                  *bbolt.Bucket
	replicas, versions *bbolt.Bucket
	delta              totals // what the transaction changes
	highest            v1.Generation
	changed            bool // replicas changed, so the sums did
}

// readSource is nil when nothing was ever held of the source.
func readSource(tx *bbolt.Tx, name v1.SourceName) *sourceTx {
	b := tx.Bucket(bucketSources).Bucket([]byte(name))
	if b == nil {
		return nil
	}
	return &sourceTx{name: name, b: b, replicas: b.Bucket(bucketReplicas), versions: b.Bucket(bucketVersions)}
}

func writeSource(tx *bbolt.Tx, name v1.SourceName) (*sourceTx, error) {
	if s := readSource(tx, name); s != nil {
		s.replicas.FillPercent = 0.85 // files come in the order of paths, mostly
		return s, nil
	}
	b, err := tx.Bucket(bucketSources).CreateBucket([]byte(name))
	if err != nil {
		return nil, err
	}
	for _, sub := range [][]byte{bucketReplicas, bucketVersions} {
		if _, err := b.CreateBucket(sub); err != nil {
			return nil, err
		}
	}
	return readSource(tx, name), nil
}

func (s *sourceTx) get(path v1.RelPath) (Record, bool, error) {
	if s == nil {
		return Record{}, false, nil
	}
	key := pathKey(path)
	value := s.replicas.Get(key)
	if value == nil {
		return Record{}, false, nil
	}
	rec, err := decodeRecord(key, value)
	return rec, err == nil, err
}

// put writes a record and counts it; the one it replaces no longer counts.
func (s *sourceTx) put(rec *Record) error {
	old, had, err := s.get(rec.Path)
	if err != nil {
		return err
	}
	if had {
		s.delta.subReplica(&old)
	}
	s.delta.addReplica(rec)
	if rec.Gen.Compare(s.highest) > 0 {
		s.highest = rec.Gen
	}
	s.changed = s.changed || !had || old.Digest != rec.Digest
	return s.replicas.Put(pathKey(rec.Path), rec.append(nil))
}

func (s *sourceTx) remove(path v1.RelPath) error {
	old, had, err := s.get(path)
	if err != nil || !had {
		return err
	}
	s.delta.subReplica(&old)
	s.changed = true
	if err := s.putBlocks(path, nil); err != nil {
		return err
	}
	return s.replicas.Delete(pathKey(path))
}

func (s *sourceTx) putVersion(v *Version) error {
	s.delta.addVersion(v)
	return s.versions.Put(versionKey(v.Path, v.Since.Unix()), v.append(nil))
}

func (s *sourceTx) removeVersion(v *Version) error {
	s.delta.subVersion(v)
	return s.versions.Delete(versionKey(v.Path, v.Since.Unix()))
}

func (s *sourceTx) totals() totals {
	value := s.b.Get(keyTotals)
	if value == nil {
		return totals{}
	}
	return (&reader{b: value}).totals()
}

func (s *sourceTx) highestKnown() v1.Generation {
	r := reader{b: s.b.Get(keyHighest)}
	if len(r.b) == 0 {
		return v1.Generation{}
	}
	return v1.Generation{Epoch: r.fixed(), Seq: r.uvarint()}
}

func (s *sourceTx) counter(key []byte) uint64 {
	n := reader{b: s.b.Get(key)}
	return n.uvarint()
}
