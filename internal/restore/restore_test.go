package restore_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/xattr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/manifest"
	"clusterbackup/internal/restore"
)

func digestOf(s string) v1.Digest { return sha256.Sum256([]byte(s)) }

func wantTree(t testing.TB, dir string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("tree is not as wanted (-want +got):\n%s", diff)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func folderEntry(path v1.RelPath) manifest.Entry {
	return manifest.Entry{Path: path, Type: manifest.Folder, Mode: 0o2555, ModTime: 1_600_000_000_123456789, UID: 12, GID: 34}
}

func linkEntry(path v1.RelPath, target string) manifest.Entry {
	return manifest.Entry{Path: path, Type: manifest.Symlink, Target: target, ModTime: 1_500_000_000_000000001, UID: 12, GID: 34}
}

func TestWholeTreeComesBackFromSeveralHolders(t *testing.T) {
	c := newCluster(t, "one", "two", "three")
	files := []file{{"a", "in one", 1}, {"d/b", "in two", 2}, {"d/e/c", "in both", 3}, {"new\nline \xff", "odd", 4}, {"-rf", "", 5}}
	other := []manifest.Entry{folderEntry("d"), folderEntry("d/e"), folderEntry("empty"), linkEntry("link", "../outside"), linkEntry("d/loop", "."), {Path: "pipe", Type: manifest.Other}}
	c.holders["one"].put(t, files[0], files[2], files[3])
	c.holders["two"].put(t, files[1], files[2], files[4])
	c.holders["two"].list(t, 1, files[:1]) // an older listing
	c.holders["one"].list(t, 5, files, other...)
	o := c.restore(restore.Options{Owner: os.Geteuid() == 0})
	must(t, o.err)
	wantTree(t, o.to, map[string]string{
		"a": "in one", "d": "folder", "d/b": "in two", "d/e": "folder", "d/e/c": "in both", "new\nline \xff": "odd", "-rf": "",
		"empty": "folder", "link": "-> ../outside", "d/loop": "-> .",
	})
	if o.Restored != 5 || o.Folders != 3 || o.Links != 2 || o.last != (restore.Progress{Files: 5, DoneFiles: 5, Bytes: 22, DoneBytes: 22}) {
		t.Errorf("result %+v, progress %+v", o.Result, o.last)
	}
	for name, want := range map[string]struct {
		mode os.FileMode
		time int64
	}{
		"a":   {0o750 | os.ModeSetuid, files[0].modTime()},
		"d/b": {0o750 | os.ModeSetuid, files[1].modTime()},
		"d":   {0o555 | os.ModeDir | os.ModeSetgid, 1_600_000_000_123456789},
		"d/e": {0o555 | os.ModeDir | os.ModeSetgid, 1_600_000_000_123456789},
	} {
		st, err := os.Lstat(filepath.Join(o.to, name))
		must(t, err)
		if st.Mode() != want.mode || st.ModTime().UnixNano() != want.time {
			t.Errorf("%s: mode %v, time %v; want %v, %v", name, st.Mode(), st.ModTime(), want.mode, time.Unix(0, want.time))
		}
	}
	if st, _ := os.Lstat(filepath.Join(o.to, "link")); st.ModTime().UnixNano() != 1_500_000_000_000000001 {
		t.Errorf("time of the link %v", st.ModTime())
	}
	if value, err := xattr.Get(filepath.Join(o.to, "a"), "user.color"); err == nil && string(value) != "blue" {
		t.Errorf("extended attribute %q", value)
	}

	// Again: everything is there.
	o = c.restore(restore.Options{To: o.to})
	if must(t, o.err); o.Same != 5 || o.Restored != 0 || len(o.items) != 0 {
		t.Errorf("second restore: %+v, %v", o.Result, o.items)
	}
}

func TestPartOfATree(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"d/b", "1", 1}, {"d/e/c", "2", 2}, {"d!", "3", 3}, {"db", "4", 3}}
	c.holders["one"].put(t, files...)
	c.holders["one"].list(t, 3, files, folderEntry("d"), folderEntry("d/e"), folderEntry("d/empty"), folderEntry("x"), linkEntry("x/l", "y"))
	o := c.restore(restore.Options{Path: "d"})
	must(t, o.err)
	wantTree(t, o.to, map[string]string{"d": "folder", "d/b": "1", "d/e": "folder", "d/e/c": "2", "d/empty": "folder"})
	o = c.restore(restore.Options{Path: "d/e/c"})
	must(t, o.err)
	wantTree(t, o.to, map[string]string{"d": "folder", "d/e": "folder", "d/e/c": "2"})
	if st, _ := os.Stat(filepath.Join(o.to, "d/e")); st.Mode().Perm() != 0o555 {
		t.Errorf("mode of a folder on the way: %v", st.Mode())
	}
	err := c.restore(restore.Options{Path: "nothing"}).err
	wantErr(t, err, restore.ErrNotFound)
	if errors.Is(err, restore.ErrDeleted) {
		t.Error(err)
	}
	wantErr(t, c.restore(restore.Options{Path: "../d"}).err, v1.ErrPathDots)
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	c := newCluster(t, "one", "two")
	files := []file{{"here", "1", 1}, {"lost", "2", 2}, {"old", "now", 4}}
	c.holders["one"].put(t, files[0], file{"old", "before", 3})
	c.holders["one"].list(t, 4, files)
	c.holders["two"].noAnswers = true
	o := c.restore(restore.Options{})
	wantErr(t, o.err, restore.ErrIncomplete)
	wantTree(t, o.to, map[string]string{"here": "1", "old": "before"})
	if diff := cmp.Diff(map[string]restore.Outcome{"lost": restore.Lost, "old": restore.Outdated}, o.items); diff != "" {
		t.Error(diff)
	}
	if len(o.Unreachable) != 1 || o.Unreachable[0].Host != "two" {
		t.Errorf("unreachable %v", o.Unreachable)
	}
	c.holders["one"].noAnswers = true
	wantErr(t, c.restore(restore.Options{}).err, restore.ErrNoHolder)
}

