package restore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"go.etcd.io/bbolt"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/manifest"
)

// table holds what is known of every path, in a temporary file: paths in the order of their bytes with "/" first, so that a folder
// stands before what is in it.
type table struct {
	dir    string
	db     *bbolt.DB
	decode cbor.DecMode // paths may be any bytes
}

// row is all that is known of one path.
type row struct {
	Entry *manifest.Entry `cbor:"1,keyasint,omitempty"`
	Held  []held          `cbor:"2,keyasint,omitempty"`
	Want  *wanted         `cbor:"3,keyasint,omitempty"` // decided by plan
}

// held is one replica or version, and at which holder.
type held struct {
	Holder  int           `cbor:"1,keyasint"`
	Gen     v1.Generation `cbor:"2,keyasint"`
	Digest  []byte        `cbor:"3,keyasint"`
	Size    int64         `cbor:"4,keyasint"`
	ModTime int64         `cbor:"5,keyasint"`
	Mode    uint32        `cbor:"6,keyasint"`
	Version v1.RelPath    `cbor:"7,keyasint,omitempty"`
	Until   int64         `cbor:"8,keyasint,omitempty"`
	Since   int64         `cbor:"9,keyasint,omitempty"`
	Seen    int64         `cbor:"10,keyasint,omitempty"`
	Absent  int64         `cbor:"11,keyasint,omitempty"`
}

// rows has all rows; entries those of folders and links once more, which several steps are about.
var rows, entries = []byte("rows"), []byte("entries")

func newTable() (*table, error) {
	decode, err := cbor.DecOptions{UTF8: cbor.UTF8DecodeInvalid}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("make plan: %w", err)
	}
	dir, err := os.MkdirTemp("", "restore-")
	if err != nil {
		return nil, fmt.Errorf("make plan: %w", err)
	}
	db, err := bbolt.Open(filepath.Join(dir, "plan.db"), 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err == nil {
		err = db.Update(makeBuckets)
	}
	if err != nil {
		return nil, fmt.Errorf("make plan: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	return &table{dir: dir, db: db, decode: decode}, nil
}

func (t *table) close() error { return errors.Join(t.db.Close(), os.RemoveAll(t.dir)) }

// clear forgets everything.
func (t *table) clear() error {
	return t.db.Update(func(tx *bbolt.Tx) error {
		if err := errors.Join(tx.DeleteBucket(rows), tx.DeleteBucket(entries)); err != nil {
			return err
		}
		return makeBuckets(tx)
	})
}

func makeBuckets(tx *bbolt.Tx) error {
	_, err := tx.CreateBucket(rows)
	_, err2 := tx.CreateBucket(entries)
	return errors.Join(err, err2)
}

// keyOf sorts a folder's entries right behind it.
func keyOf(path v1.RelPath) []byte { return []byte(strings.ReplaceAll(string(path), "/", "\x00")) }

func pathOf(key []byte) v1.RelPath { return v1.RelPath(strings.ReplaceAll(string(key), "\x00", "/")) }

const tableRun = 2000

// change is one path and what is to be done to its row.
type change struct {
	path v1.RelPath
	edit func(*row)
}

// changes are collected and written some at a time.
type changes struct {
	table *table
	list  []change
}

func (c *changes) add(path v1.RelPath, edit func(*row)) error {
	c.list = append(c.list, change{path, edit})
	if len(c.list) < tableRun {
		return nil
	}
	return c.flush()
}

func (c *changes) flush() error {
	err := c.table.db.Update(func(tx *bbolt.Tx) error {
		tx.Bucket(rows).FillPercent = 0.9
		for _, ch := range c.list {
			if err := c.table.edit(tx, ch); err != nil {
				return fmt.Errorf("plan %q: %w", ch.path, err)
			}
		}
		return nil
	})
	c.list = c.list[:0]
	return err
}

func (t *table) edit(tx *bbolt.Tx, ch change) error {
	b, key := tx.Bucket(rows), keyOf(ch.path)
	var r row
	if value := b.Get(key); value != nil {
		if err := t.decode.Unmarshal(value, &r); err != nil {
			return err
		}
	}
	ch.edit(&r)
	value, err := cbor.Marshal(&r)
	if err != nil {
		return err
	}
	if r.Entry != nil && r.Entry.Type != manifest.File {
		err = tx.Bucket(entries).Put(key, value)
	}
	return errors.Join(err, b.Put(key, value))
}

// each goes through the rows, some at a time so that they may be changed meanwhile.
func (t *table) each(visit func(path v1.RelPath, r *row) error) error {
	return t.eachIn(rows, false, visit)
}

// eachEntry goes through the rows that have an entry which is no file.
func (t *table) eachEntry(backwards bool, visit func(path v1.RelPath, r *row) error) error {
	return t.eachIn(entries, backwards, visit)
}

func (t *table) eachIn(bucket []byte, backwards bool, visit func(path v1.RelPath, r *row) error) error {
	type item struct {
		path v1.RelPath
		row  row
	}
	var last []byte
	for {
		var run []item
		err := t.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bucket).Cursor()
			for k, v := start(c, last, backwards); k != nil && len(run) < tableRun; k, v = next(c, backwards) {
				it := item{path: pathOf(k)}
				if err := t.decode.Unmarshal(v, &it.row); err != nil {
					return err
				}
				run = append(run, it)
				last = append(last[:0:0], k...)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read plan: %w", err)
		}
		if len(run) == 0 {
			return nil
		}
		for i := range run {
			if err := visit(run[i].path, &run[i].row); err != nil {
				return err
			}
		}
	}
}

// start is the first key after last, or before it.
func start(c *bbolt.Cursor, last []byte, backwards bool) (k, v []byte) {
	switch {
	case last == nil && backwards:
		return c.Last()
	case last == nil:
		return c.First()
	}
	k, v = c.Seek(last)
	if backwards {
		return c.Prev()
	}
	if string(k) == string(last) {
		return c.Next()
	}
	return k, v
}

func next(c *bbolt.Cursor, backwards bool) (k, v []byte) {
	if backwards {
		return c.Prev()
	}
	return c.Next()
}
