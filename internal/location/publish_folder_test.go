package location

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	st, err := os.Stat(path)
	fatalIf(t, err)
	return st.Sys().(*syscall.Stat_t).Ino
}

// Folders of which nothing is there yet keep their inode: they are moved as they came. All others, and their files, are as they would be
// if each file had been moved.
func TestNewFoldersMoveWhole(t *testing.T) {
	h := newHome(t)
	l := h.open()
	if !l.wholeSync {
		t.Skip("folders are not moved whole where each has to be synced")
	}
	put(t, l, file{"d/0", "was there", 1}, file{"lost/0", "is to be lost", 1})
	fatalIf(t, os.RemoveAll(filepath.Join(l.Root(), "photos/lost")))
	files := append(newFolders(), file{"lost/0", "came again", 2}, file{"lost/1", "came too", 2})

	b, err := l.Begin(context.Background(), photos, BatchOptions{KeepVersions: time.Hour})
	fatalIf(t, err)
	incoming := stage(t, b, files...)
	came := map[string]uint64{}
	for _, dir := range []string{"d", "d/new", "new", "new/below", "new/below/further", "other", "lost"} {
		came[dir] = inode(t, filepath.Join(b.Dir(), dir))
	}
	out, err := b.Publish(context.Background(), incoming)
	fatalIf(t, err)
	for i, p := range out {
		if p.Err != nil {
			t.Errorf("publish %q: %v", files[i].path, p.Err)
		}
	}
	fatalIf(t, b.Close())
	for dir, was := range came {
		if moved := inode(t, filepath.Join(l.Root(), "photos", dir)) == was; moved == (dir == "d") {
			t.Errorf("%s: moved as a whole: %v", dir, moved)
		}
	}
	audit(t, l)
	for _, f := range files {
		if got := contentOf(t, l, "photos/"+string(f.path)); got != f.content {
			t.Errorf("%q holds %q", f.path, got)
		}
	}
	audit(t, h.reopen(l))
}

// What did not pass gets no name, wherever it lies: nor does anything else that lies in the folder.
func TestWhatDidNotPassIsNotMovedWithItsFolder(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"a file of another size": func(t *testing.T, dir string) {
			fatalIf(t, os.WriteFile(filepath.Join(dir, "new/below/1"), []byte("longer than it was said to be, by far"), 0o600))
		},
		"a file nobody told of": func(t *testing.T, dir string) {
			fatalIf(t, os.WriteFile(filepath.Join(dir, "new/below/stranger"), nil, 0o600))
		},
		"a link": func(t *testing.T, dir string) {
			fatalIf(t, os.Symlink("/etc", filepath.Join(dir, "new/below/stranger")))
		},
		"an empty folder":          func(t *testing.T, dir string) { fatalIf(t, os.Mkdir(filepath.Join(dir, "new/below/stranger"), 0o755)) },
		"a folder of another mode": func(t *testing.T, dir string) { fatalIf(t, os.Chmod(filepath.Join(dir, "new/below"), 0o777)) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			l := h.open()
			b, err := l.Begin(context.Background(), photos, BatchOptions{KeepVersions: time.Hour})
			fatalIf(t, err)
			incoming := stage(t, b, newFolders()...)
			spoil(t, b.Dir())
			out, err := b.Publish(context.Background(), incoming)
			fatalIf(t, err)
			for i, p := range out {
				bad := name == "a file of another size" && incoming[i].Path == "new/below/1"
				if bad != (p.Err != nil) || bad && !errors.Is(p.Err, ErrChanged) {
					t.Errorf("%q: %v", incoming[i].Path, p.Err)
				}
			}
			fatalIf(t, b.Close())
			if st, err := os.Lstat(filepath.Join(l.Root(), "photos/new/below/stranger")); err == nil {
				t.Errorf("there is %v", st.Mode())
			}
			if st, err := os.Stat(filepath.Join(l.Root(), "photos/new/below")); err != nil || uint32(st.Mode().Perm()) != l.folderMode {
				t.Errorf("the folder: %v, %v", st, err)
			}
			audit(t, l)
		})
	}
}

// Something that stands where a folder must go is set aside, as it is for single files.
func TestAFileInAFoldersPlaceIsSetAside(t *testing.T) {
	l := newHome(t).open()
	put(t, l, file{"new", "a file where a folder must go", 1})
	put(t, l, newFolders()...)
	if v := versionsOf(t, l, "new"); len(v) != 1 || !strings.HasPrefix(v[0].Name, versionsFolder(photos)) {
		t.Errorf("versions: %+v", v)
	}
	audit(t, l)
	for _, f := range newFolders() {
		if got := contentOf(t, l, "photos/"+string(f.path)); got != f.content {
			t.Errorf("%q holds %q", f.path, got)
		}
	}
}
