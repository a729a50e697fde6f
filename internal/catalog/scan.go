package catalog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	bolt "go.etcd.io/bbolt"

	"clusterbackup/internal/tree"
)

// Scan merges a walk of the source into the catalog. Its Folder method is the visitor of tree.Walk:
//
//	scan, err := cat.BeginScan(identity)
//	err = source.Walk(ctx, scan.Folder, problem)
//	result, err := scan.End(ctx, err == nil)
//
// Nothing is written as long as nothing differs. What differs is written in batches by one goroutine, which End waits for;
// what is gone is decided about in End.
//
// Of a tree whose root, or of a folder whose file system, is not the known one, nothing is written at all: the scan only
// compares what it sees with what is known. If that proves it to be the same tree (see foreign), End makes it the known one and
// asks for another scan.
type Scan struct {
	c        *Catalog
	identity anchor
	done     chan struct{}
	changes  chan []change
	cancel   context.CancelCauseFunc
	ctx      context.Context

	mu      sync.Mutex
	result  Result
	foreign foreign
	folders map[uint64]bool // those in what may be another file system than before
	adopt   []change        // what makes the new file systems the known ones
	emptied bool            // the root has no entry, and had some
	next    uint64
}

// foreign counts the files of what may be another tree than the one that is known.
//
// It is the same one if no known file is missing or of another size or time (a copy of it: taking it for the source loses
// nothing), or if more than half of the known files are the very same in inode and time of change as well, which no copy is:
// numbers of devices, and ids made from them, change at boot, while people go on with their files. An older copy, or another
// tree that has some names in common, is neither.
type foreign struct {
	root  bool
	found bool  // there is something foreign
	known int64 // so many files ought to be there
	alike int64 // of them, those there with the known size and time of modification
	very  int64 // of those, the ones that are the known file itself
}

func (f *foreign) add(o *foreign) {
	f.found = f.found || o.found
	f.known, f.alike, f.very = f.known+o.known, f.alike+o.alike, f.very+o.very
}

func (f *foreign) lost() int64 { return f.known - f.alike }

func (f *foreign) same() bool { return f.lost() == 0 || 2*f.very > f.known }

// Result is what a scan found.
type Result struct {
	Files, Folders, Bytes int64
	// Added, Changed and Deleted count entries of any kind.
	Added, Changed, Deleted int64
	// Held is what was gone and not believed; zero if nothing.
	Held Held
	// Again: what was foreign is the known tree by now, and is to be scanned.
	Again bool
}

// change is one difference, to be written.
type change struct {
	key    Key
	stat   tree.Entry
	xattrs map[string][]byte
	child  uint64 // of a folder that was not known
	mount  bool
	gone   bool
	below  bool // only what is below it is gone: it became something else
}

// batchSize is how many changes are written in one transaction.
const batchSize = 4000

// ErrScanning: one scan at a time.
var ErrScanning = errors.New("another scan is running")

// BeginScan begins a scan of a root with that identity. End must be called.
func (c *Catalog) BeginScan(identity tree.Identity) (*Scan, error) {
	if !c.scanning.CompareAndSwap(false, true) {
		return nil, ErrScanning
	}
	s := &Scan{c: c, identity: anchor(identity), done: make(chan struct{}), changes: make(chan []change, 4),
		folders: make(map[uint64]bool), next: c.now().NextFolder}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if err := s.begin(identity); err != nil {
		c.scanning.Store(false)
		return nil, fmt.Errorf("begin scan: %w", err)
	}
	go s.write()
	return s, nil
}

func (s *Scan) begin(identity tree.Identity) error {
	// What an earlier scan missed and did not get to the end with says nothing now.
	if err := s.c.clearGone(); err != nil {
		return err
	}
	if !s.c.Knows(identity) {
		s.foreign.root, s.foreign.found = true, true
		s.foreign.known, _ = s.c.Total()
		return nil
	}
	return s.c.setAnchor(s.identity) // before anything is taken from it
}

