package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// listed is one name of a folder before it is looked at.
type listed struct {
	name  string
	inode uint64 // 0 where the system doesn't say
	at    int    // its place by name
}

// lister reads one folder after another with the same buffers.
type lister struct {
	source nameSource
	found  []listed
	looker looker
}

// list fills f.Entries from f.fd.
func (l *lister) list(ctx context.Context, w *walk, f *Folder) {
	found, err := l.source.read(f.fd, l.found[:0])
	l.found = found
	if err != nil {
		f.Err = err
		w.problem(Problem{Path: f.Path, Reason: ReasonUnreadable, Err: fmt.Errorf("list folder %q: %w", f.Path, err)})
	}
	l.order()
	f.Entries = slices.Grow(f.Entries, len(found))[:len(found)]
	if err := l.look(ctx, w, f); err != nil && f.Err == nil {
		f.Err = err
	}
	f.Entries = slices.DeleteFunc(f.Entries, func(e Entry) bool { return e.Kind == 0 })
}

// manyNames is how many names make it worth while to share them among several goroutines.
const manyNames = 8192

// look looks at all names found.
func (l *lister) look(ctx context.Context, w *walk, f *Folder) error {
	if len(l.found) < manyNames || w.tree.workers == 1 {
		return l.looker.look(ctx, w, f, l.found)
	}
	var parts errgroup.Group
	for part := range slices.Chunk(l.found, (len(l.found)+w.tree.workers-1)/w.tree.workers) {
		parts.Go(func() error { return new(looker).look(ctx, w, f, part) })
	}
	return parts.Wait()
}

// order gives each name its place by name, and brings them in the order in which they are best looked at: by inode, which
// on a turning disk with a cold cache is several times faster than any other.
func (l *lister) order() {
	slices.SortFunc(l.found, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	for i := range l.found {
		l.found[i].at = i
	}
	if len(l.found) > 1 && l.found[0].inode != 0 {
		slices.SortFunc(l.found, func(a, b listed) int { return cmp.Compare(a.inode, b.inode) })
	}
}

// looker looks at names and fills their entries; it is for one goroutine.
type looker struct {
	path []byte
}

// look answers the first failure, by which the listing isn't complete.
func (l *looker) look(ctx context.Context, w *walk, f *Folder, names []listed) (first error) {
	for i := range names {
		if i&1023 == 1023 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := l.one(w, f, &names[i]); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// one fills the entry at the name's place. Its Kind stays 0 where nothing is to be listed there.
func (l *looker) one(w *walk, f *Folder, n *listed) error {
	e := &f.Entries[n.at]
	*e = Entry{}
	err := statListed(f.fd, n.name, e)
	if err == nil && e.Kind == KindSymlink {
		e.Target, err = readLink(f.fd, n.name)
	}
	switch {
	case len(w.tree.rules) > 0 && l.excluded(w.tree.rules, f.Path, n.name, e.Kind == KindFolder):
		e.Kind = 0
		return nil
	case err == nil:
		e.Name = n.name
		w.tell(f, e)
		return nil
	}
	e.Kind = 0
	if errors.Is(err, syscall.ENOENT) { // went away since it was listed
		return nil
	}
	path := pathOf(f, n.name)
	err = fmt.Errorf("stat %q: %w", path, err)
	w.problem(Problem{Path: path, Reason: ReasonUnreadable, Err: err})
	return err
}

func (l *looker) excluded(r rules, folder, name string, isFolder bool) bool {
	l.path = append(l.path[:0], folder...)
	if folder != "" {
		l.path = append(l.path, '/')
	}
	l.path = append(l.path, name...)
	return r.excludesBytes(l.path, isFolder)
}

// tell reports what is listed but will not be backed up.
func (w *walk) tell(f *Folder, e *Entry) {
	switch {
	case e.Kind == KindOther:
		path := pathOf(f, e.Name)
		w.problem(Problem{Path: path, Reason: ReasonSkipped, Err: fmt.Errorf("%q is a %s: %w", path, e.Skipped, ErrSkipped)})
	case e.Kind == KindFolder && w.tree.oneFS && e.Device != w.tree.identity.Device:
		path := pathOf(f, e.Name)
		w.problem(otherFileSystem(path))
	case e.Kind == KindFile && !w.reader.mayRead(f.fd, e):
		path := pathOf(f, e.Name)
		w.problem(Problem{Path: path, Reason: ReasonUnreadable, Err: fmt.Errorf("read %q: %w", path, syscall.EACCES)})
	}
}

// otherFileSystem is what OneFileSystem leaves out.
func otherFileSystem(path string) Problem {
	return Problem{Path: path, Reason: ReasonSkipped, Err: fmt.Errorf("%q %w: oneFileSystem", path, ErrOtherFileSystem)}
}

func pathOf(f *Folder, name string) string {
	if f.Path == "" {
		return name
	}
	return f.Path + "/" + name
}
