package restore_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"clusterbackup/internal/restore"
)

// TestMountBelowTheTarget: files come to a folder that is another file system, and nothing else is left there.
func TestMountBelowTheTarget(t *testing.T) {
	c := newCluster(t, "one")
	files := []file{{"a/new", "content", 1}, {"a/mine", "content", 1}, {"a/d/f", "content", 1}, {"g", "content", 1}}
	c.holders["one"].put(t, files...)
	c.holders["one"].list(t, 1, files, folderEntry("a"), folderEntry("a/d"))
	for overwrite, want := range map[restore.Overwrite]string{restore.Never: "mine", restore.Always: "content"} {
		to := t.TempDir()
		mount := filepath.Join(to, "a")
		must(t, os.Mkdir(mount, 0o700))
		if err := unix.Mount("none", mount, "tmpfs", 0, "size=1m"); err != nil {
			t.Skip("nothing can be mounted: ", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(mount, 0) })
		must(t, os.WriteFile(filepath.Join(mount, "mine"), []byte("mine"), 0o600))
		must(t, c.restore(restore.Options{To: to, Overwrite: overwrite}).err)
		wantTree(t, to, map[string]string{"a": "folder", "a/new": "content", "a/mine": want, "a/d": "folder", "a/d/f": "content", "g": "content"})
		st, err := os.Stat(filepath.Join(mount, "new"))
		must(t, err)
		if st.ModTime().UnixNano() != files[0].modTime() || st.Mode() != 0o750|os.ModeSetuid {
			t.Errorf("%v, %v", st.Mode(), st.ModTime())
		}
	}
}
