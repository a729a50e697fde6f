package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/tree"
	"clusterbackup/reconcile"
)

// maxProblems is how many problems of a scan are kept for people; all are counted.
const maxProblems = 100

// rootInterval is how often a source's root is looked at between scans.
const rootInterval = 15 * time.Second

// ScanReconciler keeps one source of this host answered for, and its catalog up to date with the tree on disk.
type ScanReconciler struct {
	Desired Desired
	Host    v1.HostName
	Set     *SourceSet
	// Catalogs is the folder of the catalogs.
	Catalogs string
	// Coordinator fills in what every coordinator of this host shares; Source, Cluster, Catalog and Tree are set for each.
	Coordinator coordinator.Config
	// Event is told what people should know of a source.
	Event func(name v1.SourceName, warning bool, reason, message string)
	// Answering is told when a source's coordinator begins to answer.
	Answering func(name v1.SourceName)
	Log       logr.Logger
}

// Reconcile implements reconcile.Reconciler.
func (r *ScanReconciler) Reconcile(ctx context.Context, name v1.SourceName) (reconcile.Result, error) {
	want := sourceNamed(r.Desired, name)
	if want == nil || want.Spec.Host != r.Host {
		return reconcile.Result{}, r.end(name)
	}
	k := r.Set.get(name)
	if err := r.answerFor(k, want); err != nil {
		r.unavailable(k, err)
		return reconcile.Result{}, err
	}
	t, err := r.openTree(k, want)
	if t != nil && r.due(k, want) {
		err = r.scan(ctx, k, t)
	}
	if ctx.Err() != nil {
		return reconcile.Result{}, ctx.Err()
	}
	r.unavailable(k, err)
	return reconcile.Result{RequeueAfter: r.next(k, want)}, nil
}

// end stops answering for a source that is no longer this host's. Its catalog is of no use to anyone any more.
func (r *ScanReconciler) end(name v1.SourceName) error {
	k := r.Set.get(name)
	err := r.Set.stop(k)
	r.Set.forget(name)
	if k.opened.uid != "" {
		err = errors.Join(err, os.Remove(r.catalogPath(name, k.opened.uid)))
	}
	return err
}

func (r *ScanReconciler) catalogPath(name v1.SourceName, uid string) string {
	return filepath.Join(r.Catalogs, string(name)+"-"+uid+".db")
}

// answerFor has the source's coordinator running with the present spec, whether its tree is there or not.
func (r *ScanReconciler) answerFor(k *keptSource, want *v1.Source) error {
	cluster := r.Desired.Cluster().Spec
	if k.running != nil && k.opened == openedFor(want) {
		k.running.Coordinator.Update(*want, cluster)
		r.Set.change(func() { k.generation = want.Generation })
		return nil
	}
	if err := r.Set.stop(k); err != nil {
		return err
	}
	cat, err := catalog.Open(r.catalogPath(k.name, string(want.UID)), catalog.Options{Clock: r.Coordinator.Clock})
	if err != nil {
		return err
	}
	config := r.Coordinator
	config.Source, config.Cluster, config.Catalog = *want, cluster, cat
	k.tree = &currentTree{}
	config.Tree = k.tree
	config.Log = config.Log.WithValues("source", k.name)
	config.Events = func(reason, message string) { r.Event(k.name, true, reason, message) }
	config.Boottime = monotonic
	c, err := coordinator.New(config)
	if err != nil {
		return errors.Join(err, cat.Close())
	}
	r.Set.change(func() { k.opened, k.generation = openedFor(want), want.Generation })
	r.Set.start(k, &RunningSource{Name: k.name, Coordinator: c, Catalog: cat, Root: want.Spec.Path, OneFileSystem: *want.Spec.OneFileSystem, tree: k.tree})
	r.Answering(k.name)
	return nil
}

func openedFor(want *v1.Source) openedAs {
	return openedAs{path: want.Spec.Path, exclude: strings.Join(want.Spec.Exclude, "\n"), oneFS: *want.Spec.OneFileSystem, uid: string(want.UID)}
}

