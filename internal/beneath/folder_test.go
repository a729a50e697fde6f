package beneath

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// room is a folder that is open, with another one beside it that must not be reached.
func room(t *testing.T) (dir string, top Folder) {
	t.Helper()
	dir = t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "in/a/b"), 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, "out/b"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "out/b/secret"), []byte("secret"), 0o644))
	must(t, os.Symlink("../out", filepath.Join(dir, "in/away")))
	must(t, os.Symlink("a", filepath.Join(dir, "in/inside")))
	must(t, os.Symlink("../../out/b/secret", filepath.Join(dir, "in/a/link")))
	top, err := OpenFolder(filepath.Join(dir, "in"))
	must(t, err)
	t.Cleanup(top.Close)
	return filepath.Join(dir, "in"), top
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoLinkIsFollowed(t *testing.T) {
	dir, top := room(t)
	for _, path := range []string{"away", "away/b", "inside", "inside/b", "a/link", "..", "../out", "a/../../out"} {
		if at, err := top.Open(path); err == nil {
			at.Close()
			t.Errorf("opened %q", path)
		}
		if fd, ok := AtOnce(top.FD(), path, false); ok {
			unix.Close(fd)
			t.Errorf("opened %q at once", path)
		}
		if at, err := top.Ensure(path+"/new", 0o755, func(string) {}); err == nil {
			at.Close()
			t.Errorf("made a folder below %q", path)
		}
	}
	a, err := top.Open("a")
	must(t, err)
	defer a.Close()
	if fd, err := a.OpenFile("link"); err == nil {
		unix.Close(fd)
		t.Error("opened the file behind a link")
	}
	if _, _, err := a.OpenRegular("link"); !errors.Is(err, ErrNotRegular) {
		t.Errorf("open a link as a file: %v", err)
	}
	if fd, err := a.Create("link", 0o600); err == nil {
		unix.Close(fd)
		t.Error("wrote to the file behind a link")
	}
	must(t, top.RemoveTree("away"))
	must(t, top.RemoveTree("a"))
	if got, err := os.ReadFile(filepath.Join(dir, "../out/b/secret")); string(got) != "secret" {
		t.Errorf("beside the folder: %q, %v", got, err)
	}
}

func TestWhatIsInTheWayIsNamed(t *testing.T) {
	dir, top := room(t)
	must(t, os.WriteFile(filepath.Join(dir, "a/file"), nil, 0o644))
	for path, want := range map[string]string{"a/file/c/d": "a/file", "away/c": "away", "a/link/c": "a/link"} {
		var inWay *InTheWayError
		if _, err := top.Ensure(path, 0o755, func(string) {}); !errors.As(err, &inWay) || inWay.Path != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	var made []string
	at, err := top.Ensure("a/b/c/d", 0o755, func(path string) { made = append(made, path) })
	must(t, err)
	at.Close()
	if !slices.Equal(made, []string{"a/b", "a/b/c"}) {
		t.Errorf("folders that gained an entry: %q", made)
	}
}

// A path that is longer than a system call takes is gone down step by step.
func TestPathsOfAnyLength(t *testing.T) {
	_, top := room(t)
	path := strings.TrimSuffix(strings.Repeat(strings.Repeat("n", 250)+"/", 30), "/")
	at, err := top.Ensure(path, 0o755, func(string) {})
	must(t, err)
	fd, err := at.Create("file", 0o600)
	must(t, err)
	must(t, unix.Close(fd))
	at.Close()
	c := Cursor{Top: top}
	defer c.Close()
	at, err = c.Find(path)
	must(t, err)
	if there, err := at.Exists("file"); !there {
		t.Errorf("the file is not there: %v", err)
	}
	must(t, top.RemoveTree(strings.Repeat("n", 250)))
}

func TestAMoveReplacesNothing(t *testing.T) {
	dir, top := room(t)
	for name, move := range map[string]func(Folder, string, Folder, string) error{"whole": Folder.Move, "by link": Folder.moveByLink} {
		must(t, os.WriteFile(filepath.Join(dir, "new"), []byte("new"), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, "taken"), []byte("old"), 0o600))
		if err := move(top, "new", top, "taken"); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s, onto a file: %v", name, err)
		}
		if err := move(top, "new", top, "away"); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s, onto a link: %v", name, err)
		}
		must(t, move(top, "new", top, "free"))
		old, _ := os.ReadFile(filepath.Join(dir, "taken"))
		moved, _ := os.ReadFile(filepath.Join(dir, "free"))
		if left, _ := top.Exists("new"); left || string(old) != "old" || string(moved) != "new" {
			t.Errorf("%s: left %v, taken %q, free %q", name, left, old, moved)
		}
		must(t, os.Remove(filepath.Join(dir, "free")))
	}
}

func TestDigestIsOfAllBytes(t *testing.T) {
	dir, top := room(t)
	for _, size := range []int{0, 1, 256 << 10, 256<<10 + 1, 1 << 20} {
		content := []byte(strings.Repeat("x", size))
		must(t, os.WriteFile(filepath.Join(dir, "file"), content, 0o600))
		fd, err := top.OpenFile("file")
		must(t, err)
		sum, err := Digest(context.Background(), fd)
		must(t, unix.Close(fd))
		if err != nil || sum != sha256.Sum256(content) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