func TestCorruptReplicaIsNeverRestored(t *testing.T) {
	c := newCluster(t, "one", "two")
	files := []file{{"rotten", "12345", 1}, {"both", "12345", 1}}
	for _, h := range c.holders {
		h.put(t, files...)
		h.list(t, 1, files)
	}
	rot := func(h v1.HostName, name string) {
		must(t, os.WriteFile(filepath.Join(c.holders[h].Root(), string(source), name), []byte("1x345"), 0o600))
	}
	rot("one", "rotten")
	rot("one", "both")
	rot("two", "both")
	o := c.restore(restore.Options{})
	wantErr(t, o.err, restore.ErrIncomplete)
	wantTree(t, o.to, map[string]string{"rotten": "12345"})
	if o.items["both"] != restore.Failed || o.Failed != 1 || o.Blocked != 0 {
		t.Errorf("said %v", o.items)
	}
}

func TestHolderThatDiesIsReplacedByAnother(t *testing.T) {
	c := newCluster(t, "one", "two")
	var files []file
	for i := range 40 {
		files = append(files, file{v1.RelPath(fmt.Sprintf("d/%d", i)), strings.Repeat("x", i*100), uint64(i + 1)})
	}
	for _, h := range c.holders {
		h.put(t, files...)
		h.list(t, 40, files)
	}
	c.holders["one"].off() // tells what it has, and is gone when the files are to be fetched
	o := c.restore(restore.Options{})
	must(t, o.err)
	if o.Restored != 40 {
		t.Errorf("result %+v", o.Result)
	}
	for _, f := range files {
		if got := tree(t, o.to)[string(f.path)]; got != f.content {
			t.Errorf("%s: %d bytes", f.path, len(got))
		}
	}
}

func TestOverwrite(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"older", "restored", 10}, {"newer", "restored", 10}, {"absent", "restored", 10}}
	c.holders["one"].put(t, files...)
	c.holders["one"].list(t, 10, files, linkEntry("link", "restored"))
	for mode, want := range map[restore.Overwrite]string{
		restore.Never: "mine mine mine", restore.Older: "restored mine mine", restore.Always: "restored restored restored",
	} {
		to := t.TempDir()
		for name, offset := range map[string]time.Duration{"older": -time.Hour, "newer": time.Hour} {
			must(t, os.WriteFile(filepath.Join(to, name), []byte("mine"), 0o600))
			at := time.Unix(0, files[0].modTime()).Add(offset)
			must(t, os.Chtimes(filepath.Join(to, name), at, at))
		}
		must(t, os.Symlink("mine", filepath.Join(to, "link")))
		o := c.restore(restore.Options{To: to, Overwrite: mode})
		must(t, o.err)
		got := tree(t, to)
		if s := got["older"] + " " + got["newer"] + " " + strings.TrimPrefix(got["link"], "-> "); s != want || got["absent"] != "restored" {
			t.Errorf("%s: %q, want %q", mode, s, want)
		}
		if len(got) != 4 {
			t.Errorf("left behind: %v", got)
		}
	}
	if err := c.restore(restore.Options{Overwrite: "perhaps"}).err; err == nil {
		t.Error("an unknown mode is taken")
	}
}

