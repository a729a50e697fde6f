package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// fillState moves a host's state directory to a small disk of its own and fills that to the last byte and the last name. What it
// returns makes room again.
func (h *host) fillState() (empty func()) {
	h.t.Helper()
	moved := h.state() + ".moved"
	must(h.t, os.Rename(h.state(), moved))
	must(h.t, os.Mkdir(h.state(), 0o700))
	if err := unix.Mount("tmpfs", h.state(), "tmpfs", 0, "size=32m,nr_inodes=300,mode=0700"); err != nil {
		h.t.Skipf("a disk of its own cannot be mounted here: %v", err)
	}
	h.t.Cleanup(func() {
		h.stop()
		unix.Unmount(h.state(), unix.MNT_DETACH)
	})
	if out, err := exec.Command("cp", "-a", moved+"/.", h.state()).CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	fill := filepath.Join(h.state(), "fill")
	big, err := os.Create(fill)
	must(h.t, err)
	for err == nil {
		_, err = big.Write(make([]byte, 4096))
	}
	big.Close()
	names := 0
	for ; ; names++ {
		f, err := os.Create(fmt.Sprint(fill, names))
		if err != nil {
			break
		}
		f.Close()
	}
	return func() {
		os.Remove(fill)
		for i := range names {
			os.Remove(fmt.Sprint(fill, i))
		}
	}
}

// TestStateDiskFull: a holder whose state directory's disk is full starts all the same, and what it holds can be restored from it.
func TestStateDiskFull(t *testing.T) {
	c := newCluster(t, "origin", "a")
	origin, a := c.host("origin"), c.host("a")
	write(t, filepath.Join(origin.source(), "one"), content("one", 1000))
	c.locations("1Gi", "a")
	origin.ctl("create", "source", "docs", "--host", "origin", "--path", origin.source(), "--replicas", "1")
	origin.waitProtected("docs")

	a.stop()
	empty := a.fillState()
	a.launch()
	target := filepath.Join(c.dir, "restored")
	origin.eventually("what a holds is restored", func() error {
		_, err := origin.tryCtl("restore", "docs", "--to", target)
		return err
	})
	sameTree(t, origin.source(), target)

	empty()
	a.eventually("a answers its own programs", func() error {
		_, err := a.tryCtl("get", "hosts")
		return err
	})
}
