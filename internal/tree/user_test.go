package tree_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"clusterbackup/internal/tree"
)

// asUser tells whether the test goes on here: somebody who isn't root runs it. Root has it run by a child that isn't.
func asUser(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp", "GOCOVERDIR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("cannot run as another user: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("as another user: %v\n%s", err, out)
	}
	return false
}

func TestUnreadableIsReportedAndTheRestGoesOn(t *testing.T) {
	if !asUser(t) {
		return
	}
	root := t.TempDir()
	for _, p := range []string{"shut/x", "blind/x", "open/x", "open/shut-file", "z"} {
		put(t, root+"/"+p, "x")
	}
	must(t, os.Chmod(root+"/open/shut-file", 0))
	must(t, os.Chmod(root+"/shut", 0))
	must(t, os.Chmod(root+"/blind", 0o444))
	defer os.Chmod(root+"/shut", 0o700)
	defer os.Chmod(root+"/blind", 0o700)
	tr := open(t, root, tree.Options{OneFileSystem: true})
	s := walk(t, tr)
	if want := []string{"blind", "open", "open/shut-file", "open/x", "shut", "z"}; !slices.Equal(s.paths(), want) {
		t.Errorf("listed %q, want %q", s.paths(), want)
	}
	for path, incomplete := range map[string]bool{"": false, "open": false, "shut": true, "blind": true} {
		if err, visited := s.folders[path]; !visited || (err != nil) != incomplete || errors.Is(err, tree.ErrGone) {
			t.Errorf("folder %q: visited %v, error %v", path, visited, err)
		}
	}
	for _, path := range []string{"shut", "blind/x", "open/shut-file"} {
		if p := s.problems[path]; p.Reason != tree.ReasonUnreadable || !errors.Is(p.Err, syscall.EACCES) {
			t.Errorf("%q is reported as %+v", path, p)
		}
	}
	if len(s.problems) != 3 {
		t.Errorf("problems %v", s.problems)
	}
	if _, err := tr.Stat(t.Context(), "shut/x"); err == nil || errors.Is(err, tree.ErrGone) {
		t.Errorf("stat below a shut folder: %v", err)
	}
	if _, err := tr.Digest(t.Context(), "open/shut-file", s.entries["open/shut-file"]); !errors.Is(err, syscall.EACCES) {
		t.Errorf("digest of a shut file: %v", err)
	}
}

// Nothing that a mount hides may look deleted.
func TestOtherFileSystemIsListedNotEntered(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount")
	}
	root := t.TempDir()
	put(t, root+"/mnt/hidden", "x")
	put(t, root+"/here/x", "x")
	if err := mount(root + "/mnt"); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	defer unmount(root + "/mnt")
	put(t, root+"/mnt/foreign", "x")

	tr := open(t, root, tree.Options{OneFileSystem: true})
	s := walk(t, tr)
	if want := []string{"here", "here/x", "mnt"}; !slices.Equal(s.paths(), want) {
		t.Errorf("listed %q, want %q", s.paths(), want)
	}
	if !errors.Is(s.folders["mnt"], tree.ErrOtherFileSystem) || s.problems["mnt"].Reason != tree.ReasonSkipped || !errors.Is(s.problems["mnt"].Err, tree.ErrOtherFileSystem) {
		t.Errorf("mount is %v, %+v", s.folders["mnt"], s.problems["mnt"])
	}
	if _, err := tr.Stat(t.Context(), "mnt/hidden"); !errors.Is(err, tree.ErrOtherFileSystem) || errors.Is(err, tree.ErrGone) {
		t.Errorf("stat of what the mount hides: %v", err)
	}
	s = walk(t, open(t, root, tree.Options{}))
	if _, entered := s.entries["mnt/foreign"]; !entered {
		t.Errorf("without OneFileSystem: listed %q", s.paths())
	}

	// A root that another file system takes the place of is not the root any more, and is again when that has gone.
	must(t, unmount(root+"/mnt"))
	tr = open(t, root+"/mnt", tree.Options{})
	before, err := tr.Identity()
	must(t, err)
	must(t, mount(root+"/mnt"))
	if _, err := tryWalk(t.Context(), tr); !errors.Is(err, tree.ErrRootChanged) {
		t.Errorf("walk of a root that is mounted over: %v", err)
	}
	other, err := open(t, root+"/mnt", tree.Options{}).Identity()
	if err != nil || before.Same(other) {
		t.Errorf("identity %+v before, %+v with another file system, %v", before, other, err)
	}
	must(t, unmount(root+"/mnt"))
	if again, err := tr.Identity(); err != nil || !again.Same(before) {
		t.Errorf("identity %+v before, %+v after, %v", before, again, err)
	}
}