func TestNothingIsWrittenThroughLinksInTheTarget(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"d/f", "1", 1}, {"f", "2", 1}, {"g", "3", 1}}
	c.holders["one"].put(t, files...)
	c.holders["one"].list(t, 1, files, folderEntry("d"))
	to, outside := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("safe"), 0o600))
	must(t, os.Symlink(outside, filepath.Join(to, "d")))
	must(t, os.Symlink(filepath.Join(outside, "victim"), filepath.Join(to, "f")))
	o := c.restore(restore.Options{To: to, Overwrite: restore.Always})
	wantErr(t, o.err, restore.ErrIncomplete)
	wantTree(t, outside, map[string]string{"victim": "safe"})
	if o.items["d/f"] != restore.Failed || o.items["f"] != restore.Failed || tree(t, to)["g"] != "3" {
		t.Errorf("said %v", o.items)
	}
	if o.Blocked != o.Failed {
		t.Errorf("%d of %d failures are the target's", o.Blocked, o.Failed)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"a", "1", 1}, {"b", "2", 2}}
	c.holders["one"].put(t, files[0])
	c.holders["one"].list(t, 2, files)
	to := filepath.Join(t.TempDir(), "none")
	o := c.restore(restore.Options{To: to, DryRun: true})
	wantErr(t, o.err, restore.ErrIncomplete)
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		t.Error("the target was made")
	}
	if o.items["a"] != restore.Planned || o.items["b"] != restore.Lost {
		t.Errorf("said %v", o.items)
	}
}

func TestFilesBeyondTheListing(t *testing.T) {
	c := newCluster(t, "one", "two")
	listed := []file{{"changed", "before", 1}, {"same", "1", 2}}
	h := c.holders["one"]
	h.put(t, file{"deleted", "gone", 1}, listed[0], listed[1])
	h.list(t, 2, listed)
	h.put(t, file{"changed", "after", 3}, file{"new", "fresh", 4})
	o := c.restore(restore.Options{})
	must(t, o.err)
	wantTree(t, o.to, map[string]string{"changed": "after", "same": "1", "new": "fresh"})
	if o.items["deleted"] != restore.Unlisted || o.Unlisted != 1 {
		t.Errorf("of what a holder has beside the listing was said %q", o.items["deleted"])
	}

	// Without any listing there are the files at least, and nobody says that they are all.
	must(t, os.WriteFile(filepath.Join(h.Root(), ".clusterbackup/manifests/photos.jsonl.zst"), []byte("damaged"), 0o600))
	o = c.restore(restore.Options{})
	wantErr(t, o.err, restore.ErrIncomplete)
	wantTree(t, o.to, map[string]string{"changed": "after", "same": "1", "new": "fresh", "deleted": "gone"})
	if o.items["deleted"] != "" || !o.Listed.IsZero() {
		t.Errorf("listed %v", o.Listed)
	}
}

