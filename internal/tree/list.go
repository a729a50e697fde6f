package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
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
	path   []byte
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
	for i := range found {
		if i&1023 == 1023 && ctx.Err() != nil {
			f.Err = ctx.Err()
		}
		l.look(w, f, &found[i])
	}
	f.Entries = slices.DeleteFunc(f.Entries, func(e Entry) bool { return e.Kind == 0 })
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

// look fills the entry at the name's place. Kind stays 0 where nothing is to be listed there.
func (l *lister) look(w *walk, f *Folder, n *listed) {
	e := &f.Entries[n.at]
	*e = Entry{}
	err := statListed(f.fd, n.name, e)
	if err == nil && e.Kind == KindSymlink {
		e.Target, err = readLink(f.fd, n.name)
	}
	excluded := len(w.tree.rules) > 0 && l.excluded(w.tree.rules, f.Path, n.name, e.Kind == KindFolder)
	switch {
	case excluded:
		e.Kind = 0
	case err == nil:
		e.Name = n.name
		w.tell(f, e)
	case errors.Is(err, syscall.ENOENT):
		e.Kind = 0 // went away since it was listed
	default:
		e.Kind = 0
		path := pathOf(f, n.name)
		if f.Err == nil {
			f.Err = fmt.Errorf("stat %q: %w", path, err)
		}
		w.problem(Problem{Path: path, Reason: ReasonUnreadable, Err: fmt.Errorf("stat %q: %w", path, err)})
	}
}

func (l *lister) excluded(r rules, folder, name string, isFolder bool) bool {
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
		w.problem(Problem{Path: path, Reason: ReasonOtherFileSystem, Err: fmt.Errorf("%q: %w", path, ErrOtherFileSystem)})
	case e.Kind == KindFile && !w.reader.mayRead(f.fd, e):
		path := pathOf(f, e.Name)
		w.problem(Problem{Path: path, Reason: ReasonUnreadable, Err: fmt.Errorf("read %q: %w", path, syscall.EACCES)})
	}
}

func pathOf(f *Folder, name string) string {
	if f.Path == "" {
		return name
	}
	return f.Path + "/" + name
}
