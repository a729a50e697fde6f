package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
)

// fixture is a real folder and its catalog.
type fixture struct {
	t    *testing.T
	root string
	path string
	cat  *Catalog
	opts tree.Options
}

func newFixture(t *testing.T) *fixture {
	x := &fixture{t: t, root: filepath.Join(t.TempDir(), "source"), path: filepath.Join(t.TempDir(), "catalog.db")}
	x.must(os.Mkdir(x.root, 0o755))
	x.open()
	return x
}

func (x *fixture) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *fixture) open() {
	var err error
	x.cat, err = Open(x.path, Options{})
	x.must(err)
	x.t.Cleanup(func() { x.cat.Close() })
}

func (x *fixture) write(path, text string) {
	x.t.Helper()
	full := filepath.Join(x.root, path)
	x.must(os.MkdirAll(filepath.Dir(full), 0o755))
	x.must(os.WriteFile(full, []byte(text), 0o644))
}

func (x *fixture) scan() Result {
	x.t.Helper()
	result, err := x.tryScan(nil)
	x.must(err)
	return result
}

func (x *fixture) tryScan(spoil func(*tree.Folder)) (Result, error) {
	x.t.Helper()
	src, err := tree.Open(x.root, x.opts)
	if err != nil {
		return Result{}, err
	}
	id, err := src.Identity()
	x.must(err)
	s, err := x.cat.BeginScan(id)
	x.must(err)
	err = src.Walk(context.Background(), func(ctx context.Context, f *tree.Folder) error {
		if spoil != nil {
			spoil(f)
		}
		return s.Folder(ctx, f)
	}, nil)
	result, endErr := s.End(context.Background(), err == nil)
	if result.Again && err == nil && endErr == nil {
		return x.tryScan(spoil)
	}
	return result, errors.Join(err, endErr)
}

// live lists what the catalog believes to be there.
func (x *fixture) live() (paths []string) {
	x.t.Helper()
	x.must(x.cat.Walk(context.Background(), "", "", func(i Item) bool {
		if i.Entry.DeletedAt == 0 {
			paths = append(paths, string(i.Path))
		}
		return true
	}))
	return paths
}

// real lists what is there.
func (x *fixture) real() (paths []string) {
	x.t.Helper()
	x.must(filepath.WalkDir(x.root, func(path string, _ os.DirEntry, err error) error {
		if path != x.root {
			paths = append(paths, strings.TrimPrefix(path, x.root+"/"))
		}
		return err
	}))
	return paths
}

func (x *fixture) same() {
	x.t.Helper()
	got, want := x.live(), x.real()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		x.t.Fatalf("catalog has %q, the tree %q", got, want)
	}
	x.consistent()
}

// consistent recomputes everything that is kept as it goes.
func (x *fixture) consistent() {
	x.t.Helper()
	checkConsistent(x.t, x.cat)
}