func TestEarlierTime(t *testing.T) {
	c := newCluster(t, "one", "two")
	for _, h := range c.holders {
		h.put(t, file{"a", "first", 1}, file{"b", "only", 1}, file{"gone", "was here", 1})
	}
	early := time.Now()
	// Versions are told apart by the second: the next one is not current before it began.
	for !time.Now().After(early.Truncate(time.Second).Add(time.Second)) {
		time.Sleep(10 * time.Millisecond)
	}
	second := file{"a", "second", uint64(time.Since(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).Hours()) + 1}
	files := []file{second, {"b", "only", 1}}
	for _, h := range c.holders {
		h.put(t, second)
		errs, err := h.Retire(t.Context(), source, []v1.RelPath{"gone"}, time.Hour, nil)
		must(t, errors.Join(err, errors.Join(errs...)))
		h.list(t, second.seq, files)
	}
	wantErr(t, c.restore(restore.Options{Path: "gone"}).err, restore.ErrDeleted)
	o := c.restore(restore.Options{})
	must(t, o.err)
	wantTree(t, o.to, map[string]string{"a": "second", "b": "only"})
	o = c.restore(restore.Options{At: early})
	must(t, o.err)
	wantTree(t, o.to, map[string]string{"a": "first", "b": "only", "gone": "was here"})
	o = c.restore(restore.Options{At: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)})
	wantErr(t, o.err, restore.ErrNotFound)
	wantTree(t, o.to, map[string]string{})
	o = c.restore(restore.Options{At: early, Path: "gone"})
	must(t, o.err)
	wantTree(t, o.to, map[string]string{"gone": "was here"})
}

// TestTargetGetsTheRootsAttributes: of a folder that was empty; somebody's own stays as it is.
func TestTargetGetsTheRootsAttributes(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"a", "1", 1}, {"d/b", "2", 2}}
	c.holders["one"].put(t, files...)
	c.holders["one"].list(t, 2, files, folderEntry("d"))
	root := func(dir string) (uint32, int64) {
		t.Helper()
		st, err := os.Stat(dir)
		must(t, err)
		return uint32(st.Mode().Perm()), st.ModTime().UnixNano()
	}
	o := c.restore(restore.Options{})
	must(t, o.err)
	if mode, modTime := root(o.to); mode != rootEntry.Mode || modTime != rootEntry.ModTime {
		t.Errorf("target has %o, %d", mode, modTime)
	}
	theirs := t.TempDir()
	must(t, os.WriteFile(filepath.Join(theirs, "mine"), nil, 0o600))
	must(t, os.Chmod(theirs, 0o711))
	for _, opts := range []restore.Options{{To: theirs}, {Path: "d"}} {
		o = c.restore(opts)
		must(t, o.err)
		if mode, modTime := root(o.to); mode == rootEntry.Mode || modTime == rootEntry.ModTime {
			t.Errorf("%+v: target has %o, %d", opts, mode, modTime)
		}
	}
}

// TestFoldersAndLinksOfLaterStayAway: of what holds no files only the present is listed, and its times tell whether it is too young.
func TestFoldersAndLinksOfLaterStayAway(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"changed/f", "1", 1}}
	c.holders["one"].put(t, files...)
	later := func(e manifest.Entry) manifest.Entry {
		e.ModTime = time.Now().Add(time.Hour).UnixNano()
		return e
	}
	c.holders["one"].list(t, 1, files, later(folderEntry("changed")), folderEntry("empty"), linkEntry("link", "f"), later(folderEntry("new")), later(linkEntry("newlink", "f")))
	o := c.restore(restore.Options{At: time.Now().Add(time.Minute)})
	must(t, o.err)
	wantTree(t, o.to, map[string]string{"changed": "folder", "changed/f": "1", "empty": "folder", "link": "-> f"})
}

// TestRestoredMeansDurable: success is said after the file systems that were written to are durable, and not when they can't be.
func TestRestoredMeansDurable(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"d/f", "1", 1}, {"g", "2", 1}}
	c.holders["one"].put(t, files...)
	c.holders["one"].list(t, 1, files, folderEntry("d"))
	broken := errors.New("disk")
	var opts restore.Options
	opts.SyncWith(func(*os.File) (bool, error) { return true, broken })
	wantErr(t, c.restore(opts).err, broken)

	synced := 0
	opts.SyncWith(func(at *os.File) (bool, error) {
		for path, want := range map[string]string{"d/f": "1", "g": "2"} {
			if got, err := os.ReadFile(filepath.Join(at.Name(), path)); err != nil || string(got) != want {
				t.Errorf("%s is %q when all is made durable, %v", path, got, err)
			}
		}
		synced++
		return true, nil
	})
	must(t, c.restore(opts).err)
	if synced != 1 {
		t.Errorf("one file system was made durable %d times", synced)
	}
	// Where that cannot be done at once, it is done one by one.
	opts.SyncWith(func(*os.File) (bool, error) { return false, nil })
	must(t, c.restore(opts).err)
}
