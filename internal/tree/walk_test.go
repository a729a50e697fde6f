package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"clusterbackup/internal/tree"
	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"
)

// seen is what a walk told, by path; folders' own listings under their path.
type seen struct {
	mu       sync.Mutex
	entries  map[string]tree.Entry
	folders  map[string]error
	problems map[string]tree.Problem
	handles  map[string]uint64
}

func walk(t *testing.T, tr *tree.Tree) *seen {
	t.Helper()
	s, err := tryWalk(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryWalk(ctx context.Context, tr *tree.Tree) (*seen, error) {
	s := &seen{entries: map[string]tree.Entry{}, folders: map[string]error{}, problems: map[string]tree.Problem{}, handles: map[string]uint64{"": 0}}
	err := tr.Walk(ctx, s.visit, func(p tree.Problem) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.problems[p.Path] = p
	})
	return s, err
}

func (s *seen) visit(_ context.Context, f *tree.Folder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.folders[f.Path]; twice {
		return fmt.Errorf("%q visited twice", f.Path)
	}
	if want, known := s.handles[f.Path]; !known || f.Handle != want {
		return fmt.Errorf("%q has handle %d, want %d", f.Path, f.Handle, want)
	}
	s.folders[f.Path] = f.Err
	if !slices.IsSortedFunc(f.Entries, func(a, b tree.Entry) int { return strings.Compare(a.Name, b.Name) }) {
		return fmt.Errorf("%q is not sorted", f.Path)
	}
	for i := range f.Entries {
		path := strings.TrimPrefix(f.Path+"/"+f.Entries[i].Name, "/")
		if f.Entries[i].Kind == tree.KindFolder {
			f.Entries[i].Handle = uint64(len(s.handles))
			s.handles[path] = f.Entries[i].Handle
		}
		s.entries[path] = f.Entries[i]
	}
	return nil
}

func (s *seen) paths() []string { return slices.Sorted(maps.Keys(s.entries)) }

func open(t *testing.T, root string, opts tree.Options) *tree.Tree {
	t.Helper()
	tr, err := tree.Open(root, opts)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWalkListsEveryKindWithItsAttributes(t *testing.T) {
	root := t.TempDir()
	put(t, root+"/a/file", "hello")
	must(t, unix.Chmod(root+"/a/file", 0o4751))
	must(t, os.Link(root+"/a/file", root+"/a/twin"))
	must(t, os.Mkdir(root+"/empty", 0o700))
	must(t, os.Symlink("a/\xffile\n", root+"/link"))
	must(t, unix.Mkfifo(root+"/fifo", 0o600))
	l, err := net.Listen("unix", root+"/socket")
	must(t, err)
	defer l.Close()

	s := walk(t, open(t, root, tree.Options{OneFileSystem: true}))
	if got, want := s.paths(), []string{"a", "a/file", "a/twin", "empty", "fifo", "link", "socket"}; !slices.Equal(got, want) {
		t.Fatalf("listed %q, want %q", got, want)
	}
	if got := slices.Sorted(maps.Keys(s.folders)); !slices.Equal(got, []string{"", "a", "empty"}) {
		t.Errorf("visited %q", got)
	}
	file := s.entries["a/file"]
	info, err := os.Lstat(root + "/a/file")
	must(t, err)
	st := info.Sys().(*syscall.Stat_t)
	want := tree.Entry{Name: "file", Kind: tree.KindFile, Size: 5, ModTime: info.ModTime().UnixNano(), ChangeTime: file.ChangeTime,
		Inode: st.Ino, Device: uint64(st.Dev), Mode: 0o4751, UID: st.Uid, GID: st.Gid, Links: 2}
	if file != want || file.ChangeTime < file.ModTime {
		t.Errorf("file is\n%+v, want\n%+v", file, want)
	}
	if twin := s.entries["a/twin"]; twin.Inode != file.Inode || twin.Kind != tree.KindFile {
		t.Errorf("hard link is %+v", twin)
	}
	if link := s.entries["link"]; link.Kind != tree.KindSymlink || link.Target != "a/\xffile\n" {
		t.Errorf("symlink is %+v", link)
	}
	for name, why := range map[string]string{"fifo": "fifo", "socket": "socket"} {
		if e := s.entries[name]; e.Kind != tree.KindOther || e.Skipped != why {
			t.Errorf("%s is %+v", name, e)
		}
		if p := s.problems[name]; p.Reason != tree.ReasonSkipped || !errors.Is(p.Err, tree.ErrSkipped) {
			t.Errorf("%s is reported as %+v", name, p)
		}
	}
	if len(s.problems) != 2 {
		t.Errorf("problems: %v", s.problems)
	}
}

func TestWalkKeepsNamesAsBytes(t *testing.T) {
	root := t.TempDir()
	names := []string{"\xff\xfe", "new\nline", strings.Repeat("x", 255), "-rf", " ", "*", "a\\b", "\x01", "ü"}
	for _, name := range names {
		put(t, root+"/"+name, name)
		put(t, root+"/d"+name[1:]+"/"+name, name)
	}
	s := walk(t, open(t, root, tree.Options{}))
	for _, name := range names {
		for _, path := range []string{name, "d" + name[1:] + "/" + name} {
			if e := s.entries[path]; e.Kind != tree.KindFile || e.Size != int64(len(name)) {
				t.Errorf("%q is %+v", path, e)
			}
		}
	}
}

// deep makes a chain of folders far longer than PATH_MAX with one file at its end, and returns the file's path below root.
func deep(t *testing.T, root string, depth int) string {
	t.Helper()
	name := strings.Repeat("d", 100)
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for range depth {
		must(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	file, err := unix.Openat(fd, "end", unix.O_CREAT|unix.O_WRONLY, 0o644)
	must(t, err)
	_, err = unix.Write(file, []byte("deep"))
	must(t, err)
	unix.Close(file)
	unix.Close(fd)
	return strings.Repeat(name+"/", depth) + "end"
}

func TestWalkGoesDeeperThanPathMaxAndThanDescriptorsHeld(t *testing.T) {
	root := t.TempDir()
	path := deep(t, root, 300)
	s := walk(t, open(t, root, tree.Options{}))
	if len(path) < 4*4096 || s.entries[path].Size != 4 || len(s.folders) != 301 {
		t.Fatalf("file at %d bytes: %+v, %d folders", len(path), s.entries[path], len(s.folders))
	}
}

func TestWalkLeavesNoDescriptorOpen(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("needs /proc")
	}
	root := t.TempDir()
	for i := range 50 {
		put(t, fmt.Sprintf("%s/%d/%d/f", root, i%7, i), "x")
	}
	tr := open(t, root, tree.Options{})
	count := func() int { fds, err := os.ReadDir("/proc/self/fd"); must(t, err); return len(fds) }
	before := count()
	walk(t, tr)
	ctx, cancel := context.WithCancel(t.Context())
	stop := errors.New("stop")
	if err := tr.Walk(ctx, func(_ context.Context, f *tree.Folder) error {
		if f.Path != "" {
			return stop
		}
		return nil
	}, nil); !errors.Is(err, stop) {
		t.Errorf("walk that the visitor stops: %v", err)
	}
	if err := tr.Walk(ctx, func(context.Context, *tree.Folder) error { cancel(); return nil }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled walk: %v", err)
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

func TestWalkNeverFollowsLinksOut(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	put(t, outside+"/secret", "secret")
	must(t, os.Symlink(outside, root+"/link"))
	tr := open(t, root, tree.Options{})
	s := walk(t, tr)
	if got := s.paths(); !slices.Equal(got, []string{"link"}) {
		t.Errorf("listed %q", got)
	}
	if _, err := tr.Stat(t.Context(), "link/secret"); !errors.Is(err, tree.ErrGone) {
		t.Errorf("stat through a link: %v", err)
	}
	if _, err := tr.Digest(t.Context(), "link/secret", tree.Entry{}); !errors.Is(err, tree.ErrGone) {
		t.Errorf("digest through a link: %v", err)
	}
}

// A folder swapped for a link to elsewhere between its listing and its being entered is not entered.
func TestFolderSwappedForLinkDuringWalk(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	put(t, outside+"/secret", "secret")
	put(t, root+"/swap/mine", "mine")
	s := &seen{entries: map[string]tree.Entry{}, folders: map[string]error{}, handles: map[string]uint64{"": 0}}
	err := open(t, root, tree.Options{Workers: 1}).Walk(t.Context(), func(ctx context.Context, f *tree.Folder) error {
		if f.Path == "" {
			must(t, os.Rename(root+"/swap", root+"/was"))
			must(t, os.Symlink(outside, root+"/swap"))
		}
		return s.visit(ctx, f)
	}, nil)
	must(t, err)
	if _, leaked := s.entries["swap/secret"]; leaked || !errors.Is(s.folders["swap"], tree.ErrGone) {
		t.Errorf("entered the link: %q, %v", s.paths(), s.folders["swap"])
	}
}

func TestExcludedIsAbsent(t *testing.T) {
	root := t.TempDir()
	for _, p := range []string{"a.tmp", "keep.tmp", "cache/x", "sub/cache/y", "sub/b.tmp", "logs/a", "logs/keep", "build"} {
		put(t, root+"/"+p, "x")
	}
	tr := open(t, root, tree.Options{Exclude: []string{"# comment", "*.tmp", "!keep.tmp", "/cache/", "logs/*", "!logs/keep", "build/"}})
	s := walk(t, tr)
	want := []string{"build", "keep.tmp", "logs", "logs/keep", "sub", "sub/cache", "sub/cache/y"}
	if got := s.paths(); !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	if _, err := tr.Stat(t.Context(), "cache/x"); !errors.Is(err, tree.ErrGone) {
		t.Errorf("stat below an excluded folder: %v", err)
	}
	if _, visited := s.folders["cache"]; visited {
		t.Error("excluded folder was entered")
	}
}

func TestRootMissingReplacedOrNoFolder(t *testing.T) {
	base := t.TempDir()
	if _, err := tree.Open(base+"/none", tree.Options{}); !errors.Is(err, tree.ErrRootMissing) {
		t.Errorf("missing root: %v", err)
	}
	put(t, base+"/file", "x")
	if _, err := tree.Open(base+"/file", tree.Options{}); !errors.Is(err, tree.ErrRootNotFolder) {
		t.Errorf("root is a file: %v", err)
	}
	put(t, base+"/tree/f", "x")
	tr := open(t, base+"/tree", tree.Options{})
	must(t, os.Rename(base+"/tree", base+"/away"))
	if _, err := tryWalk(t.Context(), tr); !errors.Is(err, tree.ErrRootMissing) {
		t.Errorf("walk of a root that went: %v", err)
	}
	if _, err := tr.Stat(t.Context(), "f"); !errors.Is(err, tree.ErrRootMissing) || errors.Is(err, tree.ErrGone) {
		t.Errorf("stat below a root that went: %v", err)
	}
	must(t, os.Mkdir(base+"/tree", 0o755))
	for name, try := range map[string]func() error{
		"walk":     func() error { _, err := tryWalk(t.Context(), tr); return err },
		"stat":     func() error { _, err := tr.Stat(t.Context(), "f"); return err },
		"digest":   func() error { _, err := tr.Digest(t.Context(), "f", tree.Entry{}); return err },
		"identity": func() error { _, err := tr.Identity(); return err },
	} {
		if err := try(); !errors.Is(err, tree.ErrRootChanged) || errors.Is(err, tree.ErrGone) {
			t.Errorf("%s with another folder in the root's place: %v", name, err)
		}
	}
}

// A root that goes away while it is walked makes the walk fail, however much was listed.
func TestRootReplacedDuringWalk(t *testing.T) {
	base := t.TempDir()
	put(t, base+"/tree/a/f", "x")
	err := open(t, base+"/tree", tree.Options{}).Walk(t.Context(), func(_ context.Context, f *tree.Folder) error {
		if f.Path == "a" {
			must(t, os.Rename(base+"/tree", base+"/away"))
			must(t, os.Mkdir(base+"/tree", 0o755))
		}
		return nil
	}, nil)
	if !errors.Is(err, tree.ErrRootChanged) {
		t.Errorf("walk: %v", err)
	}
}

func TestXattrs(t *testing.T) {
	root := t.TempDir()
	put(t, root+"/f", "x")
	put(t, root+"/plain", "x")
	if err := xattr.Set(root+"/f", "user.note", []byte("a\x00b")); err != nil {
		t.Skipf("file system without extended attributes: %v", err)
	}
	must(t, open(t, root, tree.Options{}).Walk(t.Context(), func(_ context.Context, f *tree.Folder) error {
		attrs, err := f.Xattrs(0)
		must(t, err)
		if !bytes.Equal(attrs["user.note"], []byte("a\x00b")) || len(attrs) != 1 {
			t.Errorf("attributes %q", attrs)
		}
		attrs, err = f.Xattrs(1)
		if err != nil || len(attrs) != 0 {
			t.Errorf("attributes of a plain file %q, %v", attrs, err)
		}
		return nil
	}, nil))
}