// ErrForeignTree: what lies under the source's path is not the tree that its catalog is of.
var ErrForeignTree = errors.New("another tree lies in the source's place: nothing is taken from it")

// openTree returns the source's tree if it is there. A root that went away and came back, or was replaced, is opened anew, and
// scanned if it is another one. With ErrForeignTree it is there for a scan to look at, and for nobody else.
func (r *ScanReconciler) openTree(k *keptSource, want *v1.Source) (*tree.Tree, error) {
	if t := k.tree.get(); t != nil {
		if _, err := t.Identity(); err == nil {
			return t, nil
		}
		k.tree.set(nil)
	}
	t, err := tree.Open(want.Spec.Path, tree.Options{Exclude: want.Spec.Exclude, OneFileSystem: *want.Spec.OneFileSystem})
	if err != nil {
		return nil, err
	}
	identity, err := t.Identity()
	if err != nil {
		return nil, err
	}
	r.Set.change(func() {
		k.rescan = k.rescan || !identity.Same(k.root)
		k.root = identity
	})
	return t, k.offer(t, identity)
}

// offer lets the coordinator look at the tree, and holders copy from it, if it is the one that the catalog is of. Whether it is is
// for the catalog to say, which knows it from before the restart too.
func (k *keptSource) offer(t *tree.Tree, identity tree.Identity) error {
	if !k.running.Catalog.Knows(identity) {
		return fmt.Errorf("%w (%s)", ErrForeignTree, t.Root())
	}
	k.tree.set(t)
	return nil
}

func (r *ScanReconciler) due(k *keptSource, want *v1.Source) bool {
	return k.scan.Ended.IsZero() || k.rescan || time.Since(k.scan.Ended) >= want.Spec.ScanInterval.Duration
}

// next is when to look again: at the root often, at the whole tree when the next scan is due.
func (r *ScanReconciler) next(k *keptSource, want *v1.Source) time.Duration {
	interval := min(rootInterval, r.Desired.Cluster().Spec.PollInterval.Duration)
	if k.err == nil {
		interval = min(interval, want.Spec.ScanInterval.Duration-time.Since(k.scan.Ended))
	}
	return max(interval, 100*time.Millisecond)
}

// unavailable notes why the tree is not available, nil: it is.
func (r *ScanReconciler) unavailable(k *keptSource, err error) {
	if !r.Set.setErr(k, err) {
		return
	}
	if err == nil {
		r.Event(k.name, false, "Available", "source is there")
		return
	}
	r.Event(k.name, true, ReasonOfSource(err), err.Error())
	r.Log.Info("Source is not available", "source", k.name, "reason", err.Error())
}

// ReasonOfSource is one CamelCase word for why a source's tree is not available.
func ReasonOfSource(err error) string {
	switch {
	case err == nil:
		return "Open"
	case errors.Is(err, tree.ErrRootMissing):
		return "Missing"
	case errors.Is(err, tree.ErrRootNotFolder):
		return "NotFolder"
	case errors.Is(err, tree.ErrRootChanged):
		return "OtherFolder"
	case errors.Is(err, ErrForeignTree):
		return "ForeignTree"
	case errors.Is(err, os.ErrPermission):
		return "Unreadable"
	case errors.Is(err, catalog.ErrCorrupt):
		return "CatalogDamaged"
	}
	return "Unusable"
}

