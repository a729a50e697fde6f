package tree_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
	"golang.org/x/sys/unix"
)

// read has a file read as a sender does; meanwhile is called half way.
func read(t *testing.T, s *tree.Summer, root string, path v1.RelPath, meanwhile func()) {
	t.Helper()
	f, err := os.Open(root + "/" + string(path))
	must(t, err)
	defer f.Close()
	st, err := f.Stat()
	must(t, err)
	s.Begin(path, int(f.Fd()), statOf(t, f))
	half := make([]byte, st.Size()/2)
	for range 2 {
		_, err := f.Read(half)
		must(t, err)
		s.Read(half)
		if meanwhile != nil {
			meanwhile()
			meanwhile = nil
		}
	}
	s.End(int(f.Fd()))
}

func statOf(t *testing.T, f *os.File) *unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &st))
	return &st
}

// settled makes a file whose change time is long enough ago for its digest to be of one version for certain.
func settled(t *testing.T, tr *tree.Tree, root, path, content string) tree.Entry {
	t.Helper()
	put(t, root+"/"+path, content)
	time.Sleep(60 * time.Millisecond)
	e, err := tr.Stat(t.Context(), v1.RelPath(path))
	must(t, err)
	return e
}

// A store through a mapping into a page that is dirty already leaves no trace in the file's times.
func TestWhatSomebodyMayBeWritingIsReadAgain(t *testing.T) {
	root := t.TempDir()
	tr, err := tree.Open(root, tree.Options{})
	must(t, err)
	put(t, root+"/db", strings.Repeat("a", 8192))
	db, err := os.OpenFile(root+"/db", os.O_RDWR, 0)
	must(t, err)
	m, err := unix.Mmap(int(db.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(m)
	must(t, db.Close())
	m[0] = 'b'
	time.Sleep(60 * time.Millisecond)
	e, err := tr.Stat(t.Context(), "db")
	must(t, err)
	read(t, tr.Summer(unknown), root, "db", nil)
	m[1] = 'c'
	now, err := tr.Digest(t.Context(), "db", e)
	if want := v1.Digest(sha256.Sum256(m)); err == nil && now != want {
		t.Errorf("the digest is of what was sent, %x, not of what is there, %x", now, want)
	}
}

func unknown(v1.RelPath) bool { return false }

// What was read while it was sent isn't read again: it need not even be there any more.
func TestDigestsOfWhatWasSent(t *testing.T) {
	root := t.TempDir()
	tr := open(t, root, tree.Options{})
	s := tr.Summer(unknown)
	first, second := settled(t, tr, root, "a/first", "first content."), settled(t, tr, root, "second", strings.Repeat("2", 1<<20))
	read(t, s, root, "a/first", nil)
	read(t, s, root, "second", nil)
	must(t, os.Remove(root+"/a/first"))
	for path, c := range map[v1.RelPath]struct {
		version tree.Entry
		content string
	}{"a/first": {first, "first content."}, "second": {second, strings.Repeat("2", 1<<20)}} {
		if got, err := tr.Digest(t.Context(), path, c.version); err != nil || got != v1.Digest(sha256.Sum256([]byte(c.content))) {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	other := first
	other.ModTime++
	if _, err := tr.Digest(t.Context(), "a/first", other); !errors.Is(err, tree.ErrGone) {
		t.Errorf("another version: %v", err)
	}
}

// A digest counts only for a version that stayed the same from the first byte to the last, and whose time no later one can have.
func TestDigestsThatAreNotNoted(t *testing.T) {
	for name, c := range map[string]struct {
		known     bool
		size      int
		meanwhile func(root string)
		fresh     bool
	}{
		"written to meanwhile":  {meanwhile: func(root string) { os.WriteFile(root+"/f", []byte(strings.Repeat("x", 1000)), 0o600) }, size: 1000},
		"replaced meanwhile":    {meanwhile: func(root string) { os.WriteFile(root+"/g", nil, 0o600); os.Rename(root+"/g", root+"/f") }, size: 1000},
		"touched just now":      {fresh: true, size: 1000},
		"large and known":       {known: true, size: 1 << 20},
		"longer than was asked": {meanwhile: func(root string) { os.Truncate(root+"/f", 2000) }, size: 1000},
	} {
		root := t.TempDir()
		tr := open(t, root, tree.Options{})
		e := settled(t, tr, root, "f", strings.Repeat("f", c.size))
		if c.fresh {
			must(t, os.Chmod(root+"/f", 0o640))
			var err error
			e, err = tr.Stat(t.Context(), "f")
			must(t, err)
		}
		var meanwhile func()
		if c.meanwhile != nil {
			meanwhile = func() { c.meanwhile(root) }
		}
		read(t, tr.Summer(func(v1.RelPath) bool { return c.known }), root, "f", meanwhile)
		must(t, os.RemoveAll(root+"/f"))
		if d, err := tr.Digest(t.Context(), "f", e); !errors.Is(err, tree.ErrGone) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

// Two that send the same file at once compute its digest once.
func TestADigestIsComputedOnce(t *testing.T) {
	root := t.TempDir()
	tr := open(t, root, tree.Options{})
	e := settled(t, tr, root, "f", "0123456789")
	f, err := os.Open(root + "/f")
	must(t, err)
	defer f.Close()
	first, second := tr.Summer(unknown), tr.Summer(unknown)
	first.Begin("f", int(f.Fd()), statOf(t, f))
	second.Begin("f", int(f.Fd()), statOf(t, f))
	second.Read([]byte("it does not look at these"))
	second.End(int(f.Fd()))
	first.Read([]byte("0123456789"))
	first.End(int(f.Fd()))
	if got, err := tr.Digest(t.Context(), "f", e); err != nil || got != v1.Digest(sha256.Sum256([]byte("0123456789"))) {
		t.Errorf("%v, %v", got, err)
	}
}

// However many files are sent, the digests of the last ones are there, and the memory is bounded: the first ones are not.
func TestOldDigestsAreForgotten(t *testing.T) {
	root := t.TempDir()
	tr := open(t, root, tree.Options{})
	e := settled(t, tr, root, "f", "0123456789")
	s := tr.Summer(unknown)
	read(t, s, root, "f", nil)
	f, err := os.Open(root + "/f")
	must(t, err)
	defer f.Close()
	for i := range 40_000 {
		s.Begin(v1.RelPath(fmt.Sprint(i)), int(f.Fd()), statOf(t, f))
		s.End(int(f.Fd()))
	}
	must(t, unix.Unlink(root+"/f"))
	if _, err := tr.Digest(t.Context(), "39999", e); err != nil {
		t.Errorf("the last one: %v", err)
	}
	if _, err := tr.Digest(t.Context(), "f", e); !errors.Is(err, tree.ErrGone) {
		t.Errorf("the first one: %v", err)
	}
}