func checkConsistent(t interface {
	Helper()
	Fatalf(string, ...any)
}, cat *Catalog) {
	t.Helper()
	type count struct{ files, bytes int64 }
	want := make(map[string]count)
	digested, members, retire, deleted := uint64(0), 0, 0, 0
	err := cat.View(func(tx *Tx) error {
		cur := tx.entries.Cursor()
		for k, v := cur.First(); k != nil; k, v = cur.Next() {
			e, err := decodeEntry(v)
			if err != nil {
				return err
			}
			if remembered(e) != 0 {
				deleted++
				if tx.deleted.Get(append(be64(uint64(e.DeletedAt)), k...)) == nil {
					return fmt.Errorf("%q is not in the index of deleted", k)
				}
			}
			if !e.Live() {
				for _, r := range e.Replicas {
					retire++
					if tx.retire.Get(retireKey(r.Holder, Key(k))) == nil {
						return fmt.Errorf("%q is not to be retired by %d", k, r.Holder)
					}
				}
				continue
			}
			if !e.Digest.IsZero() {
				digested++
			}
			name := classKey(sets(e))
			want[name] = count{want[name].files + 1, want[name].bytes + e.Size}
			members++
			if m := memberKey(e.class, e.Size, Key(k)); memberOf(m, tx.members.Get(m)).Size != e.Size {
				return fmt.Errorf("%q is not a member of class %d", k, e.class)
			}
			if class, _ := cat.Class(e.class); classKey(class.Confirmed, class.Other) != name {
				return fmt.Errorf("%q is in class %+v: %+v", k, class, e)
			}
		}
		for bucket, n := range map[string]int{"members": members, "retire": retire, "deleted": deleted} {
			if got := tx.b.Bucket([]byte(bucket)).Stats().KeyN; got != n {
				return fmt.Errorf("%s has %d keys, want %d", bucket, got, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	if got := cat.now().Digested; got != digested {
		t.Fatalf("%d digests are counted, %d known", got, digested)
	}
	classes := cat.Classes()
	if len(classes) != len(want) {
		t.Fatalf("%d classes, want %d: %+v", len(classes), len(want), classes)
	}
	for _, c := range classes {
		if w := want[classKey(c.Confirmed, c.Other)]; c.Files != w.files || c.Bytes != w.bytes {
			t.Fatalf("class %+v, want %+v", c, w)
		}
	}
	var loaded table
	if err := cat.db.View(loaded.load); err != nil {
		t.Fatalf("load: %v", err)
	}
	if len(loaded.classes) != len(classes) {
		t.Fatalf("%d classes are stored, %d in memory", len(loaded.classes), len(classes))
	}
}

func TestScanTakesOverWhatIsThere(t *testing.T) {
	x := newFixture(t)
	x.write("a.txt", "one")
	x.write("dir/sub/b.txt", "two")
	x.write("new\nline/\xff\xfe", "three")
	x.write(strings.Repeat("n", 255), "four")
	x.must(os.Mkdir(filepath.Join(x.root, "empty"), 0o750))
	x.must(os.Symlink("a.txt", filepath.Join(x.root, "link")))
	x.must(os.Link(filepath.Join(x.root, "a.txt"), filepath.Join(x.root, "hard")))
	if r := x.scan(); r.Files != 5 || r.Added == 0 {
		t.Fatalf("scan: %+v", r)
	}
	x.same()
	x.write("a.txt", "changed")
	x.must(os.Remove(filepath.Join(x.root, "dir/sub/b.txt")))
	x.must(os.RemoveAll(filepath.Join(x.root, "new\nline")))
	x.write("later/c", "five")
	if r := x.scan(); r.Deleted != 3 || r.Held.Why != "" {
		t.Fatalf("scan: %+v", r)
	}
	x.same()
	x.must(x.cat.Close())
	x.open()
	x.same()
}

// A scan that finds nothing changed does not write one page.
func TestScanWithoutChangeWritesNothing(t *testing.T) {
	x := newFixture(t)
	for i := range 300 {
		x.write(fmt.Sprintf("d%d/f%d", i%7, i), "text")
	}
	x.scan()
	before, err := os.ReadFile(x.path)
	x.must(err)
	if r := x.scan(); r.Added+r.Changed+r.Deleted != 0 || r.Files != 300 {
		t.Fatalf("scan: %+v", r)
	}
	after, err := os.ReadFile(x.path)
	x.must(err)
	if !slices.Equal(before, after) {
		t.Fatal("the catalog's file changed")
	}
}

func TestRevisionChangesWithWhatIsWritten(t *testing.T) {
	x := newFixture(t)
	x.write("a", "1")
	before := x.cat.Revision()
	x.scan()
	scanned := x.cat.Revision()
	x.scan()
	if scanned == before || x.cat.Revision() != scanned {
		t.Errorf("revision %d, after a scan %d, after one that found nothing %d", before, scanned, x.cat.Revision())
	}
}

func TestWhatBecomesSomethingElse(t *testing.T) {
	x := newFixture(t)
	x.write("keep", "k")
	x.write("x/inner/deep", "1")
	x.write("y", "2")
	x.scan()
	x.confirmAll("h")
	x.must(os.RemoveAll(filepath.Join(x.root, "x")))
	x.write("x", "now a file")
	x.must(os.Remove(filepath.Join(x.root, "y")))
	x.write("y/now", "a folder")
	x.scan()
	x.same()
	if got := x.retirees("h"); !slices.Equal(got, []string{"x/inner/deep", "y"}) {
		t.Fatalf("to retire: %q", got)
	}
	// And back again, with the same content.
	x.must(os.Remove(filepath.Join(x.root, "x")))
	x.write("x/inner/deep", "1")
	x.scan()
	x.same()
}

// confirmAll has a holder confirm every live file.
func (x *fixture) confirmAll(host v1.HostName) {
	x.t.Helper()
	var keys []Key
	x.must(x.cat.Walk(context.Background(), "", "", func(i Item) bool {
		if i.Entry.Live() {
			keys = append(keys, i.Key)
		}
		return true
	}))
	x.must(x.cat.Update(func(tx *Tx) error {
		id, err := tx.Holder(Holder{Host: host, Location: "disk"})
		if err != nil {
			return err
		}
		for _, key := range keys {
			old, err := tx.Get(key)
			if err != nil {
				return err
			}
			e := old.Clone()
			e.Digest = v1.Digest{1}
			e.SetReplica(Replica{Holder: id, State: Confirmed, Seq: e.Seq})
			if err := tx.Put(key, old, e); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (x *fixture) retirees(host v1.HostName) (paths []string) {
	x.t.Helper()
	id, _ := x.cat.HolderID(Holder{Host: host, Location: "disk"})
	x.must(x.cat.View(func(tx *Tx) error {
		tx.Retirees(id, "", func(key Key) bool {
			path, err := tx.Path(key)
			x.must(err)
			paths = append(paths, string(path))
			return true
		})
		return nil
	}))
	slices.Sort(paths)
	return paths
}

// Deletions that are not believed (S4): nothing may be taken for deleted, the reason is told, and approval lets exactly
// that through.
func TestDeletionsHeld(t *testing.T) {
	many := func(x *fixture, n int) {
		for i := range n {
			x.write(fmt.Sprintf("d%d/f%d", i%5, i), "text")
		}
	}
	t.Run("more than half", func(t *testing.T) {
		x := newFixture(t)
		many(x, 205)
		x.scan()
		for i := range 103 {
			x.must(os.Remove(filepath.Join(x.root, fmt.Sprintf("d%d/f%d", i%5, i))))
		}
		before := x.live()
		for range 2 {
			if r := x.scan(); r.Held.Why != HeldMany || r.Held.Files != 103 || r.Deleted != 0 {
				t.Fatalf("scan: %+v", r)
			}
			if !slices.Equal(x.live(), before) {
				t.Fatal("something was deleted")
			}
		}
		if x.cat.Held().Files != 103 {
			t.Fatalf("held: %+v", x.cat.Held())
		}
		_, err := x.cat.Approve()
		x.must(err)
		if r := x.scan(); r.Deleted != 103 || x.cat.Held() != (Held{}) {
			t.Fatalf("scan: %+v, %+v", r, x.cat.Held())
		}
		x.same()
		if _, err := x.cat.Approve(); !errors.Is(err, ErrNothingHeld) {
			t.Fatalf("approve again: %v", err)
		}
	})
	t.Run("approval is for what was shown", func(t *testing.T) {
		x := newFixture(t)
		many(x, 300)
		x.scan()
		x.must(os.RemoveAll(filepath.Join(x.root, "d0")))
		x.must(os.RemoveAll(filepath.Join(x.root, "d1")))
		x.must(os.RemoveAll(filepath.Join(x.root, "d2")))
		x.scan()
		_, err := x.cat.Approve()
		x.must(err)
		x.must(os.RemoveAll(filepath.Join(x.root, "d3")))
		if r := x.scan(); r.Held.Files != 240 || r.Deleted != 0 {
			t.Fatalf("scan: %+v", r)
		}
	})
	t.Run("exactly half is believed", func(t *testing.T) {
		x := newFixture(t)
		many(x, 200)
		x.scan()
		for i := range 100 {
			x.must(os.Remove(filepath.Join(x.root, fmt.Sprintf("d%d/f%d", i%5, i))))
		}
		if r := x.scan(); r.Held.Why != "" || r.Deleted != 100 {
			t.Fatalf("scan: %+v", r)
		}
		x.same()
	})
	t.Run("empty root", func(t *testing.T) {
		x := newFixture(t)
		x.write("only", "one")
		x.scan()
		x.must(os.Remove(filepath.Join(x.root, "only")))
		if r := x.scan(); r.Held.Why != HeldEmpty {
			t.Fatalf("scan: %+v", r)
		}
		if len(x.live()) != 1 {
			t.Fatal("it was deleted")
		}
	})
	t.Run("root is missing", func(t *testing.T) {
		x := newFixture(t)
		many(x, 5)
		x.scan()
		x.must(os.RemoveAll(x.root))
		if _, err := x.tryScan(nil); !errors.Is(err, tree.ErrRootMissing) {
			t.Fatalf("scan: %v", err)
		}
		if len(x.live()) != 10 {
			t.Fatalf("live: %q", x.live())
		}
	})
	t.Run("incomplete listing", func(t *testing.T) {
		x := newFixture(t)
		many(x, 50)
		x.scan()
		x.must(os.RemoveAll(filepath.Join(x.root, "d1/f1")))
		x.must(os.RemoveAll(filepath.Join(x.root, "d2/f2")))
		r, err := x.tryScan(func(f *tree.Folder) {
			if f.Path == "d1" {
				f.Entries, f.Err = f.Entries[:1], errors.New("input/output error")
			}
		})
		x.must(err)
		if live := x.live(); r.Deleted != 1 || !slices.Contains(live, "d1/f1") || !slices.Contains(live, "d1/f6") || slices.Contains(live, "d2/f2") {
			t.Fatalf("scan: %+v %q", r, live)
		}
	})
	t.Run("walk was cut short", func(t *testing.T) {
		x := newFixture(t)
		many(x, 50)
		x.scan()
		x.must(os.RemoveAll(filepath.Join(x.root, "d1")))
		before := x.live()
		src, err := tree.Open(x.root, tree.Options{})
		x.must(err)
		id, _ := src.Identity()
		s, err := x.cat.BeginScan(id)
		x.must(err)
		x.must(src.Walk(context.Background(), s.Folder, nil))
		_, err = s.End(context.Background(), false)
		x.must(err)
		if !slices.Equal(x.live(), before) {
			t.Fatal("something was deleted")
		}
	})
}

// foreign puts a folder of its own under the source's path, and takes the one that was there away.
func (x *fixture) foreign() (old string) {
	x.t.Helper()
	old = x.root + ".old"
	x.must(os.Rename(x.root, old))
	x.must(os.Mkdir(x.root, 0o755))
	return old
}

// copyOf puts a copy of the source in its place, times included.
func (x *fixture) copyOf() (old string) {
	x.t.Helper()
	old = x.foreign()
	x.must(os.CopyFS(x.root, os.DirFS(old)))
	x.must(filepath.WalkDir(old, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		x.must(err)
		return os.Chtimes(x.root+strings.TrimPrefix(path, old), time.Time{}, info.ModTime())
	}))
	return old
}

// known is everything that the catalog knows of the source.
func (x *fixture) known() (all string) {
	x.t.Helper()
	x.must(x.cat.Walk(context.Background(), "", "", func(i Item) bool {
		all += fmt.Sprintf("%q %+v\n", i.Path, *i.Entry)
		return true
	}))
	return all
}

// Nothing is taken from what is not provably the tree that is known (S4): no deletion, no change, no addition.
func TestForeignTree(t *testing.T) {
	fill := func(x *fixture) {
		for i := range 20 {
			x.write(fmt.Sprintf("d%d/f%d", i%5, i), "text")
		}
		x.scan()
		x.confirmAll("h")
	}
	held := func(x *fixture, files int64) {
		x.t.Helper()
		before, generation := x.known(), x.cat.Generation()
		for range 2 {
			if r := x.scan(); r.Held.Why != HeldForeign || r.Held.Files != files || r.Added+r.Changed+r.Deleted != 0 {
				x.t.Fatalf("scan: %+v", r)
			}
			if got := x.known(); got != before || x.cat.Generation() != generation {
				x.t.Fatalf("known before:\n%s\nafter:\n%s", before, got)
			}
		}
		x.consistent()
	}
	taken := func(x *fixture) {
		x.t.Helper()
		if r := x.scan(); r.Held.Why != "" || x.cat.Held().Why != "" {
			x.t.Fatalf("scan: %+v", r)
		}
		x.same()
	}
	// reboot makes the root what it would be after its file system got another number.
	reboot := func(x *fixture) {
		x.must(x.cat.setState(func(s *state) bool { s.Root.Device++; s.Root.FSID++; return true }))
	}

	t.Run("nothing is taken until it is approved", func(t *testing.T) {
		x := newFixture(t)
		fill(x)
		old := x.foreign()
		x.write("d0/f0", "other")
		x.write("d1/f1", "a longer text")
		x.write("new", "new")
		held(x, 20)
		x.must(x.cat.Close())
		x.open()
		held(x, 20)
		if x.cat.Current() {
			t.Error("what the catalog lacks is told to be gone")
		}
		// The right one comes back: nothing is held any more.
		x.must(os.Rename(x.root, x.root+".other"))
		x.must(os.Rename(old, x.root))
		taken(x)
		x.must(os.Rename(x.root, old))
		x.must(os.Rename(x.root+".other", x.root))
		held(x, 20)
		_, err := x.cat.Approve()
		x.must(err)
		taken(x)
		x.must(os.Remove(filepath.Join(x.root, "new")))
		taken(x)
	})
	t.Run("approval is for what was shown", func(t *testing.T) {
		x := newFixture(t)
		fill(x)
		x.copyOf()
		x.must(os.Remove(filepath.Join(x.root, "d0/f0")))
		held(x, 1)
		_, err := x.cat.Approve()
		x.must(err)
		x.must(os.Remove(filepath.Join(x.root, "d1/f1")))
		held(x, 2)
	})
	t.Run("approved en masse, and once", func(t *testing.T) {
		x := newFixture(t)
		fill(x)
		for i := range 300 {
			x.write(fmt.Sprint("many/", i), "")
		}
		x.scan()
		x.foreign()
		held(x, 320)
		_, err := x.cat.Approve()
		x.must(err)
		taken(x)
	})
	t.Run("a whole copy is taken over", func(t *testing.T) {
		x := newFixture(t)
		fill(x)
		x.copyOf()
		x.write("new", "new")
		taken(x)
		x.must(os.Remove(filepath.Join(x.root, "d0/f0")))
		taken(x)
	})
	t.Run("an older copy is not", func(t *testing.T) {
		x := newFixture(t)
		fill(x)
		x.copyOf()
		x.must(os.Chtimes(filepath.Join(x.root, "d0/f0"), time.Time{}, time.Unix(1e9, 0)))
		held(x, 1)
	})
	t.Run("a copy that cannot be read whole is not", func(t *testing.T) {
		x := newFixture(t)
		fill(x)
		x.copyOf()
		r, err := x.tryScan(func(f *tree.Folder) {
			if f.Path == "d1" {
				f.Entries, f.Err = f.Entries[:1], errors.New("input/output error")
			}
		})
		if x.must(err); r.Held.Why != HeldForeign || r.Held.Files != 3 {
			t.Errorf("scan: %+v", r)
		}
	})
	t.Run("nothing was known", func(t *testing.T) {
		x := newFixture(t)
		x.scan()
		x.foreign()
		x.write("first", "1")
		taken(x)
	})
	t.Run("the first scan was not ended", func(t *testing.T) {
		x := newFixture(t)
		x.write("a", "1")
		src, err := tree.Open(x.root, tree.Options{})
		x.must(err)
		id, _ := src.Identity()
		s, err := x.cat.BeginScan(id)
		x.must(err)
		x.must(src.Walk(context.Background(), s.Folder, nil))
		_, err = s.End(context.Background(), false)
		x.must(err)
		x.foreign()
		x.write("a", "22")
		held(x, 1)
	})
	t.Run("the same files after a reboot", func(t *testing.T) {
		x := newFixture(t)
		fill(x)
		reboot(x)
		x.write("d0/f0", "changed")
		x.write("new", "new")
		x.must(os.Remove(filepath.Join(x.root, "d1/f1")))
		taken(x)
		if got := x.retirees("h"); !slices.Equal(got, []string{"d1/f1"}) {
			t.Errorf("to retire: %q", got)
		}
	})
	t.Run("a mass deletion is one after a reboot as well", func(t *testing.T) {
		x := newFixture(t)
		fill(x)
		for i := range 300 {
			x.write(fmt.Sprint("many/", i), "")
		}
		x.scan()
		reboot(x)
		x.must(os.RemoveAll(filepath.Join(x.root, "many")))
		if r := x.scan(); r.Held.Why == "" || r.Deleted != 0 {
			t.Errorf("scan: %+v", r)
		}
	})
	t.Run("another file system below", func(t *testing.T) {
		x := newFixture(t)
		fill(x)
		mounted := func(f *tree.Folder) { // d0 is on another file system, and what is below it
			for i := range f.Entries {
				if f.Entries[i].Name == "d0" {
					f.Entries[i].Device++
				}
			}
		}
		x.must(os.Rename(filepath.Join(x.root, "d0"), filepath.Join(x.root, "gone")))
		x.must(os.Rename(filepath.Join(x.root, "gone"), x.root+".d0"))
		x.write("d0/f0", "other")
		x.write("d0/new/new", "other")
		before := x.known()
		r, err := x.tryScan(mounted)
		if x.must(err); r.Held.Why != HeldForeign || r.Held.Files != 4 || x.known() != before {
			t.Fatalf("scan: %+v\nbefore:\n%s\nafter:\n%s", r, before, x.known())
		}
		_, err = x.cat.Approve()
		x.must(err)
		r, err = x.tryScan(mounted)
		if x.must(err); r.Held.Why != "" {
			t.Fatalf("scan: %+v", r)
		}
		x.same()
	})
}

// A look at one file takes nothing from a file system that is not the root's: whether that is the one it was is for a scan to say.
func TestObserveOnAnotherFileSystem(t *testing.T) {
	x := newFixture(t)
	x.write("a", "1")
	x.scan()
	before := x.known()
	x.write("a", "changed")
	src, err := tree.Open(x.root, tree.Options{})
	x.must(err)
	now, err := src.Stat(context.Background(), "a")
	x.must(err)
	observe := func() (changed bool) {
		x.must(x.cat.Update(func(tx *Tx) (err error) {
			changed, err = tx.Observe("a", &now)
			return err
		}))
		return changed
	}
	now.Device++
	if observe() || x.known() != before {
		t.Errorf("taken from another file system:\n%s", x.known())
	}
	now.Device--
	if !observe() {
		t.Error("not taken from the root's")
	}
}

// A folder that became a file while deletions are held is not forgotten: what was in it is deleted once that is approved.
func TestHeldBelowWhatBecameAFile(t *testing.T) {
	x := newFixture(t)
	for i := range 150 {
		x.write(fmt.Sprintf("x/f%d", i), "text")
	}
	x.write("y", "1")
	x.scan()
	x.must(os.RemoveAll(filepath.Join(x.root, "x")))
	x.write("x", "file")
	if r := x.scan(); r.Held.Why != HeldMany {
		t.Fatalf("scan: %+v", r)
	}
	if r := x.scan(); r.Held.Why != HeldMany || r.Held.Files < 150 {
		t.Fatalf("scan: %+v", r)
	}
	_, err := x.cat.Approve()
	x.must(err)
	x.scan()
	x.same()
}

func TestPurge(t *testing.T) {
	x := newFixture(t)
	x.write("a/b/c", "1")
	x.write("keep", "1")
	x.scan()
	x.confirmAll("h")
	x.must(os.RemoveAll(filepath.Join(x.root, "a")))
	x.scan()
	later := time.Now().Add(time.Hour)
	x.must(x.cat.Purge(context.Background(), later))
	if got := x.retirees("h"); len(got) != 1 {
		t.Fatalf("a held file was forgotten: %q", got)
	}
	id, _ := x.cat.HolderID(Holder{Host: "h", Location: "disk"})
	x.must(x.cat.Forget(context.Background(), map[HolderID]bool{id: true}))
	x.must(x.cat.Purge(context.Background(), later))
	x.consistent()
	x.must(x.cat.View(func(tx *Tx) error {
		if n := tx.entries.Stats().KeyN; n != 2 { // keep, and the root itself
			t.Errorf("%d entries are left", n)
		}
		if n := tx.folders.Stats().KeyN; n != 0 {
			t.Errorf("%d folders are left", n)
		}
		return nil
	}))
}

func TestWalkPages(t *testing.T) {
	x := newFixture(t)
	var want []string
	for i := range 40 {
		for j := range 37 {
			x.write(fmt.Sprintf("d%02d/e/f%02d", i, j), "")
		}
	}
	x.scan()
	want = x.live()
	if len(want) != 40*39 {
		t.Fatalf("%d entries", len(want))
	}
	// From any place on, the rest follows, and no transaction is open meanwhile.
	for at := 0; at < len(want); at += 131 {
		var got []string
		x.must(x.cat.Walk(context.Background(), "", want[at], func(i Item) bool {
			got = append(got, string(i.Path))
			return true
		}))
		if !slices.Equal(got, want[at+1:]) {
			t.Fatalf("after %q: %d entries, want %d", want[at], len(got), len(want)-at-1)
		}
	}
	var got []string
	x.must(x.cat.Walk(context.Background(), "d07/e", "", func(i Item) bool {
		got = append(got, string(i.Path))
		x.must(x.cat.setState(func(s *state) bool { s.Seq++; return true })) // a writer gets in
		return true
	}))
	if len(got) != 38 || got[0] != "d07/e" || got[37] != "d07/e/f36" {
		t.Fatalf("below d07/e: %q", got)
	}
}

func TestDamagedCatalogIsRefusedAndKept(t *testing.T) {
	x := newFixture(t)
	for i := range 2000 {
		x.write(fmt.Sprintf("f%d", i), "")
	}
	x.scan()
	x.must(x.cat.Close())
	whole, err := os.ReadFile(x.path)
	x.must(err)
	for name, damage := range map[string]func([]byte) []byte{
		"cut short":   func(b []byte) []byte { return b[:len(b)/2] },
		"overwritten": func(b []byte) []byte { copy(b[len(b)/3:], make([]byte, 64<<10)); return b },
		"no catalog":  func([]byte) []byte { return []byte(strings.Repeat("hello", 9999)) },
	} {
		damaged := damage(slices.Clone(whole))
		path := filepath.Join(t.TempDir(), "catalog.db")
		x.must(os.WriteFile(path, damaged, 0o600))
		if _, err := Open(path, Options{}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "moved away") {
			t.Errorf("%s: %v", name, err)
		}
		if kept, _ := os.ReadFile(path); !slices.Equal(kept, damaged) {
			t.Errorf("%s: the bytes were changed", name)
		}
	}
}

func TestCatalogOfAnEarlierFormatIsSetAside(t *testing.T) {
	x := newFixture(t)
	x.write("a", "1")
	x.scan()
	x.must(x.cat.Update(func(tx *Tx) error {
		tx.state.Format, tx.dirty = format-1, true
		return nil
	}))
	old := x.cat.UID()
	x.must(x.cat.Close())
	x.open()
	if x.cat.UID() == old || x.cat.Scanned() {
		t.Error("it was opened as if it were of this format")
	}
	if _, err := os.Stat(x.path + ".older"); err != nil {
		t.Errorf("its bytes are gone: %v", err)
	}
	x.scan()
	x.same()
}

func TestTwoProcesses(t *testing.T) {
	x := newFixture(t)
	if _, err := Open(x.path, Options{}); !errors.Is(err, ErrInUse) {
		t.Fatalf("open again: %v", err)
	}
}
