package restore_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clusterbackup/internal/manifest"
	"clusterbackup/internal/restore"
)

// meanwhile is a cluster in which something happens after the plan and before the files come.
type meanwhile struct {
	*cluster
	happens func()
}

// Dial implements restore.Cluster.
func (m *meanwhile) Dial(ctx context.Context, h restore.Holder) (net.Conn, error) {
	m.happens()
	return m.cluster.Dial(ctx, h)
}

func TestFileThatBecameNewerMeanwhileStays(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"f", "restored", 1}, {"g", "restored", 1}}
	c.holders["one"].put(t, files...)
	c.holders["one"].list(t, 1, files)
	to := t.TempDir()
	old := time.Unix(1, 0)
	for _, name := range []string{"f", "g"} {
		must(t, os.WriteFile(filepath.Join(to, name), []byte("old"), 0o600))
		must(t, os.Chtimes(filepath.Join(to, name), old, old))
	}
	changes := &meanwhile{c, func() { must(t, os.WriteFile(filepath.Join(to, "f"), []byte("written meanwhile"), 0o600)) }}
	result, err := restore.Run(t.Context(), changes, restore.Options{Source: source, To: to, Overwrite: restore.Older})
	must(t, err)
	wantTree(t, to, map[string]string{"f": "written meanwhile", "g": "restored"})
	if result.Kept != 1 || result.Restored != 1 {
		t.Errorf("result %+v", result)
	}
}

// attributes of a folder, to be compared.
func attributes(t *testing.T, path string) (mode os.FileMode, modTime int64) {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	return st.Mode(), st.ModTime().UnixNano()
}

func TestFolderBehindALinkIsLeftAlone(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"a/sub/f", "content", 1}}
	c.holders["one"].put(t, files...)
	c.holders["one"].list(t, 1, files, folderEntry("a"), folderEntry("a/sub"))
	for _, mode := range []restore.Overwrite{restore.Never, restore.Always} {
		to := t.TempDir()
		mine := filepath.Join(to, "mine/sub")
		must(t, os.MkdirAll(mine, 0o755))
		must(t, os.Symlink("mine", filepath.Join(to, "a")))
		wantMode, wantTime := attributes(t, mine)
		wantErr(t, c.restore(restore.Options{To: to, Overwrite: mode}).err, restore.ErrIncomplete)
		if mode, modTime := attributes(t, mine); mode != wantMode || modTime != wantTime {
			t.Errorf("%v, %v; was %v, %v", mode, time.Unix(0, modTime), wantMode, time.Unix(0, wantTime))
		}
	}
}

// TestFoldersThatWereThere: they stay as they were unless all is overwritten; those that were made get what is listed, also when an
// earlier restore made them and did not come to its end.
func TestFoldersThatWereThere(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"mine/f", "1", 1}, {"made/f", "1", 1}, {"begun/f", "1", 1}, {"closed/f", "1", 1}}
	c.holders["one"].put(t, files...)
	listed := folderEntry("")
	c.holders["one"].list(t, 1, files, folderEntry("mine"), folderEntry("made"), folderEntry("begun"), folderEntry("closed"))
	for _, overwrite := range []restore.Overwrite{restore.Never, restore.Older, restore.Always} {
		to := t.TempDir()
		for name, mode := range map[string]uint32{"mine": 0o711, "begun": 0o1700, "closed": 0o505} {
			must(t, os.Mkdir(filepath.Join(to, name), 0o700))
			must(t, unix.Chmod(filepath.Join(to, name), mode))
		}
		must(t, c.restore(restore.Options{To: to, Overwrite: overwrite}).err)
		for name, own := range map[string]os.FileMode{"mine": 0o711, "closed": 0o505, "made": 0, "begun": 0} {
			mode, modTime := attributes(t, filepath.Join(to, name))
			if own != 0 && overwrite != restore.Always {
				if mode.Perm() != own || modTime == listed.ModTime {
					t.Errorf("%s: %s, which was there, has %v, %v", overwrite, name, mode, time.Unix(0, modTime))
				}
				continue
			}
			if mode != os.ModeDir|os.ModeSetgid|0o555 || modTime != listed.ModTime {
				t.Errorf("%s: %s has %v, %v", overwrite, name, mode, time.Unix(0, modTime))
			}
		}
		writable(to)
	}
}

// TestFoldersThatNoListingNames have a mode to work with.
func TestFoldersThatNoListingNames(t *testing.T) {
	c := newCluster(t, "one")
	c.holders["one"].put(t, file{"d/e/f", "1", 1}, file{"d/e/g", "1", 1}, file{"listed/x/f", "1", 1})
	early := time.Now()
	c.holders["one"].list(t, 1, []file{{"d/e/f", "1", 1}}, manifest.Entry{Path: "listed", Type: manifest.Folder, Mode: 0o711})
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	o := c.restore(restore.Options{At: early.Add(time.Second)})
	must(t, o.err)
	for name, want := range map[string]os.FileMode{"d": 0o750, "d/e": 0o750, "listed": 0o711, "listed/x": 0o750} {
		if mode, _ := attributes(t, filepath.Join(o.to, name)); mode != os.ModeDir|want {
			t.Errorf("%s has %v, want %v", name, mode, want)
		}
	}
}

// A restore that was interrupted leaves the folders that were there before as they were; when it is repeated, a target that it made gets
// the root's attributes all the same.
func TestInterruptedRestoreIsRepeated(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"mine/f", "1", 1}, {"f", "1", 1}}
	c.holders["one"].put(t, files...)
	c.holders["one"].list(t, 1, files, folderEntry("mine"))
	interrupt := func(to string) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := restore.Run(ctx, &meanwhile{c, cancel}, restore.Options{Source: source, To: to}); err == nil {
			t.Fatal("it was not interrupted")
		}
	}
	to := filepath.Join(t.TempDir(), "new")
	interrupt(to)
	must(t, c.restore(restore.Options{To: to}).err)
	if mode, modTime := attributes(t, to); uint32(mode.Perm()) != rootEntry.Mode || modTime != rootEntry.ModTime {
		t.Errorf("the target has mode %v and time %v", mode, time.Unix(0, modTime))
	}
	theirs := t.TempDir()
	must(t, os.Mkdir(filepath.Join(theirs, "mine"), 0o500))
	interrupt(theirs)
	if mode, _ := attributes(t, filepath.Join(theirs, "mine")); mode.Perm() != 0o500 {
		t.Errorf("the folder that was there has mode %v", mode)
	}
}
