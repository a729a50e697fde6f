package location

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

const (
	cluster = "cluster-uid"
	photos  = v1.SourceName("photos")
)

var mtime = time.Date(2024, 1, 2, 3, 4, 5, 123456789, time.UTC).UnixNano()

// home is a host's disk and state.
type home struct {
	testing.TB
	cfg Config
}

func newHome(t testing.TB) *home {
	dir := t.TempDir()
	return &home{TB: t, cfg: Config{
		Root: filepath.Join(dir, "loc"), Name: "usb", ClusterUID: cluster, IndexDir: filepath.Join(dir, "state", "locations"), Init: true, ManualRebuild: true,
	}}
}

func (h *home) open() *Location {
	h.Helper()
	l, err := Open(h.cfg)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { l.Close() })
	return l
}

// openAfterCrash opens a location that was not closed: what the index says is right already, and is believed once that was looked at.
func (h *home) openAfterCrash() *Location {
	h.Helper()
	l := h.open()
	found, err := l.Rebuild(context.Background(), nil)
	if err != nil || found.Hashed+found.Removed != 0 {
		h.Errorf("after a crash the index is other than the files: %+v, %v", found, err)
	}
	return l
}

func (h *home) reopen(l *Location) *Location {
	h.Helper()
	if err := l.Close(); err != nil {
		h.Fatal(err)
	}
	return h.open()
}

// file is content at a path, of a generation.
type file struct {
	path    v1.RelPath
	content string
	seq     uint64
}

func (f file) incoming() Incoming {
	return Incoming{Path: f.path, Gen: v1.Generation{Epoch: 7, Seq: f.seq}, Size: int64(len(f.content)), ModTime: mtime + int64(f.seq), Mode: 0o640}
}

