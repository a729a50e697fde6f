package catalog

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
)

// Random changes of a real tree, scans, and what a coordinator does with entries: indexes, classes and counts always are
// what recomputing them gives, and after a scan the catalog has what the tree has.
func TestCatalogAgainstTree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		must(r, err)
		defer os.RemoveAll(dir)
		m := &modelled{r: r, root: filepath.Join(dir, "source"), path: filepath.Join(dir, "catalog.db"), now: time.Unix(1e9, 0)}
		must(r, os.Mkdir(m.root, 0o755))
		must(r, os.WriteFile(filepath.Join(m.root, "always"), nil, 0o644)) // an empty root is held, elsewhere
		m.open()
		defer func() { m.cat.Close() }()
		r.Repeat(map[string]func(*rapid.T){
			"":        func(*rapid.T) { checkConsistent(r, m.cat) },
			"write":   func(*rapid.T) { m.write() },
			"write 2": func(*rapid.T) { m.write() },
			"remove":  func(*rapid.T) { _ = os.RemoveAll(filepath.Join(m.root, m.name())) },
			"link": func(*rapid.T) {
				at := filepath.Join(m.root, m.name())
				_ = os.RemoveAll(at)
				_ = os.Symlink("nowhere", at)
			},
			"scan":    func(*rapid.T) { m.scan() },
			"hold":    func(*rapid.T) { m.hold() },
			"hold 2":  func(*rapid.T) { m.hold() },
			"demote":  func(*rapid.T) { must(r, m.cat.Demote(context.Background())) },
			"forget":  func(*rapid.T) { must(r, m.cat.Forget(context.Background(), map[HolderID]bool{0: true})) },
			"purge":   func(*rapid.T) { must(r, m.cat.Purge(context.Background(), m.now.Add(-10*time.Minute))) },
			"later":   func(*rapid.T) { m.now = m.now.Add(7 * time.Minute) },
			"restart": func(*rapid.T) { must(r, m.cat.Close()); m.open() },
		})
		m.scan()
		m.now = m.now.Add(time.Hour)
		must(r, m.cat.Forget(context.Background(), map[HolderID]bool{0: true, 1: true, 2: true}))
		must(r, m.cat.Purge(context.Background(), m.now))
		checkConsistent(r, m.cat)
		m.nothingElse()
	})
}

func must(r *rapid.T, err error) {
	r.Helper()
	if err != nil {
		r.Fatalf("%v", err)
	}
}

type modelled struct {
	r          *rapid.T
	root, path string
	cat        *Catalog
	now        time.Time
}

func (m *modelled) open() {
	var err error
	m.cat, err = Open(m.path, Options{Clock: func() time.Time { return m.now }, NoSync: true})
	must(m.r, err)
}

func (m *modelled) name() string {
	return rapid.SampledFrom([]string{"a", "b", "a/b", "a/c", "a/b/c", "b/\xff", "a/b/d", "c"}).Draw(m.r, "name")
}

func (m *modelled) write() {
	at := filepath.Join(m.root, m.name())
	for dir := filepath.Dir(at); dir != m.root; dir = filepath.Dir(dir) {
		if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
			must(m.r, os.Remove(dir))
		}
	}
	must(m.r, os.RemoveAll(at))
	must(m.r, os.MkdirAll(filepath.Dir(at), 0o755))
	must(m.r, os.WriteFile(at, make([]byte, rapid.IntRange(0, 9).Draw(m.r, "size")), 0o644))
}

func (m *modelled) scan() {
	src, err := tree.Open(m.root, tree.Options{Workers: 2})
	must(m.r, err)
	id, err := src.Identity()
	must(m.r, err)
	s, err := m.cat.BeginScan(id)
	must(m.r, err)
	must(m.r, src.Walk(context.Background(), s.Folder, nil))
	result, err := s.End(context.Background(), true)
	must(m.r, err)
	want := make(map[string]int64)
	must(m.r, filepath.WalkDir(m.root, func(path string, d os.DirEntry, err error) error {
		if path == m.root || err != nil {
			return err
		}
		size := int64(-1)
		if info, err := d.Info(); err == nil && d.Type().IsRegular() {
			size = info.Size()
		}
		want[strings.TrimPrefix(path, m.root+"/")] = size
		return nil
	}))
	got := make(map[string]int64)
	must(m.r, m.cat.Walk(context.Background(), "", "", func(i Item) bool {
		if i.Entry.DeletedAt == 0 {
			got[string(i.Path)] = -1
			if i.Entry.Kind == tree.KindFile {
				got[string(i.Path)] = i.Entry.Size
			}
		}
		return true
	}))
	if !maps.Equal(got, want) {
		m.r.Fatalf("the catalog has %v, the tree %v (%+v)", got, want, result)
	}
}

// hold gives some entry a replica in some state, or takes it away.
func (m *modelled) hold() {
	n := rapid.IntRange(0, 2).Draw(m.r, "holder")
	name := rapid.SampledFrom([]string{"always", "a", "b", "a/b", "a/c", "a/b/c", "b/\xff", "a/b/d", "c"}).Draw(m.r, "held")
	state := State(rapid.IntRange(0, int(Leaving)).Draw(m.r, "state"))
	must(m.r, m.cat.Update(func(tx *Tx) error {
		var id HolderID
		for i := range n + 1 {
			var err error
			if id, err = tx.Holder(Holder{Host: "h", Location: v1.LocationName(fmt.Sprint(i))}); err != nil {
				return err
			}
		}
		key, old, err := tx.Find(v1.RelPath(name))
		if err != nil || old == nil || old.Kind != tree.KindFile {
			return err
		}
		e := old.Clone()
		if state == 0 {
			e.RemoveReplica(id)
		} else {
			e.SetReplica(Replica{Holder: id, State: state, Seq: e.Seq})
			e.Digest[0] = 1
		}
		return tx.Put(key, old, e)
	}))
}

// nothingElse checks that what was deleted, and is due, leaves nothing behind.
func (m *modelled) nothingElse() {
	must(m.r, m.cat.View(func(tx *Tx) error {
		folders := 0
		cur := tx.entries.Cursor()
		for k, v := cur.First(); k != nil; k, v = cur.Next() {
			e, err := decodeEntry(v)
			if err != nil {
				return err
			}
			if e.DeletedAt != 0 {
				return fmt.Errorf("%q is remembered: %+v", k, e)
			}
			if e.Child != 0 {
				folders++
			}
		}
		if n := tx.folders.Stats().KeyN; n != folders {
			return fmt.Errorf("%d folders are recorded, there are %d", n, folders)
		}
		return nil
	}))
}
