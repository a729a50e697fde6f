package tree

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIdentitySame(t *testing.T) {
	was := Identity{Device: 1, Inode: 2, FSID: 3, Born: 4}
	for _, c := range []struct {
		what string
		is   Identity
		same bool
	}{
		{"the same", was, true},
		{"another number after a reboot", Identity{Device: 9, Inode: 2, FSID: 3, Born: 4}, true},
		{"another disk with the number of this one", Identity{Device: 1, Inode: 2, FSID: 4, Born: 4}, false},
		{"another one, whose id is made from the number as well", Identity{Device: 1, Inode: 2, FSID: 3, Born: 5}, false},
		{"not known when it was made", Identity{Device: 1, Inode: 2, FSID: 3}, true},
		{"another folder", Identity{Device: 1, Inode: 5, FSID: 3}, false},
		{"no id, same number", Identity{Device: 1, Inode: 2}, true},
		{"no id, another number", Identity{Device: 9, Inode: 2}, false},
	} {
		if was.Same(c.is) != c.same || c.is.Same(was) != c.same {
			t.Errorf("%s: %+v", c.what, c.is)
		}
	}
}

// A folder that takes another's place, and its inode's number perhaps, is another one; what is done in it changes nothing.
func TestIdentityOfAFolderMadeAnew(t *testing.T) {
	root := filepath.Join(t.TempDir(), "source")
	look := func() Identity {
		t.Helper()
		tr, err := Open(root, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return tr.identity
	}
	for range 5 {
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		before := look()
		if before.Born == 0 {
			t.Skip("this file system does not say when a folder was made")
		}
		if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if after := look(); after != before {
			t.Errorf("after a file was written: %+v, before: %+v", after, before)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		if after := look(); after.Same(before) {
			t.Errorf("made anew: %+v, before: %+v", after, before)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
	}
}
