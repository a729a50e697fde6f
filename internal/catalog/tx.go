package catalog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
)

// Tx is a transaction. It is for the one goroutine that was given it, until its function returns.
type Tx struct {
	c *Catalog
	b *bolt.Tx

	entries, members, folders, deleted, retire *bolt.Bucket

	// The folder that was looked up last; paths come sorted more often than not.
	lastDir string
	lastID  uint64
	paths   map[uint64]string

	// Of a writing transaction:
	state      state
	dirty      bool // state was changed
	staged     map[uint32]Class
	stagedIDs  map[string]uint32
	newHolders []Holder
	next       uint32
	moved      []Moved
	changed    bool // something that a manifest shows
	arena      []byte
}

func newTx(c *Catalog, b *bolt.Tx) *Tx {
	return &Tx{c: c, b: b, entries: b.Bucket(entryBucket), members: b.Bucket(memberBucket), folders: b.Bucket(folderBucket),
		deleted: b.Bucket(deletedBucket), retire: b.Bucket(retireBucket)}
}

func (tx *Tx) begin() {
	tx.c.mu.RLock()
	defer tx.c.mu.RUnlock()
	tx.state, tx.next = tx.c.state, tx.c.table.next
	tx.staged, tx.stagedIDs = make(map[uint32]Class), make(map[string]uint32)
	// Keys mostly come in order; pages split full are half the size of pages split in the middle.
	tx.entries.FillPercent = 0.8
}