// Folder merges one folder's listing. It may be called from several goroutines at once; folders before those in them. It
// sets the entries' handles.
func (s *Scan) Folder(ctx context.Context, f *tree.Folder) error {
	id := f.Handle
	if id == 0 {
		id = rootFolder
	}
	m := &merge{s: s, f: f, id: id, complete: f.Err == nil}
	s.mu.Lock()
	m.foreign = s.foreign.root || s.folders[id]
	s.mu.Unlock()
	err := s.c.View(func(tx *Tx) error {
		m.tx = tx
		return m.run(tx.entries.Cursor())
	})
	if err != nil {
		return err
	}
	m.report()
	for len(m.changes) > 0 {
		n := min(len(m.changes), batchSize)
		select {
		case s.changes <- m.changes[:n:n]:
			m.changes = m.changes[n:]
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// merge compares one listing with what is stored.
type merge struct {
	s        *Scan
	tx       *Tx
	f        *tree.Folder
	id       uint64
	complete bool
	foreign  bool

	changes              []change
	adopt                []change
	files, folders, size int64
	stored               int64
	counts               foreign
	foreignChildren      []uint64
	stat                 [statLen]byte
	prefix               [8]byte
}

func (m *merge) run(cur *bolt.Cursor) error {
	if m.id == rootFolder {
		m.root()
	}
	binary.BigEndian.PutUint64(m.prefix[:], m.id)
	k, v := cur.Seek(m.prefix[:])
	for i := range m.f.Entries {
		e := &m.f.Entries[i]
		for m.ours(k) && string(k[8:]) < e.Name {
			m.missing(k, v)
			k, v = cur.Next()
		}
		var stored []byte
		if m.ours(k) && string(k[8:]) == e.Name {
			if len(v) < classAt+4 {
				return fmt.Errorf("%w: %q", ErrCorrupt, k)
			}
			stored = v
			m.stored++
		}
		if err := m.entry(i, e, stored); err != nil {
			return err
		}
		if stored != nil {
			k, v = cur.Next()
		}
	}
	for ; m.ours(k); k, v = cur.Next() {
		m.missing(k, v)
	}
	return nil
}

// root compares the root's own attributes.
func (m *merge) root() {
	e := m.f.Self
	if e.Kind != tree.KindFolder || m.foreign {
		return
	}
	stored := m.tx.entries.Get([]byte(rootKey))
	now := appendStat(m.stat[:0], e.Kind, e.Size, e.ModTime, e.ChangeTime, e.Inode, e.Mode, e.UID, e.GID)
	if len(stored) >= statLen && bytes.Equal(stored[:statLen], now) {
		return
	}
	attrs, err := m.f.SelfXattrs()
	if err != nil {
		attrs = nil
	}
	e.Name = ""
	m.changes = append(m.changes, change{key: rootKey, stat: e, xattrs: attrs})
}

func (m *merge) ours(k []byte) bool { return len(k) > 8 && bytes.Equal(k[:8], m.prefix[:]) }

// entry compares one name that is there with what is stored of it; nil: nothing.
func (m *merge) entry(i int, e *tree.Entry, stored []byte) error {
	mount := false
	switch e.Kind {
	case tree.KindFile:
		m.files++
		m.size += e.Size
	case tree.KindFolder:
		m.folders++
		mount = e.Device != m.f.Self.Device && m.f.Self.Device != 0
	}
	var child uint64
	if stored != nil && stored[flagsAt]&flagChild != 0 {
		child = binary.BigEndian.Uint64(stored[childAt:])
	}
	fresh := uint64(0)
	if e.Kind == tree.KindFolder {
		if child == 0 {
			child = m.s.newFolder()
			fresh = child
		}
		e.Handle = child
	}
	if m.foreign {
		m.compare(e, stored, child)
		return nil
	}
	if e.Kind != tree.KindFolder && child != 0 && m.complete {
		// A folder became something else; what was in it is gone.
		if m.tx.anyBelow(child) {
			m.changes = append(m.changes, change{key: keyOf(m.id, e.Name), gone: true, below: true})
		}
	}
	now := appendStat(m.stat[:0], e.Kind, e.Size, e.ModTime, e.ChangeTime, e.Inode, e.Mode, e.UID, e.GID)
	if stored != nil && bytes.Equal(now, stored[:statLen]) && stored[flagsAt]&flagDeleted == 0 &&
		(stored[flagsAt]&flagMount != 0) == mount && fresh == 0 {
		return nil
	}
	c := change{key: keyOf(m.id, e.Name), stat: *e, xattrs: m.xattrs(i), child: fresh, mount: mount}
	if stored == nil || e.Kind != tree.KindFolder || fresh != 0 || !m.swapped(e, stored, mount) {
		m.changes = append(m.changes, c)
		return nil
	}
	m.adopt = append(m.adopt, c)
	m.foreignChildren = append(m.foreignChildren, child)
	below, err := m.tx.countFiles(m.s.ctx, &Entry{Child: child})
	m.counts.found, m.counts.known = true, m.counts.known+below
	return err
}

// compare counts a name in a foreign folder by what is known of it.
func (m *merge) compare(e *tree.Entry, stored []byte, child uint64) {
	if e.Kind == tree.KindFolder && !m.s.foreign.root {
		m.foreignChildren = append(m.foreignChildren, child)
	}
	if stored == nil || e.Kind != tree.KindFile || stored[flagsAt]&flagDeleted != 0 {
		return
	}
	now := appendStat(m.stat[:0], e.Kind, e.Size, e.ModTime, e.ChangeTime, e.Inode, e.Mode, e.UID, e.GID)
	if bytes.Equal(now[:alikeLen], stored[:alikeLen]) {
		m.counts.alike++
	}
	if bytes.Equal(now[:veryLen], stored[:veryLen]) {
		m.counts.very++
	}
}

// swapped tells whether a folder now shows another file system than when it was stored.
func (m *merge) swapped(e *tree.Entry, stored []byte, mount bool) bool {
	was := stored[flagsAt]&flagMount != 0
	inode := binary.BigEndian.Uint64(stored[25:])
	return was != mount || mount && inode != e.Inode
}

// xattrs reads what an entry that changed has. Without them the entry is worth more than no entry.
func (m *merge) xattrs(i int) map[string][]byte {
	if k := m.f.Entries[i].Kind; k != tree.KindFile && k != tree.KindFolder {
		return nil
	}
	attrs, err := m.f.Xattrs(i)
	if err != nil {
		return nil
	}
	return attrs
}

// missing notes a stored entry that the listing does not have.
func (m *merge) missing(k, v []byte) {
	if len(v) < classAt+4 || v[flagsAt]&flagDeleted != 0 {
		return
	}
	m.stored++
	if m.complete && !m.foreign {
		m.changes = append(m.changes, change{key: Key(k), gone: true})
	}
}

// report adds the folder to the scan's sums.
func (m *merge) report() {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Files += m.files
	s.result.Folders += m.folders
	s.result.Bytes += m.size
	s.adopt = append(s.adopt, m.adopt...)
	s.foreign.add(&m.counts)
	for _, id := range m.foreignChildren {
		s.folders[id] = true
	}
	if m.id == rootFolder && m.complete && len(m.f.Entries) == 0 && m.stored > 0 {
		s.emptied = true
	}
}

func (s *Scan) newFolder() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.next - 1
}

// write is the scan's one writer.
func (s *Scan) write() {
	defer close(s.done)
	var batch []change
	store := func() {
		if len(batch) == 0 || s.ctx.Err() != nil {
			return
		}
		if err := s.store(batch); err != nil {
			s.cancel(fmt.Errorf("write catalog: %w", err))
		}
		clear(batch)
		batch = batch[:0]
	}
	for changes := range s.changes {
		batch = append(batch, changes...)
		if len(batch) >= batchSize {
			store()
		}
	}
	store()
}

// store writes one batch.
func (s *Scan) store(batch []change) error {
	var added, changed int64
	err := s.c.Update(func(tx *Tx) error {
		added, changed = 0, 0
		s.mu.Lock()
		next := s.next
		s.mu.Unlock()
		if next > tx.state.NextFolder {
			tx.state.NextFolder = next
			tx.dirty = true
		}
		for i := range batch {
			if batch[i].gone {
				if err := tx.b.Bucket(goneBucket).Put([]byte(batch[i].key), goneValue(batch[i].below)); err != nil {
					return err
				}
				continue
			}
			fresh, err := tx.apply(&batch[i])
			if err != nil {
				return err
			}
			if fresh {
				added++
			} else {
				changed++
			}
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Added += added
	s.result.Changed += changed
	return err
}

// apply writes what a look at one name said.
func (tx *Tx) apply(c *change) (fresh bool, err error) {
	old, err := tx.Get(c.key)
	if err != nil {
		return false, err
	}
	e := &Entry{}
	if old != nil {
		e = old.Clone()
	}
	was := e.Stat("")
	back := e.DeletedAt != 0
	e.DeletedAt = 0
	e.setStat(&c.stat)
	e.Xattrs, e.Mount = c.xattrs, c.mount
	if c.child != 0 && e.Child == 0 {
		e.Child = c.child
		if err := tx.folders.Put(be64(c.child), append(be64(c.key.Folder()), c.key.Name()...)); err != nil {
			return false, err
		}
	}
	now := e.Stat("")
	switch {
	case e.Kind != tree.KindFile:
		e.Seq, e.Digest = 0, [32]byte{}
	case old == nil || !was.SameVersion(&now) || e.Seq == 0:
		tx.renew(e, &was)
	}
	tx.changed = true
	if err := tx.Put(c.key, old, e); err != nil {
		return false, err
	}
	if e.Child != 0 && e.Kind != tree.KindFolder {
		err = tx.prune(e.Child)
	}
	return old == nil || back, err
}

// renew gives a file a new version. What its holders have is of the earlier one; where size and time are equal it may be
// the same still, which their digests will tell.
func (tx *Tx) renew(e *Entry, was *tree.Entry) {
	e.Seq = tx.NextSeq()
	e.Digest = [32]byte{}
	fits := was.Size == e.Size && was.ModTime == e.ModTime
	for i := range e.Replicas {
		r := &e.Replicas[i]
		switch {
		case r.State == Confirmed && fits:
			r.State = Unconfirmed
		case r.State == Confirmed, r.State == Unconfirmed:
			r.State = Stale
		}
	}
}