// scan walks the tree into the catalog, if it is the one that the catalog is of.
func (r *ScanReconciler) scan(ctx context.Context, k *keptSource, t *tree.Tree) error {
	r.Set.change(func() { k.rescan = false })
	identity, err := t.Identity()
	if err != nil {
		return err
	}
	began := time.Now()
	scan, err := k.running.Catalog.BeginScan(identity)
	if err != nil {
		return err
	}
	var problems problemList
	walked := t.Walk(ctx, scan.Folder, problems.add)
	result, err := scan.End(ctx, walked == nil)
	if err := errors.Join(walked, err); err != nil {
		return fmt.Errorf("scan source: %w", err)
	}
	outcome := problems.scan()
	outcome.Ended, outcome.Took = time.Now(), time.Since(began)
	r.Set.change(func() { k.scan = outcome })
	if result.Added+result.Changed+result.Deleted > 0 {
		r.Log.Info("Scanned source", "source", k.name, "files", result.Files, "bytes", result.Bytes, "added", result.Added,
			"changed", result.Changed, "deleted", result.Deleted, "duration", outcome.Took.String())
	}
	if result.Held.Why != "" {
		r.Event(k.name, true, "DeletionsHeld", HeldText(k.name, result.Held.Why, result.Held.Files))
	}
	if err := k.offer(t, identity); err != nil || !result.Again {
		return err
	}
	r.Log.Info("Root or file system is another than was known, and the same tree", "source", k.name, "files", result.Files)
	return r.scan(ctx, k, t)
}

// HeldText says what is held, why (one of the catalog's reasons), and the way out.
func HeldText(source v1.SourceName, why string, files int64) string {
	what, then := fmt.Sprintf("%d files are gone, which is not believed (%s)", files, why), "lets it through"
	if why == catalog.HeldForeign {
		what = fmt.Sprintf("another tree, or file system, lies where the known one was, and %d of the known files are gone or changed in it: nothing is taken from it", files)
		then = "makes it the source's"
	}
	return fmt.Sprintf("%s; `cbctl approve source/%s --deletions` %s", what, source, then)
}

// problemList collects a walk's problems: the first by path for people, the number of all.
type problemList struct {
	mu         sync.Mutex
	kept       []v1.Problem
	count      int64
	unreadable int64
}

func (l *problemList) add(p tree.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if p.Reason != tree.ReasonSkipped {
		l.unreadable++
	}
	if len(l.kept) < maxProblems {
		l.kept = append(l.kept, v1.Problem{Path: printable(p.Path), Reason: p.Reason, Message: p.Err.Error()})
	}
}

func (l *problemList) scan() Scan {
	slices.SortFunc(l.kept, func(a, b v1.Problem) int { return cmp.Compare(a.Path, b.Path) })
	return Scan{Clean: l.unreadable == 0, Problems: l.kept, ProblemCount: l.count, Unreadable: l.unreadable}
}

// printable is a path as people can read it: quoted as in Go where it isn't plain.
func printable(path string) string {
	if quoted := strconv.Quote(path); quoted[1:len(quoted)-1] != path {
		return quoted
	}
	return path
}

// errNoTree: cannot tell, since the source's root, or the one that is known, is not there.
var errNoTree = errors.New("source is not available")

// Stat implements coordinator.Tree.
func (c *currentTree) Stat(ctx context.Context, path v1.RelPath) (tree.Entry, error) {
	t := c.get()
	if t == nil {
		return tree.Entry{}, errNoTree
	}
	return t.Stat(ctx, path)
}

// Digest implements coordinator.Tree.
func (c *currentTree) Digest(ctx context.Context, path v1.RelPath, want tree.Entry) (v1.Digest, error) {
	t := c.get()
	if t == nil {
		return v1.Digest{}, errNoTree
	}
	return t.Digest(ctx, path, want)
}

// TickReconciler lets time pass for the coordinator of one source: leases and grants end, silent hosts are counted as lost.
type TickReconciler struct {
	Desired Desired
	Set     *SourceSet
}

// tickInterval is how often, at the least: a coordinator that is not called for as long as hostTimeout takes it that it slept, and
// holds no silence of that time against any host.
const tickInterval = 2 * time.Second

// Reconcile implements reconcile.Reconciler.
func (r TickReconciler) Reconcile(ctx context.Context, name v1.SourceName) (reconcile.Result, error) {
	running, done := r.Set.Use(name)
	defer done()
	if running == nil {
		return reconcile.Result{}, nil
	}
	timeout := r.Desired.Cluster().Spec.HostTimeout.Duration
	return reconcile.Result{RequeueAfter: min(tickInterval, timeout/5)}, running.Coordinator.Tick(ctx)
}
