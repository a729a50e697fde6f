package tree

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"syscall"

	v1 "clusterbackup/api/v1"
	"golang.org/x/sys/unix"
)

// What a Tree's methods can answer. All but ErrGone and ErrChanged mean "cannot tell": nothing may be concluded from them
// about files.
var (
	ErrRootMissing     = errors.New("root folder does not exist")
	ErrRootNotFolder   = errors.New("root is not a folder")
	ErrRootChanged     = errors.New("another folder lies in the root's place")
	ErrGone            = errors.New("not in the tree")
	ErrChanged         = errors.New("changed")
	ErrOtherFileSystem = errors.New("lies on another file system")
	ErrSkipped         = errors.New("is not backed up")
)

// Options are how a source is read. The zero value reads all of it.
type Options struct {
	// Exclude has rules as in a .gitignore file at the root, the last that fits decides. What is excluded is not part of the tree.
	Exclude []string
	// OneFileSystem keeps the walk from entering folders that lie on another device than the root.
	OneFileSystem bool
	// Workers is how many folders are read at once. 0: as many as processors, at least 2, at most 8.
	Workers int
}

// Tree is an opened source. It may be used by several goroutines at once. It holds nothing open between calls, so that its
// file system can be unmounted.
type Tree struct {
	root     string
	identity Identity
	rules    rules
	oneFS    bool
	workers  int
	noted    noted
}

// Open looks at the root and remembers which folder it is: all later calls fail with ErrRootChanged where another one has
// taken its place (open it again then, and compare Identity with what was known). A root that is a symbolic link is followed.
func Open(root string, opts Options) (*Tree, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("open source %q: path is not absolute", root)
	}
	t := &Tree{root: root, rules: parseRules(opts.Exclude), oneFS: opts.OneFileSystem, workers: opts.Workers}
	if t.workers <= 0 {
		t.workers = min(max(runtime.NumCPU(), 2), 8)
	}
	fd, err := openRoot(root)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if t.identity, err = identify(fd); err != nil {
		return nil, fmt.Errorf("open source %q: %w", root, err)
	}
	return t, nil
}

// Root is the path the tree was opened under.
func (t *Tree) Root() string { return t.root }

// Identity is which folder the tree was opened on, after a check that it is still there.
func (t *Tree) Identity() (Identity, error) {
	fd, err := t.open()
	if err != nil {
		return Identity{}, err
	}
	defer unix.Close(fd)
	if fileSystemID(fd) != t.identity.FSID {
		return Identity{}, fmt.Errorf("open source %q: %w", t.root, ErrRootChanged)
	}
	return t.identity, nil
}

// Stat looks at one path. ErrGone: it is not there, or is excluded, or a folder on the way is no folder (any more).
func (t *Tree) Stat(ctx context.Context, path v1.RelPath) (Entry, error) {
	if err := ctx.Err(); err != nil {
		return Entry{}, err
	}
	root, err := t.open()
	if err != nil {
		return Entry{}, err
	}
	defer unix.Close(root)
	e, err := t.statBelow(root, string(path))
	if err != nil {
		return Entry{}, fmt.Errorf("stat %q: %w", path, err)
	}
	if t.excluded(string(path), e.Kind == KindFolder) {
		return Entry{}, fmt.Errorf("stat %q: excluded: %w", path, ErrGone)
	}
	return e, nil
}

func (t *Tree) statBelow(root int, path string) (e Entry, err error) {
	parent, err := t.openFolder(root, v1.RelPath(path).Dir())
	if err != nil {
		return e, goneIfAbsent(err)
	}
	defer closeUnless(parent, root)
	e.Name = v1.RelPath(path).Base()
	if err := statAt(parent, e.Name, &e); err != nil {
		return e, goneIfAbsent(err)
	}
	if e.Kind == KindSymlink {
		if e.Target, err = readLink(parent, e.Name); err != nil {
			return e, goneIfAbsent(err)
		}
	}
	if t.oneFS && e.Device != t.identity.Device {
		return e, ErrOtherFileSystem
	}
	return e, nil
}

// excluded tells whether path or a folder above it is excluded.
func (t *Tree) excluded(path string, folder bool) bool {
	if len(t.rules) == 0 {
		return false
	}
	for i := range len(path) {
		if path[i] == '/' && t.rules.excludes(path[:i], true) {
			return true
		}
	}
	return t.rules.excludes(path, folder)
}

// open opens the root and checks that it is the folder it was, as far as that costs little.
func (t *Tree) open() (int, error) {
	fd, err := openRoot(t.root)
	if err != nil {
		return -1, err
	}
	var e Entry
	if err := statFD(fd, &e); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("open source %q: %w", t.root, err)
	}
	now := Identity{Device: e.Device, Inode: e.Inode, FSID: t.identity.FSID, Born: born(fd)}
	if now.Device != t.identity.Device || !now.Same(t.identity) {
		unix.Close(fd)
		return -1, fmt.Errorf("open source %q: %w", t.root, ErrRootChanged)
	}
	return fd, nil
}

func openRoot(root string) (int, error) {
	fd, err := retry(func() (int, error) { return unix.Open(root, folderFlags&^unix.O_NOFOLLOW, 0) })
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, syscall.ENOENT):
		err = ErrRootMissing
	case errors.Is(err, syscall.ENOTDIR):
		err = ErrRootNotFolder
	}
	return -1, fmt.Errorf("open source %q: %w", root, err)
}

func identify(fd int) (Identity, error) {
	var e Entry
	if err := statFD(fd, &e); err != nil {
		return Identity{}, err
	}
	return Identity{Device: e.Device, Inode: e.Inode, FSID: fileSystemID(fd), Born: born(fd)}, nil
}