// stage puts the files where rsync would.
func stage(t testing.TB, b *Batch, files ...file) (all []Incoming) {
	t.Helper()
	for _, f := range files {
		name := filepath.Join(b.Dir(), string(f.path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(f.content), 0o640); err != nil {
			t.Fatal(err)
		}
		in := f.incoming()
		if err := os.Chtimes(name, time.Time{}, time.Unix(0, in.ModTime)); err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	return all
}

// put publishes the files and fails the test if any can't be.
func put(t testing.TB, l *Location, files ...file) {
	t.Helper()
	for i, p := range tryPut(t, l, files...) {
		if p.Err != nil {
			t.Fatalf("publish %q: %v", files[i].path, p.Err)
		}
		if want := v1.Digest(sha256.Sum256([]byte(files[i].content))); p.Record.Digest != want {
			t.Fatalf("publish %q: digest %v, want %v", files[i].path, p.Record.Digest, want)
		}
	}
}

func tryPut(t testing.TB, l *Location, files ...file) []Published {
	t.Helper()
	b, err := l.Begin(context.Background(), photos, BatchOptions{KeepVersions: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.Publish(context.Background(), stage(t, b, files...))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// audit checks what must hold of every location at rest: each record has its bytes, each file its record, counts are right, partial is
// empty but for what can be resumed.
func audit(t testing.TB, l *Location) {
	t.Helper()
	onDisk := map[string]string{}
	err := filepath.WalkDir(l.Root(), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		onDisk[strings.TrimPrefix(p, l.Root()+"/")] = string(data)
		return err
	})
	fatalIf(t, err)
	var sum totals
	sources, err := l.Sources()
	fatalIf(t, err)
	for _, source := range sources {
		var part totals
		for rec, err := range l.Records(source, "") {
			fatalIf(t, err)
			checkContent(t, onDisk, string(source)+"/"+string(rec.Path), rec)
			part.addReplica(&rec)
		}
		for v, err := range l.Versions(source, "") {
			fatalIf(t, err)
			checkContent(t, onDisk, v.Name, v.Record)
			part.addVersion(&v)
		}
		held, err := l.Held(source)
		fatalIf(t, err)
		if held != (Held{part.replicas, part.replicaBytes, part.versions, part.versionBytes}) {
			t.Errorf("source %s: counted %+v, is %+v", source, held, part)
		}
		sum.add(part)
	}
	if l.space.held != sum {
		t.Errorf("counted %+v, is %+v", l.space.held, sum)
	}
	for name := range onDisk {
		if name != identityFile && name != lockFile && name != closedFile && !strings.HasPrefix(name, sumsRoot) && !strings.HasPrefix(name, manifestsRoot) && !strings.HasPrefix(name, partialRoot+"/"+resumePrefix) {
			t.Errorf("file %q has no record", name)
		}
	}
	l.db.View(func(tx *bbolt.Tx) error {
		if n := tx.Bucket(bucketIntents).Stats().KeyN; n != 0 {
			t.Errorf("%d intents are left", n)
		}
		return nil
	})
}

func checkContent(t testing.TB, onDisk map[string]string, name string, rec Record) {
	t.Helper()
	content, there := onDisk[name]
	delete(onDisk, name)
	if !there {
		t.Errorf("record of %q has no file", name)
	} else if v1.Digest(sha256.Sum256([]byte(content))) != rec.Digest || int64(len(content)) != rec.Size {
		t.Errorf("file %q is not what its record says", name)
	}
}

func contentOf(t testing.TB, l *Location, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(l.Root(), path))
	fatalIf(t, err)
	return string(data)
}

func versionsOf(t testing.TB, l *Location, prefix string) (all []Version) {
	t.Helper()
	for v, err := range l.Versions(photos, prefix) {
		fatalIf(t, err)
		all = append(all, v)
	}
	return all
}

func recordsOf(t testing.TB, l *Location, prefix string) (paths []string) {
	t.Helper()
	for rec, err := range l.Records(photos, prefix) {
		fatalIf(t, err)
		paths = append(paths, string(rec.Path))
	}
	return paths
}

func TestPublishedFileIsPlainAndKeepsTimesAndMode(t *testing.T) {
	l := newHome(t).open()
	put(t, l, file{"2024/a.jpg", "hello", 3}, file{"b", "", 4})
	if got := contentOf(t, l, "photos/2024/a.jpg"); got != "hello" {
		t.Errorf("content %q", got)
	}
	st, err := os.Stat(filepath.Join(l.SourceDir(photos), "2024/a.jpg"))
	fatalIf(t, err)
	if st.ModTime().UnixNano() != mtime+3 || st.Mode().Perm() != 0o640 {
		t.Errorf("time %v, mode %v", st.ModTime(), st.Mode())
	}
	rec, held, err := l.Get(photos, "2024/a.jpg")
	if err != nil || !held || rec.Gen != (v1.Generation{Epoch: 7, Seq: 3}) || rec.Size != 5 {
		t.Errorf("record %+v, held %v, error %v", rec, held, err)
	}
	if gen, _ := l.Highest(photos); gen.Seq != 4 {
		t.Errorf("highest generation %v", gen)
	}
	top, err := os.Stat(l.SourceDir(photos))
	fatalIf(t, err)
	if top.Mode().Perm() != 0o700 {
		t.Errorf("mode of the source's folder %v", top.Mode())
	}
	audit(t, l)
}

func TestEveryKindOfNameIsKept(t *testing.T) {
	l := newHome(t).open()
	long := strings.Repeat("n", 255)
	deep := strings.Repeat("deep/", 700) + "x" // beyond PATH_MAX
	names := []v1.RelPath{"a b", "new\nline", "\xff\xfe", "-rf", "a:b", "*", v1.RelPath(long), v1.RelPath("d/" + long), "d~20261122T150405Z", `back\slash`}
	var files []file
	for i, n := range names {
		files = append(files, file{n, fmt.Sprint("content ", i), uint64(i + 1)})
	}
	put(t, l, files...)
	for i := range files { // and as versions
		files[i].content += "!"
	}
	put(t, l, files...)
	audit(t, l)
	if n := len(versionsOf(t, l, "")); n != len(names) {
		t.Errorf("%d versions, want %d", n, len(names))
	}
	for _, v := range versionsOf(t, l, long) {
		if len(filepath.Base(v.Name)) > 255 || string(v.Path) != long {
			t.Errorf("version %q of %q", v.Name, v.Path)
		}
	}
	b, err := l.Begin(t.Context(), photos, BatchOptions{})
	fatalIf(t, err)
	defer b.Close()
	at, err := l.top.Ensure(beneath.Join(partialRoot, b.name, strings.TrimSuffix(deep, "/x")), 0o755, func(string) {})
	fatalIf(t, err)
	defer at.Close()
	put, err := b.Publish(t.Context(), []Incoming{{Path: v1.RelPath(deep), Size: 1}})
	if err != nil || !errors.Is(put[0].Err, ErrVanished) {
		t.Errorf("deep path: %v, %v", put, err)
	}
}

func TestWhatDidNotArriveWholeIsNotPublished(t *testing.T) {
	l := newHome(t).open()
	b, err := l.Begin(t.Context(), photos, BatchOptions{})
	fatalIf(t, err)
	in := stage(t, b, file{"short", "12", 1}, file{"late", "1", 1}, file{"good", "1", 1})
	in[0].Size = 3
	in[1].ModTime++
	fatalIf(t, os.Symlink("/etc/passwd", filepath.Join(b.Dir(), "link")))
	fatalIf(t, os.Mkdir(filepath.Join(b.Dir(), "out"), 0o755))
	fatalIf(t, os.WriteFile(filepath.Join(l.Root(), "outside"), []byte("x"), 0o600))
	fatalIf(t, os.Symlink(l.Root(), filepath.Join(b.Dir(), "planted")))
	in = append(in, Incoming{Path: "link"}, Incoming{Path: "gone"}, Incoming{Path: "../x"}, Incoming{Path: "/x"}, Incoming{Path: "planted/outside", Size: 1}, in[2])
	out, err := b.Publish(t.Context(), in)
	fatalIf(t, err)
	for i, want := range []error{ErrChanged, ErrChanged, nil, ErrNotRegular, ErrVanished, v1.ErrPathDots, v1.ErrPathAbsolute, ErrVanished, ErrVanished} {
		if !errors.Is(out[i].Err, want) {
			t.Errorf("%q: error %v, want %v", in[i].Path, out[i].Err, want)
		}
	}
	fatalIf(t, b.Close())
	fatalIf(t, os.Remove(filepath.Join(l.Root(), "outside")))
	if got := recordsOf(t, l, ""); len(got) != 1 || got[0] != "good" {
		t.Errorf("held %q", got)
	}
	audit(t, l)
}

func TestReplacedFileBecomesAVersion(t *testing.T) {
	h := newHome(t)
	l := h.open()
	put(t, l, file{"d/a", "old", 1})
	put(t, l, file{"d/a", "newer", 2})
	put(t, l, file{"d/a", "newer", 3}) // the same bytes: nothing is lost
	vs := versionsOf(t, l, "d/a")
	if len(vs) != 1 || contentOf(t, l, vs[0].Name) != "old" || vs[0].Gen.Seq != 1 || vs[0].Reason != Replaced {
		t.Fatalf("versions %+v", vs)
	}
	if want := ".clusterbackup/versions/photos/d/a~" + vs[0].Since.UTC().Format("20060102T150405Z"); vs[0].Name != want {
		t.Errorf("version is at %q, want %q", vs[0].Name, want)
	}
	audit(t, h.reopen(l))
}

func TestFileAndFolderMayTakeEachOthersName(t *testing.T) {
	l := newHome(t).open()
	put(t, l, file{"x", "file", 1}, file{"y/1", "one", 1}, file{"y/2/3", "three", 1})
	put(t, l, file{"x/below", "below", 2}, file{"y", "file now", 2})
	audit(t, l)
	if got := contentOf(t, l, "photos/x/below") + contentOf(t, l, "photos/y"); got != "belowfile now" {
		t.Errorf("content %q", got)
	}
	if n := len(versionsOf(t, l, "")); n != 3 {
		t.Errorf("%d versions, want 3", n)
	}
	// And their versions too: a folder named like a version of a file.
	stamp := filepath.Base(versionsOf(t, l, "x")[0].Name)
	put(t, l, file{v1.RelPath(stamp + "/in"), "1", 3})
	put(t, l, file{v1.RelPath(stamp + "/in"), "2", 4})
	audit(t, l)
	if n := len(versionsOf(t, l, stamp)); n != 1 {
		t.Errorf("%d versions, want 1", n)
	}
}

func TestStrangerUnderTheNameIsKept(t *testing.T) {
	l := newHome(t).open()
	put(t, l, file{"a", "1", 1})
	fatalIf(t, os.WriteFile(filepath.Join(l.SourceDir(photos), "b"), []byte("stranger"), 0o600))
	put(t, l, file{"b", "replica", 2})
	vs := versionsOf(t, l, "b")
	if len(vs) != 1 || vs[0].Reason != Stray || contentOf(t, l, vs[0].Name) != "stranger" {
		t.Errorf("versions %+v", vs)
	}
	audit(t, l)
}

// TestWhatIsOnlyAddedReplacesNothing: neither a replica, nor one that is lost from the disk, nor a stranger, file or folder.
func TestWhatIsOnlyAddedReplacesNothing(t *testing.T) {
	l := newHome(t).open()
	put(t, l, file{"held", "1", 9}, file{"lost", "1", 9}, file{"folder/in", "1", 9}, file{"file", "1", 9})
	fatalIf(t, os.Remove(filepath.Join(l.SourceDir(photos), "lost")))
	fatalIf(t, os.WriteFile(filepath.Join(l.SourceDir(photos), "stranger"), []byte("stranger"), 0o600))
	b, err := l.Begin(t.Context(), photos, BatchOptions{AddOnly: true})
	fatalIf(t, err)
	in := stage(t, b, file{"held", "2", 1}, file{"lost", "2", 1}, file{"folder", "2", 1}, file{"file/below", "2", 1}, file{"stranger", "2", 1}, file{"new/one", "2", 1}, file{"wrong", "3", 1})
	for i := range in {
		in[i].Gen, in[i].Digest = v1.Generation{}, sha256.Sum256([]byte("2"))
	}
	out, err := b.Publish(t.Context(), in)
	fatalIf(t, err)
	fatalIf(t, b.Close())
	for i, want := range []error{ErrTaken, ErrTaken, ErrTaken, ErrTaken, ErrTaken, nil, ErrDigest} {
		if !errors.Is(out[i].Err, want) {
			t.Errorf("%q: error %v, want %v", in[i].Path, out[i].Err, want)
		}
	}
	if got := recordsOf(t, l, ""); !slices.Equal(got, []string{"file", "held", "lost", "folder/in", "new/one"}) || len(versionsOf(t, l, "")) != 0 {
		t.Errorf("held %q, versions %+v", got, versionsOf(t, l, ""))
	}
	for path, want := range map[string]string{"held": "1", "folder/in": "1", "file": "1", "stranger": "stranger", "new/one": "2"} {
		if got := contentOf(t, l, "photos/"+path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if _, err := os.Lstat(filepath.Join(l.SourceDir(photos), "wrong")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what has other bytes than announced has a name: %v", err)
	}
	if g, _ := l.Highest(photos); g.Seq != 9 {
		t.Errorf("highest %v", g)
	}
}

func TestSymbolicLinkInTheLocationIsNotFollowed(t *testing.T) {
	h := newHome(t)
	l := h.open()
	put(t, l, file{"a", "1", 1})
	elsewhere := t.TempDir()
	fatalIf(t, os.Symlink(elsewhere, filepath.Join(l.SourceDir(photos), "dir")))
	if out := tryPut(t, l, file{"dir/x", "1", 2}); out[0].Err == nil {
		t.Error("published through a symbolic link")
	}
	entries, err := os.ReadDir(elsewhere)
	fatalIf(t, err)
	if len(entries) != 0 {
		t.Errorf("written outside: %v", entries)
	}
}
