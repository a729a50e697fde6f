package tree

import "testing"

func TestIdentitySame(t *testing.T) {
	was := Identity{Device: 1, Inode: 2, FSID: 3}
	for _, c := range []struct {
		what string
		is   Identity
		same bool
	}{
		{"the same", was, true},
		{"another number after a reboot", Identity{Device: 9, Inode: 2, FSID: 3}, true},
		{"another disk with the number of this one", Identity{Device: 1, Inode: 2, FSID: 4}, false},
		{"another folder", Identity{Device: 1, Inode: 5, FSID: 3}, false},
		{"no id, same number", Identity{Device: 1, Inode: 2}, true},
		{"no id, another number", Identity{Device: 9, Inode: 2}, false},
	} {
		if was.Same(c.is) != c.same || c.is.Same(was) != c.same {
			t.Errorf("%s: %+v", c.what, c.is)
		}
	}
}
