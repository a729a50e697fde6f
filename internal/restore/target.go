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
	"time"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
)

// target is the folder that is restored into. Everything goes through os.Root, which keeps it inside; links in it are not followed.
type target struct {
	path string
	root *os.Root
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
	t := &target{path: path, root: root, temp: ".restore-" + strings.ToLower(rand.Text()), known: map[string]bool{}}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read target: %w", err), root.Close())
	}
	t.ours = len(entries) == 0
	if err := root.Mkdir(t.temp, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("write to target: %w", err), root.Close())
	}
	return t, nil
}

// clean removes what was being fetched.
func (t *target) clean() error { return t.root.RemoveAll(t.temp) }

func (t *target) close() error { return errors.Join(t.clean(), t.root.Close()) }

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

// at opens the folder that holds path, for operations that os.Root does not have.
func (t *target) at(path v1.RelPath, do func(dir int, base string) error) error {
	dir := path.Dir()
	if dir == "" {
		dir = "."
	}
	f, err := t.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(int(f.Fd()), path.Base())
}

// setModTime does not follow a link.
func (t *target) setModTime(path v1.RelPath, ns int64) error {
	return t.at(path, func(dir int, base string) error {
		ts := []unix.Timespec{unix.NsecToTimespec(time.Now().UnixNano()), unix.NsecToTimespec(ns)}
		return unix.UtimesNanoAt(dir, base, ts, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// place gives a finished file its name. It replaces nothing unless told so.
func (t *target) place(temp string, path v1.RelPath, replace bool) error {
	if !replace {
		err := t.root.Link(temp, string(path))
		if err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
		if _, err := t.root.Lstat(string(path)); err == nil { // no hard links here
			return fs.ErrExist
		}
	}
	return t.root.Rename(temp, string(path))
}
