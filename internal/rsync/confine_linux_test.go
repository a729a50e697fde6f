package rsync

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What Landlock allows is tried with a program that has no checks of its own: cat is started as rsync would be.
func TestLandlockAloneConfines(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Skip("no cat here")
	}
	root, scratch, outside := t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{root, scratch, outside} {
		if err := os.WriteFile(dir+"/f", []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, root+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, scratch+"/again"); err != nil {
		t.Fatal(err)
	}
	for path, allowed := range map[string]bool{
		root + "/f": true, scratch + "/f": true, scratch + "/again/f": true,
		outside + "/f": false, root + "/link/f": false, "/etc/hostname": false, "/proc/self/environ": false,
	} {
		out, err := catConfined(cat, root, scratch, path)
		if errors.Is(err, errNoLandlock) {
			t.Skip(err)
		}
		if allowed != (err == nil && out == "content") || !allowed && out != "" {
			t.Errorf("%s: %q, %v", path, out, err)
		}
	}
	// The restriction stayed with the thread it was made on.
	if _, err := os.ReadFile(outside + "/f"); err != nil {
		t.Errorf("this process is restricted, too: %v", err)
	}
}

func catConfined(cat, root, scratch, path string) (string, error) {
	var out strings.Builder
	err := runHere(func() error {
		cmd := exec.Command(cat, path)
		prepare(cmd)
		cmd.Cancel = nil
		cmd.Stdout = &out
		if err := landlock(root, scratch, cat); err != nil {
			return err
		}
		return cmd.Run()
	})
	return out.String(), err
}
