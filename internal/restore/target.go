package restore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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
	ours bool   // it was empty, or not there, or a restore that did not come to its end has made it
	mode uint32 // what a new folder has by the umask
	// The mode that the target itself had, if it is marked as ours.
	marked bool
	was    uint32

	unfinished atomic.Int64 // folders that have unfinishedMode, or more

	mu     sync.Mutex
	known  map[string]bool   // folders that are known to be real ones; bounded
	made   map[string]bool   // folders that were made where unfinishedMode can't be given
	opened map[string]uint32 // modes of folders that were there before and could not be written to
}

// unfinishedMode marks the folders that a restore has made, until they get their attributes: also for the next one, if this one does not
// come to its end. What has another mode was there before.
const unfinishedMode = 0o1700

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
	t := &target{path: path, root: root, top: top, temp: ".restore-" + strings.ToLower(rand.Text()),
		known: map[string]bool{}, made: map[string]bool{}, opened: map[string]uint32{}}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read target: %w", err), t.release())
	}
	t.ours = len(entries) == 0
	if err := t.makeTemp(); err != nil {
		return nil, errors.Join(fmt.Errorf("write to target: %w", err), t.release())
	}
	if err := t.mark(); err != nil {
		return nil, errors.Join(fmt.Errorf("look at target: %w", err), t.close())
	}
	return t, nil
}

// mark gives the target unfinishedMode, if it is ours and takes it.
func (t *target) mark() error {
	st, err := t.top.Stat(".")
	if err != nil {
		return err
	}
	t.was = uint32(st.Mode) & 0o7777
	if t.was == unfinishedMode {
		t.ours, t.was = true, t.mode
	}
	t.marked = t.ours && unix.Fchmod(t.top.FD(), unfinishedMode) == nil
	return nil
}

// unmark gives a target that is ours the mode that it had.
func (t *target) unmark() error {
	if !t.marked {
		return nil
	}
	return unix.Fchmod(t.top.FD(), t.was)
}

// makeTemp makes the folder for what is being fetched, and learns from it what mode a folder has here.
func (t *target) makeTemp() error {
	if err := t.root.Mkdir(t.temp, 0o755); err != nil {
		return err
	}
	st, err := t.top.Stat(t.temp)
	if err != nil {
		return err
	}
	t.mode = uint32(st.Mode) & 0o777
	return t.root.Chmod(t.temp, 0o700)
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

// ensure makes the folder at path, or lets this process write to the one that is there; no component of it may be a link.
func (t *target) ensure(path string) error {
	if path == "" || t.isKnown(path) {
		return nil
	}
	dir, base := beneath.Split(path)
	if err := t.ensure(dir); err != nil {
		return err
	}
	at, err := t.top.Open(dir)
	if err != nil {
		return err
	}
	defer at.Close()
	err = beneath.Retry(func() error { return unix.Mkdirat(at.FD(), base, 0o700) })
	made := err == nil
	if made {
		_ = at.Chmod(base, unfinishedMode)
	} else if err != unix.EEXIST {
		return fmt.Errorf("make folder %q: %w", path, err)
	}
	st, err := at.Stat(base)
	if err != nil {
		return fmt.Errorf("make folder %q: %w", path, err)
	}
	if !beneath.IsFolder(&st) {
		return fmt.Errorf("%q: %w: it is no folder", path, errInTheWay)
	}
	mode := uint32(st.Mode) & 0o7777
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case mode == unfinishedMode:
		t.unfinished.Add(1)
	case made:
		t.unfinished.Add(1)
		t.made[path] = true
	case mode&0o700 != 0o700:
		if err := at.Chmod(base, mode|0o700); err != nil {
			return fmt.Errorf("open folder %q: %w", path, err)
		}
		t.opened[path] = mode
	}
	if len(t.known) >= maxKnown {
		clear(t.known)
	}
	t.known[path] = true
	return nil
}

// isOurs tells whether a restore has made the folder and not given it its attributes yet.
func (t *target) isOurs(at beneath.Folder, path string) bool {
	st, err := at.Stat(".")
	t.mu.Lock()
	defer t.mu.Unlock()
	return err == nil && uint32(st.Mode)&0o7777 == unfinishedMode || t.made[path]
}

// finished notes that a folder has its attributes.
func (t *target) finished(path string, ours bool) {
	if ours {
		t.unfinished.Add(-1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.made, path)
	delete(t.opened, path)
}

// closeFolders takes away again what ensure had to permit, from the innermost on.
func (t *target) closeFolders() (problems error) {
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(t.opened))) {
		at, err := t.top.Open(path)
		if err == nil {
			err = unix.Fchmod(at.FD(), t.opened[path])
			at.Close()
		}
		problems = errors.Join(problems, err)
	}
	clear(t.opened)
	return problems
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

// finished is a fetched file under its temporary name, open.
type finished struct {
	at   beneath.Folder
	base string
	fd   int
}

func (f *finished) close() { _ = unix.Close(f.fd) }

// place gives a finished file its name. It replaces nothing unless told so.
func (f *finished) place(to beneath.Folder, base string, replace bool) error {
	if !replace {
		return f.at.Move(f.base, to, base)
	}
	return f.at.Rename(f.base, to, base)
}

// copyTo copies a finished file to another file system, into the folder where it is to get its name.
func (f *finished) copyTo(ctx context.Context, to beneath.Folder) (_ *finished, err error) {
	c := &finished{at: to, base: ".restore-" + strings.ToLower(rand.Text())}
	if c.fd, err = to.Create(c.base, 0o600); err != nil {
		return nil, err
	}
	if _, err = unix.Seek(f.fd, 0, io.SeekStart); err == nil {
		err = f.copyBytes(ctx, c.fd)
	}
	if err != nil {
		c.close()
		return nil, errors.Join(err, to.Remove(c.base))
	}
	return c, nil
}

func (f *finished) copyBytes(ctx context.Context, to int) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := beneath.ReadFull(f.fd, buf)
		if err != nil && err != io.EOF {
			return err
		}
		if err := cmp.Or(beneath.WriteAll(to, buf[:n]), ctx.Err()); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
	}
}
