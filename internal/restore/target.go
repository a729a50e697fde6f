package restore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// target is the folder that is restored into. Nothing leaves it: files go through top, folders and links through root.
type target struct {
	path string
	root *os.Root
	top  beneath.Folder
	temp string // folder for what is being fetched
	ours bool   // it was empty, or not there

	mu    sync.Mutex
	known map[string]bool // folders that are known to be real ones; bounded
}

var errInTheWay = errors.New("something else is in the way")

func openTarget(path string) (*target, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make target: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open target: %w", err)
	}
	top, err := beneath.OpenFolder(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open target: %w", err), root.Close())
	}
	t := &target{path: path, root: root, top: top, temp: ".restore-" + strings.ToLower(rand.Text()), known: map[string]bool{}}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read target: %w", err), t.release())
	}
	t.ours = len(entries) == 0
	if err := root.Mkdir(t.temp, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("write to target: %w", err), t.release())
	}
	return t, nil
}

// clean removes what was being fetched.
func (t *target) clean() error { return t.top.RemoveTree(t.temp) }

// remove deletes what is called name of what was being fetched.
func (t *target) remove(name string) error {
	at, err := t.top.Open(t.temp)
	if err != nil {
		return err
	}
	defer at.Close()
	return at.RemoveTree(name)
}

func (t *target) close() error { return errors.Join(t.clean(), t.release()) }

func (t *target) release() error {
	t.top.Close()
	return t.root.Close()
}

const maxKnown = 10_000

// ensure makes the folder at path; no component of it may be a link.
func (t *target) ensure(path string) error {
	if path == "" || t.isKnown(path) {
		return nil
	}
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		if err := t.ensure(path[:i]); err != nil {
			return err
		}
	}
	err := t.root.Mkdir(path, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := t.root.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%q: %w: it is no folder", path, errInTheWay)
	}
	if info.Mode().Perm()&0o700 != 0o700 { // of an earlier restore; the last step sets it again
		if err := t.root.Chmod(path, info.Mode().Perm()|0o700); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= maxKnown {
		clear(t.known)
	}
	t.known[path] = true
	return nil
}

func (t *target) isKnown(path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known[path]
}

// setModTime does not follow a link.
func (t *target) setModTime(path v1.RelPath, ns int64) error {
	at, err := t.top.Open(path.Dir())
	if err != nil {
		return err
	}
	defer at.Close()
	return at.SetModTime(path.Base(), ns)
}

// place gives a finished file its name. It replaces nothing unless told so.
func (f *finished) place(to beneath.Folder, base string, replace bool) error {
	if !replace {
		return f.at.Move(f.base, to, base)
	}
	return f.at.Rename(f.base, to, base)
}

// finished is a fetched file under its temporary name, open.
type finished struct {
	at   beneath.Folder
	base string
	fd   int
}

func (f *finished) close() { _ = unix.Close(f.fd) }
