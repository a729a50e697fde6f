package stream

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOneFileSystem(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(root+"/mounted", 0o755))
	if err := unix.Mount("none", root+"/mounted", "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("nothing can be mounted here: ", err)
	}
	defer unix.Unmount(root+"/mounted", 0)
	files := []File{put(t, root, "mounted/f", content(6), 0o644), put(t, root, "own", content(7), 0o644)}
	for _, one := range []bool{true, false} {
		dest, err := fetched(t, Folder{Root: root, OneFileSystem: one}, Fetch{Files: files})
		must(t, err)
		if got := filesBelow(t, dest); slices.Contains(got, "mounted/f") == one || !slices.Contains(got, "own") {
			t.Errorf("one file system %v: arrived %q", one, got)
		}
	}
}
