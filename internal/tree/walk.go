package tree

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Folder is one folder's listing, as a visitor sees it. It belongs to the walk: it and its Entries are used again after the
// visitor returns (strings taken from it stay valid).
type Folder struct {
	Path   string // below the root, as bytes; "" is the root
	Handle uint64 // what the visitor set on this folder's entry; 0 for the root
	Self   Entry  // the folder's own attributes, Name included; zero where it could not be opened
	// Entries are sorted bytewise by name. What is excluded is absent.
	Entries []Entry
	// Err says that Entries is not all there is, and why: absence from this listing, and from the folders below that are
	// not visited, means nothing. ErrOtherFileSystem: it was not entered. ErrGone: it went away after it was listed.
	Err error

	fd int
}

// Walk lists the whole tree. visit is called once for each folder, from several goroutines at once, a folder always before
// those in it; a folder that cannot be read is visited too, with Err set. problem (may be nil) is called, also from
// several goroutines, for each path that could not be read or is not backed up.
//
// An error of visit ends the walk and is returned. ErrRootMissing, ErrRootNotFolder, ErrRootChanged: the source is not
// there, or went away meanwhile: nothing visited may be taken for the whole. Memory is bounded by the widest folder
// and the folders that wait, not by the number of files.
func (t *Tree) Walk(ctx context.Context, visit func(context.Context, *Folder) error, problem func(Problem)) error {
	root, err := t.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if problem == nil {
		problem = func(Problem) {}
	}
	w := &walk{tree: t, root: root, visit: visit, problem: problem, cancel: cancel, reader: newReadable()}
	w.cond.L = &w.mu
	w.stack = []task{{}}
	stop := context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })
	var workers sync.WaitGroup
	for range t.workers {
		workers.Go(func() { w.work(ctx) })
	}
	workers.Wait()
	stop()
	unix.Close(root)
	if err := w.failure(); err != nil {
		return err
	}
	_, err = t.Identity()
	return err
}

// held is a folder whose children wait to be entered. Its descriptor stays open until the last of them is, unless too many
// are: then children are reached from the root.
type held struct {
	path string
	fd   int // -1: not kept
	refs atomic.Int32
}

// maxHeld bounds the descriptors of folders that wait. Depth first, more are needed only in trees that are very deep.
const maxHeld = 200

type task struct {
	parent  *held // nil: the root
	name    string
	handle  uint64
	foreign bool // on another file system: not to be entered
}

type walk struct {
	tree    *Tree
	root    int
	visit   func(context.Context, *Folder) error
	problem func(Problem)
	cancel  context.CancelFunc
	reader  *readable
	heldFDs atomic.Int32

	mu    sync.Mutex
	cond  sync.Cond
	stack []task // last in, first out: depth first
	busy  int
	err   error
}

// next waits for a folder to read; false: the walk is over.
func (w *walk) next() (task, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.stack) == 0 && w.busy > 0 && w.err == nil {
		w.cond.Wait()
	}
	if w.err != nil || len(w.stack) == 0 {
		w.abandon()
		return task{}, false
	}
	last := len(w.stack) - 1
	t := w.stack[last]
	w.stack[last] = task{}
	w.stack = w.stack[:last]
	w.busy++
	return t, true
}

// abandon lets go of the folders that will not be read any more.
func (w *walk) abandon() {
	for _, t := range w.stack {
		w.release(t.parent)
	}
	w.stack = nil
	w.cond.Broadcast()
}

func (w *walk) done(children []task) {
	w.mu.Lock()
	w.stack = append(w.stack, children...)
	w.busy--
	w.mu.Unlock()
	w.cond.Broadcast()
}

func (w *walk) fail(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	w.cond.Broadcast()
	w.cancel()
}

func (w *walk) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *walk) release(h *held) {
	if h != nil && h.refs.Add(-1) == 0 && h.fd >= 0 {
		unix.Close(h.fd)
		w.heldFDs.Add(-1)
	}
}

// work is one worker: its buffers serve one folder after another.
func (w *walk) work(ctx context.Context) {
	var l lister
	var f Folder
	var children []task
	for {
		t, ok := w.next()
		if !ok {
			return
		}
		children = w.folder(ctx, &l, &f, t, children[:0])
		w.done(children)
	}
}

// folder reads and visits one folder and returns those in it.
func (w *walk) folder(ctx context.Context, l *lister, f *Folder, t task, children []task) []task {
	*f = Folder{Path: join(t.parent, t.name), Handle: t.handle, Entries: f.Entries[:0], fd: -1}
	w.enter(f, t)
	if f.fd >= 0 {
		l.list(ctx, w, f)
	}
	if err := w.visit(ctx, f); err != nil {
		w.fail(err)
	} else if ctx.Err() != nil {
		w.fail(context.Cause(ctx))
	} else {
		children = w.children(f, children)
	}
	if len(children) == 0 && f.fd >= 0 {
		unix.Close(f.fd)
	}
	return children
}

func join(parent *held, name string) string {
	if parent == nil || parent.path == "" {
		return name
	}
	return parent.path + "/" + name
}

// enter opens the task's folder into f; where that cannot be, f.Err says why.
func (w *walk) enter(f *Folder, t task) {
	defer w.release(t.parent)
	var err error
	switch {
	case t.foreign:
		f.Err = ErrOtherFileSystem
		return
	case t.parent == nil:
		f.fd, err = openAt(w.root, ".", folderFlags)
	case t.parent.fd >= 0:
		f.fd, err = openAt(t.parent.fd, t.name, folderFlags)
	default:
		f.fd, err = w.tree.openFolder(w.root, f.Path)
	}
	if err == nil {
		err = statFD(f.fd, &f.Self)
		f.Self.Name = t.name
	}
	if err == nil && w.tree.oneFS && f.Self.Device != w.tree.identity.Device {
		err = ErrOtherFileSystem
		w.problem(otherFileSystem(f.Path))
	}
	if err == nil {
		return
	}
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
	if f.Err = goneIfAbsent(err); f.Err != ErrGone && f.Err != ErrOtherFileSystem {
		w.problem(Problem{Path: f.Path, Reason: ReasonUnreadable, Err: fmt.Errorf("open folder %q: %w", f.Path, err)})
	}
}

// children makes the tasks for the folders in f, in reverse, so that the first by name is entered first.
func (w *walk) children(f *Folder, children []task) []task {
	if f.fd < 0 {
		return children
	}
	h := &held{path: f.Path, fd: f.fd}
	for i := len(f.Entries) - 1; i >= 0; i-- {
		if e := &f.Entries[i]; e.Kind == KindFolder {
			foreign := w.tree.oneFS && e.Device != w.tree.identity.Device
			children = append(children, task{parent: h, name: e.Name, handle: e.Handle, foreign: foreign})
		}
	}
	if len(children) == 0 {
		return children
	}
	h.refs.Store(int32(len(children)))
	if w.heldFDs.Add(1) > maxHeld {
		w.heldFDs.Add(-1)
		unix.Close(h.fd)
		h.fd = -1
	}
	return children
}
