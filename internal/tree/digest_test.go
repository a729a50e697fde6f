package tree_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
	"golang.org/x/sys/unix"
)

func TestDigestIsOfTheVersionAskedFor(t *testing.T) {
	root := t.TempDir()
	content := strings.Repeat("0123456789", 100_000)
	put(t, root+"/a/f", content)
	tr := open(t, root, tree.Options{})
	e, err := tr.Stat(t.Context(), "a/f")
	must(t, err)
	if e.Name != "f" || e.Size != int64(len(content)) {
		t.Errorf("stat: %+v", e)
	}
	got, err := tr.Digest(t.Context(), "a/f", e)
	if err != nil || got != v1.Digest(sha256.Sum256([]byte(content))) {
		t.Errorf("digest %v, %v", got, err)
	}

	// Another content of the same size, with the old time set again: only the change time tells.
	time.Sleep(time.Until(time.Unix(0, e.ChangeTime).Add(20 * time.Millisecond))) // past the clock's tick, which is what is under test below
	put(t, root+"/a/f", strings.Repeat("X", len(content)))
	must(t, os.Chtimes(root+"/a/f", time.Unix(0, e.ModTime), time.Unix(0, e.ModTime)))
	if _, err := tr.Digest(t.Context(), "a/f", e); !errors.Is(err, tree.ErrChanged) {
		t.Errorf("digest of another version: %v", err)
	}
	must(t, os.Remove(root+"/a/f"))
	if _, err := tr.Digest(t.Context(), "a/f", e); !errors.Is(err, tree.ErrGone) {
		t.Errorf("digest of nothing: %v", err)
	}
	must(t, unix.Mkfifo(root+"/a/f", 0o644))
	if _, err := tr.Digest(t.Context(), "a/f", e); !errors.Is(err, tree.ErrChanged) {
		t.Errorf("digest of a FIFO: %v", err)
	}
	if _, err := tr.Stat(t.Context(), "a/f/below"); !errors.Is(err, tree.ErrGone) {
		t.Errorf("stat below what is no folder: %v", err)
	}
}

// However a file is written to while it is read, no digest is given out with a stat that a later content has, too.
func TestDigestOfAFileThatChangesIsNeverGivenOut(t *testing.T) {
	root := t.TempDir()
	tr := open(t, root, tree.Options{})
	f, err := os.Create(root + "/f")
	must(t, err)
	defer f.Close()
	write := func(c byte) { _, err := f.WriteAt([]byte(strings.Repeat(string(c), 4096)), 0); must(t, err) }
	for i := range 30 {
		write('a')
		e, err := tr.Stat(t.Context(), "f")
		must(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if i%2 == 1 {
				write('b') // often within the tick of the first
			}
		}()
		got, err := tr.Digest(t.Context(), "f", e)
		<-done
		if errors.Is(err, tree.ErrChanged) {
			continue
		}
		must(t, err)
		now, err := tr.Stat(t.Context(), "f")
		must(t, err)
		bytes, err := os.ReadFile(root + "/f")
		must(t, err)
		if now.SameVersion(&e) && got != v1.Digest(sha256.Sum256(bytes)) {
			t.Fatalf("round %d: the stat is that of the digest, the content is another", i)
		}
	}
}

func TestDigestEndsWithItsContext(t *testing.T) {
	root := t.TempDir()
	put(t, root+"/f", "x")
	tr := open(t, root, tree.Options{})
	e, err := tr.Stat(t.Context(), "f")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.Digest(ctx, "f", e); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled digest: %v", err)
	}
}

func TestStatAndDigestReachDeepFiles(t *testing.T) {
	root := t.TempDir()
	path := v1.RelPath(deep(t, root, 60))
	tr := open(t, root, tree.Options{})
	e, err := tr.Stat(t.Context(), path)
	must(t, err)
	if got, err := tr.Digest(t.Context(), path, e); err != nil || got != v1.Digest(sha256.Sum256([]byte("deep"))) {
		t.Errorf("digest %v, %v", got, err)
	}
}