// flush writes what was staged.
func (tx *Tx) flush() error {
	if tx.changed {
		tx.state.Changes++
		tx.dirty = true
	}
	if tx.dirty {
		if err := tx.state.store(tx.b); err != nil {
			return err
		}
	}
	classes := tx.b.Bucket(classBucket)
	for id, class := range tx.staged {
		var err error
		if class.Files == 0 {
			err = classes.Delete(binary.BigEndian.AppendUint32(nil, id))
		} else {
			err = classes.Put(binary.BigEndian.AppendUint32(nil, id), encodeClass(class))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// publish shows what was committed to the readers of the tables.
func (tx *Tx) publish() {
	c := tx.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = tx.state
	for _, class := range tx.staged {
		if class.Files == 0 {
			c.table.put(class)
		}
	}
	for _, class := range tx.staged {
		if class.Files != 0 {
			c.table.put(class)
		}
	}
	c.table.next = max(c.table.next, tx.next)
	for _, h := range tx.newHolders {
		c.table.holder[h] = HolderID(len(c.table.holders))
		c.table.holders = append(c.table.holders, h)
	}
	if len(tx.staged) > 0 {
		c.table.version++
	}
}

// Find looks a path up. found is false if nothing of that name is remembered; key is right also then, if its folder is.
func (tx *Tx) Find(path v1.RelPath) (key Key, e *Entry, err error) {
	folder, ok := tx.folderID(path.Dir())
	if !ok {
		return "", nil, nil
	}
	key = keyOf(folder, path.Base())
	e, err = tx.Get(key)
	return key, e, err
}

// Get reads an entry; nil if there is none.
func (tx *Tx) Get(key Key) (*Entry, error) {
	value := tx.entries.Get([]byte(key))
	if value == nil {
		return nil, nil
	}
	e, err := decodeEntry(value)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrCorrupt, key, err)
	}
	return e, nil
}

// FolderID finds a folder by its path.
func (tx *Tx) FolderID(dir string) (uint64, bool) { return tx.folderID(dir) }

func (tx *Tx) folderID(dir string) (uint64, bool) {
	if dir == "" {
		return rootFolder, true
	}
	if dir == tx.lastDir {
		return tx.lastID, true
	}
	id := uint64(rootFolder)
	for name := range strings.SplitSeq(dir, "/") {
		value := tx.entries.Get([]byte(keyOf(id, name)))
		if len(value) < childEnd || value[flagsAt]&flagChild == 0 {
			return 0, false
		}
		id = binary.BigEndian.Uint64(value[childAt:])
	}
	tx.lastDir, tx.lastID = strings.Clone(dir), id
	return id, true
}

// Path is the key's path below the root.
func (tx *Tx) Path(key Key) (v1.RelPath, error) {
	dir, err := tx.folderPath(key.Folder())
	if err != nil || dir == "" {
		return v1.RelPath(key.Name()), err
	}
	return v1.RelPath(dir + "/" + key.Name()), nil
}

// maxPaths bounds the paths remembered in one transaction.
const maxPaths = 4096

func (tx *Tx) folderPath(id uint64) (string, error) {
	if id == rootFolder {
		return "", nil
	}
	if path, ok := tx.paths[id]; ok {
		return path, nil
	}
	value := tx.folders.Get(be64(id))
	if len(value) < 9 {
		return "", fmt.Errorf("%w: folder %d is not known", ErrCorrupt, id)
	}
	path, err := tx.folderPath(binary.BigEndian.Uint64(value))
	if err != nil {
		return "", err
	}
	if path != "" {
		path += "/"
	}
	path += string(value[8:])
	if tx.paths == nil || len(tx.paths) >= maxPaths {
		tx.paths = make(map[uint64]string)
	}
	tx.paths[id] = path
	return path, nil
}

// Generation is the entry's current one.
func (tx *Tx) Generation(e *Entry) v1.Generation {
	return v1.Generation{Epoch: tx.epoch(), Seq: e.Seq}
}

func (tx *Tx) epoch() uint64 {
	if tx.staged != nil {
		return tx.state.Epoch
	}
	return tx.c.now().Epoch
}

// NextSeq draws a new version's number.
func (tx *Tx) NextSeq() uint64 {
	tx.state.Seq++
	tx.dirty = true
	return tx.state.Seq
}

// Put writes an entry and keeps indexes and counts right. old is what Get said, nil if there was none; e and old are not
// the same value, but share no more than is never changed in place ([Entry.Clone]).
func (tx *Tx) Put(key Key, old, e *Entry) error {
	if err := tx.reclass(key, old, e); err != nil {
		return err
	}
	if err := tx.reindex(key, old, e); err != nil {
		return err
	}
	tx.count(old, e)
	return tx.entries.Put([]byte(key), tx.encode(e))
}

// encode gives bytes that stay as they are until the transaction ends, as bbolt needs them.
func (tx *Tx) encode(e *Entry) []byte {
	const block = 64 << 10
	if cap(tx.arena)-len(tx.arena) < 4<<10 {
		tx.arena = make([]byte, 0, block)
	}
	from := len(tx.arena)
	tx.arena = e.encode(tx.arena)
	return tx.arena[from:len(tx.arena):len(tx.arena)]
}

// Root is the root folder's own attributes; nil before the first scan.
func (tx *Tx) Root() (*Entry, error) { return tx.Get(rootKey) }

// Clone is a copy whose replicas may be changed.
func (e *Entry) Clone() *Entry {
	c := *e
	c.Replicas = append([]Replica(nil), e.Replicas...)
	return &c
}

// Remove forgets an entry, and the folders that were only remembered because of it.
func (tx *Tx) Remove(key Key, old *Entry) error {
	if old.Child != 0 && tx.hasEntries(old.Child) {
		// Something below it is remembered still.
		return tx.Put(key, old, &Entry{Kind: tree.KindFolder, DeletedAt: max(old.DeletedAt, 1), Child: old.Child})
	}
	none := &Entry{}
	if err := tx.reclass(key, old, none); err != nil {
		return err
	}
	if err := tx.reindex(key, old, none); err != nil {
		return err
	}
	tx.count(old, none)
	if err := tx.entries.Delete([]byte(key)); err != nil {
		return err
	}
	return tx.prune(key.Folder())
}

// prune forgets a deleted folder that nothing is remembered in any more, and so on upwards.
func (tx *Tx) prune(folder uint64) error {
	for folder != rootFolder {
		if tx.hasEntries(folder) {
			return nil
		}
		prefix := be64(folder)
		record := tx.folders.Get(prefix)
		if len(record) < 9 {
			return nil
		}
		parent := binary.BigEndian.Uint64(record)
		key := keyOf(parent, string(record[8:]))
		e, err := tx.Get(key)
		if err != nil || e == nil || e.Kind == tree.KindFolder && e.DeletedAt == 0 {
			return err // an empty folder that is there
		}
		if err := tx.folders.Delete(prefix); err != nil {
			return err
		}
		tx.lastDir, tx.paths = "", nil
		if e.Kind != tree.KindFolder {
			plain := e.Clone()
			plain.Child = 0
			return tx.Put(key, e, plain)
		}
		if err := tx.entries.Delete([]byte(key)); err != nil {
			return err
		}
		folder = parent
	}
	return nil
}

func (tx *Tx) hasEntries(folder uint64) bool {
	prefix := be64(folder)
	k, _ := tx.entries.Cursor().Seek(prefix)
	return k != nil && string(k[:8]) == string(prefix)
}

// count keeps the numbers that are not classes'.
func (tx *Tx) count(old, e *Entry) {
	digested := func(e *Entry) bool { return e != nil && e.Live() && !e.Digest.IsZero() }
	switch {
	case digested(e) && !digested(old):
		tx.state.Digested++
		tx.dirty = true
	case digested(old) && !digested(e):
		tx.state.Digested--
		tx.dirty = true
	}
}

// Touch says that something changed that a manifest shows.
func (tx *Tx) Touch() { tx.changed = true }

// reclass moves a file between classes.
func (tx *Tx) reclass(key Key, old, e *Entry) error {
	var from uint32
	if old != nil {
		from = old.class
	}
	e.class = 0
	if e.Live() {
		e.class = tx.classOf(sets(e))
	}
	if from == e.class && (from == 0 || old.Size == e.Size) {
		return nil
	}
	if from != 0 {
		if err := tx.members.Delete(memberKey(from, old.Size, key)); err != nil {
			return err
		}
		tx.adjust(from, -1, -old.Size)
	}
	if e.class != 0 {
		if err := tx.members.Put(memberKey(e.class, e.Size, key), memberValue(e.Size)); err != nil {
			return err
		}
		tx.adjust(e.class, 1, e.Size)
	}
	if from != e.class {
		tx.moved = append(tx.moved, Moved{Key: string(key), From: from, To: e.class})
	}
	return nil
}

// classOf finds or makes the class of these sets.
func (tx *Tx) classOf(confirmed, other []HolderID) uint32 {
	key := classKey(confirmed, other)
	if id, ok := tx.stagedIDs[key]; ok {
		return id
	}
	tx.c.mu.RLock()
	id, ok := tx.c.table.ids[key]
	class := tx.c.table.classes[id]
	tx.c.mu.RUnlock()
	if !ok {
		class = Class{ID: tx.next, Confirmed: confirmed, Other: other}
		tx.next++
	}
	tx.stagedIDs[key] = class.ID
	tx.staged[class.ID] = class
	return class.ID
}

// adjust changes a class's counts.
func (tx *Tx) adjust(id uint32, files, bytes int64) {
	class, ok := tx.staged[id]
	if !ok {
		class, _ = tx.c.Class(id)
		tx.stagedIDs[classKey(class.Confirmed, class.Other)] = id
	}
	class.Files += files
	class.Bytes += bytes
	tx.staged[id] = class
}

// reindex keeps the indexes of deleted files: by time, and by who holds them still.
func (tx *Tx) reindex(key Key, old, e *Entry) error {
	if was, is := remembered(old), remembered(e); was != is {
		if was != 0 {
			if err := tx.deleted.Delete(append(be64(uint64(was)), key...)); err != nil {
				return err
			}
		}
		if is != 0 {
			if err := tx.deleted.Put(append(be64(uint64(is)), key...), nil); err != nil {
				return err
			}
		}
	}
	before, after := retirees(old), retirees(e)
	for h := range before {
		if !after[h] {
			if err := tx.retire.Delete(retireKey(h, key)); err != nil {
				return err
			}
		}
	}
	for h := range after {
		if !before[h] {
			if err := tx.retire.Put(retireKey(h, key), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// remembered is when a file was deleted; 0: it is none, or is there. Folders go with the last file in them.
func remembered(e *Entry) int64 {
	if e == nil || e.Kind != tree.KindFile {
		return 0
	}
	return e.DeletedAt
}

// retirees are the holders that are to retire what they hold of it: it is no file any more.
func retirees(e *Entry) map[HolderID]bool {
	if e == nil || e.Live() || len(e.Replicas) == 0 {
		return nil
	}
	set := make(map[HolderID]bool, len(e.Replicas))
	for _, r := range e.Replicas {
		set[r.Holder] = true
	}
	return set
}

func retireKey(h HolderID, key Key) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(h)), key...)
}

// ErrTooManyHolders: ids are never reused, and there are no more than 65,000.
var ErrTooManyHolders = errors.New("too many holders were ever known")

// Holder finds a holder's id, giving it one if it has none.
func (tx *Tx) Holder(h Holder) (HolderID, error) {
	if id, ok := tx.c.HolderID(h); ok {
		return id, nil
	}
	known := len(tx.c.Holders())
	for i, n := range tx.newHolders {
		if n == h {
			return HolderID(known + i), nil
		}
	}
	id := known + len(tx.newHolders)
	if id > 65000 {
		return 0, ErrTooManyHolders
	}
	value, err := json.Marshal(h)
	if err != nil {
		return 0, err
	}
	tx.newHolders = append(tx.newHolders, h)
	return HolderID(id), tx.b.Bucket(holderBucket).Put(binary.BigEndian.AppendUint16(nil, uint16(id)), value)
}
