package location

import (
	"bytes"
	"context"
	"iter"
	"os"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// listRun is how many records are read in one transaction: a long one would keep the index from being written in place.
const listRun = 2048

// Folder is what is held of one folder of a source, "" for its root, in the order of names.
type Folder struct {
	Path    string
	Records []Record
}

// known is why the index can't be asked what is held, or nil.
func (l *Location) known() error {
	if l.rebuilding.Load() {
		return ErrRebuilding
	}
	return l.state()
}

// Get tells of one replica.
func (l *Location) Get(source v1.SourceName, path v1.RelPath) (rec Record, held bool, err error) {
	if err := l.known(); err != nil {
		return rec, false, err
	}
	err = l.db.View(func(tx *bbolt.Tx) (err error) {
		rec, held, err = readSource(tx, source).get(path)
		return err
	})
	return rec, held, err
}

// GetAll is Get for many, in their order: all as they are at one moment.
func (l *Location) GetAll(source v1.SourceName, paths []v1.RelPath) (recs []Record, held []bool, err error) {
	if err := l.known(); err != nil {
		return nil, nil, err
	}
	recs, held = make([]Record, len(paths)), make([]bool, len(paths))
	err = l.db.View(func(tx *bbolt.Tx) (err error) {
		s := readSource(tx, source)
		for i, path := range paths {
			if recs[i], held[i], err = s.get(path); err != nil {
				return err
			}
		}
		return nil
	})
	return recs, held, err
}

// Sources are those that something is, or ever was, held of.
func (l *Location) Sources() (names []v1.SourceName, err error) {
	if err := l.state(); err != nil {
		return nil, err
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketSources).ForEachBucket(func(name []byte) error {
			names = append(names, v1.SourceName(name))
			return nil
		})
	})
	return names, err
}

// Held is how much is held of one source.
type Held struct{ Replicas, ReplicaBytes, Versions, VersionBytes int64 }

// Held counts one source.
func (l *Location) Held(source v1.SourceName) (h Held, err error) {
	if err := l.state(); err != nil {
		return h, err
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		if s := readSource(tx, source); s != nil {
			t := s.totals()
			h = Held{t.replicas, t.replicaBytes, t.versions, t.versionBytes}
		}
		return nil
	})
	return h, err
}

// Highest is the greatest generation that was ever held of the source; it never goes back.
func (l *Location) Highest(source v1.SourceName) (gen v1.Generation, err error) {
	if err := l.state(); err != nil {
		return gen, err
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		if s := readSource(tx, source); s != nil {
			gen = s.highestKnown()
		}
		return nil
	})
	return gen, err
}

// Folders goes through what is held of a source, a folder at a time, those after a given one: "" is the beginning, "." after the
// root. Memory is bounded by the largest folder. Changes made meanwhile may or may not show.
func (l *Location) Folders(source v1.SourceName, after string) iter.Seq2[Folder, error] {
	from := []byte(nil)
	switch after {
	case "":
	case ".":
		from = []byte{1}
	default:
		from = []byte(after + "\x01")
	}
	if err := l.known(); err != nil {
		return func(yield func(Folder, error) bool) { yield(Folder{}, err) }
	}
	return l.folders(source, from)
}

func (l *Location) folders(source v1.SourceName, from []byte) iter.Seq2[Folder, error] {
	return func(yield func(Folder, error) bool) {
		var folder Folder
		for rec, err := range scan(l, source, bucketReplicas, from, nil, decodeRecord) {
			if err != nil {
				yield(Folder{}, err)
				return
			}
			if dir := rec.Path.Dir(); dir != folder.Path || folder.Records == nil {
				if folder.Records != nil && !yield(folder, nil) {
					return
				}
				folder = Folder{Path: dir}
			}
			folder.Records = append(folder.Records, rec)
		}
		if folder.Records != nil {
			yield(folder, nil)
		}
	}
}

// FolderRecords is what is held directly in one folder, "" for the root, in the order of names.
func (l *Location) FolderRecords(source v1.SourceName, folder string) (recs []Record, err error) {
	if err := l.known(); err != nil {
		return nil, err
	}
	return l.folderRecords(source, folder)
}

func (l *Location) folderRecords(source v1.SourceName, folder string) (recs []Record, err error) {
	for rec, err := range scan(l, source, bucketReplicas, []byte(folder+"\x00"), []byte(folder+"\x01"), decodeRecord) {
		if err != nil {
			return nil, err
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// Records goes through the replicas at and below a path, "" for all.
func (l *Location) Records(source v1.SourceName, prefix string) iter.Seq2[Record, error] {
	return below(l, source, bucketReplicas, prefix, decodeRecord)
}

// Versions goes through the earlier and deleted versions at and below a path, "" for all; those of one file from the oldest on.
func (l *Location) Versions(source v1.SourceName, prefix string) iter.Seq2[Version, error] {
	return below(l, source, bucketVersions, prefix, decodeVersion)
}

// below joins the three ranges of keys that a path stands for: the file itself, the files in the folder, those in folders below.
func below[T any](l *Location, source v1.SourceName, bucket []byte, prefix string, decode func(k, v []byte) (T, error)) iter.Seq2[T, error] {
	if prefix == "" {
		return scan(l, source, bucket, nil, nil, decode)
	}
	self := pathKey(v1.RelPath(prefix))
	ranges := [][2][]byte{
		{self, append(bytes.Clone(self), 1)},
		{[]byte(prefix + "\x00"), []byte(prefix + "\x01")},
		{[]byte(prefix + "/"), []byte(prefix + "0")},
	}
	return func(yield func(T, error) bool) {
		for _, r := range ranges {
			for item, err := range scan(l, source, bucket, r[0], r[1], decode) {
				if !yield(item, err) || err != nil {
					return
				}
			}
		}
	}
}

// scan goes through the keys in [from, to), a transaction for each run of them.
func scan[T any](l *Location, source v1.SourceName, bucket, from, to []byte, decode func(k, v []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for run := make([]T, 0, 64); ; run = run[:0] {
			next, err := readRun(l, source, bucket, from, to, func(k, v []byte) error {
				item, err := decode(k, v)
				run = append(run, item)
				return err
			})
			if err != nil {
				yield(zero, err)
				return
			}
			for _, item := range run {
				if !yield(item, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			from = next
		}
	}
}

// readRun visits up to listRun keys and says where to go on, nil at the end.
func readRun(l *Location, source v1.SourceName, bucket, from, to []byte, visit func(k, v []byte) error) (next []byte, err error) {
	if err := l.state(); err != nil {
		return nil, err
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		s := readSource(tx, source)
		if s == nil {
			return nil
		}
		c := s.b.Bucket(bucket).Cursor()
		n := 0
		for k, v := c.Seek(from); k != nil && (to == nil || bytes.Compare(k, to) < 0); k, v = c.Next() {
			if n++; n > listRun {
				next = bytes.Clone(k)
				return nil
			}
			if err := visit(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	return next, err
}

// Confirmed notes that the coordinator confirmed the present replicas: what they replaced is no longer kept beyond its retention.
func (l *Location) Confirmed(source v1.SourceName, paths []v1.RelPath) error {
	return l.amend(source, paths, func(rec *Record, _ int) bool {
		was := rec.Replacing
		rec.Replacing = false
		return was
	})
}

// TakeOver takes over which generation the replicas are, and which mode they have (a Mode without the bit of a regular file tells none),
// after the coordinator confirmed them; records whose digest is not that of the replica are passed over.
func (l *Location) TakeOver(source v1.SourceName, records []Record) error {
	paths := make([]v1.RelPath, len(records))
	for i := range records {
		paths[i] = records[i].Path
	}
	return l.amend(source, paths, func(rec *Record, i int) bool {
		now := &records[i]
		if rec.Digest != now.Digest {
			return false
		}
		changed := rec.Gen != now.Gen
		rec.Gen = now.Gen
		if mode := now.Mode & 0o7777; now.Mode&unix.S_IFMT == unix.S_IFREG && rec.Mode != mode && l.setMode(source, rec.Path, mode) == nil {
			rec.Mode, changed = mode, true
		}
		return changed
	})
}

// setMode gives a replica another mode, with which this process can still read it.
func (l *Location) setMode(source v1.SourceName, path v1.RelPath, mode uint32) error {
	at, err := l.top.Open(beneath.Join(string(source), path.Dir()))
	if err != nil {
		return err
	}
	defer at.Close()
	fd, _, err := at.OpenRegular(path.Base())
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if os.Geteuid() != 0 {
		mode |= 0o400
	}
	return beneath.Retry(func() error { return unix.Fchmod(fd, mode) })
}

// amend changes records in place. Nothing is written when nothing changes.
func (l *Location) amend(source v1.SourceName, paths []v1.RelPath, change func(rec *Record, i int) bool) error {
	leave, err := l.enterToWrite(context.Background())
	if err != nil {
		return err
	}
	defer leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	var changed []Record
	err = l.db.View(func(tx *bbolt.Tx) error {
		s := readSource(tx, source)
		for i, path := range paths {
			rec, held, err := s.get(path)
			if err != nil {
				return err
			}
			if held && change(&rec, i) {
				changed = append(changed, rec)
			}
		}
		return nil
	})
	if err != nil || len(changed) == 0 {
		return err
	}
	return l.commit(func(u *update) error {
		s, err := u.source(source)
		if err != nil {
			return err
		}
		for i := range changed {
			if err := s.put(&changed[i]); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}
