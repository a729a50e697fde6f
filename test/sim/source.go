package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/tree"
)

// file is a file in a source's tree.
type file struct {
	content content
	entry   tree.Entry
	since   time.Duration // when the path came into being, last
}

// source is a tree on a host, with its coordinator.
type source struct {
	w        *world
	name     v1.SourceName
	host     *host
	minimum  int
	maximum  int
	files    map[v1.RelPath]*file
	folders  map[string]bool
	names    []v1.RelPath // of files that exist or did, in the order they came
	away     bool         // the tree's disk is not mounted
	catPath  string
	cat      *catalog.Catalog
	coord    *coordinator.Coordinator
	lives    uint64
	born     time.Duration  // when the coordinator started
	lostAt   time.Time      // when the catalog was lost, by its host's clock: that its jumps count is of the simulation alone
	told     map[*host]bool // who has reported since; nil: it was never lost
	reported map[*host]bool
	scanner  *proc
	ticker   *proc
	saved    string // an old copy of the catalog
	inodes   uint64
	contents content
	listing  []byte  // a manifest, not always the newest
	listed   string  // its version
	upRate   float64 // bytes a second
	uploads  int
	requests int64
}

func (s *source) spec() v1.Source {
	src := v1.Source{
		ObjectMeta: metav1.ObjectMeta{Name: string(s.name), UID: "uid", CreationTimestamp: metav1.NewTime(epoch)},
		Spec: v1.SourceSpec{Host: s.host.name, Path: "/" + string(s.name), MinReplicas: int32(s.minimum), MaxReplicas: int32(s.maximum), Spread: s.w.cfg.Spread,
			Retention: &v1.Retention{Deleted: &metav1.Duration{Duration: s.w.cfg.Retention}, Versions: &metav1.Duration{Duration: s.w.cfg.Retention}}},
	}
	cluster := s.w.cluster()
	v1.Default(&src, &cluster)
	return src
}

// add makes or changes a file.
func (s *source) add(path v1.RelPath, size int64) {
	s.contents++
	f := s.files[path]
	if f == nil {
		f = &file{since: s.w.clock.now}
		s.files[path] = f
		s.names = append(s.names, path)
		if dir := path.Dir(); dir != "" {
			s.folders[dir] = true
		}
		s.inodes++
		f.entry.Inode = s.inodes + 1000
	}
	f.content = s.contents
	now := s.w.clock.time().UnixNano() + int64(s.contents)
	f.entry = tree.Entry{Name: path.Base(), Kind: tree.KindFile, Size: size, ModTime: now, ChangeTime: now, Inode: f.entry.Inode, Device: 1, Mode: 0o644, Links: 1}
}

func (s *source) remove(path v1.RelPath) { delete(s.files, path) }

// Stat implements coordinator.Tree.
func (s *source) Stat(_ context.Context, path v1.RelPath) (tree.Entry, error) {
	if s.away {
		return tree.Entry{}, tree.ErrRootMissing
	}
	f := s.files[path]
	if f == nil {
		return tree.Entry{}, fmt.Errorf("stat %q: %w", path, tree.ErrGone)
	}
	return f.entry, nil
}

// Digest implements coordinator.Tree.
func (s *source) Digest(ctx context.Context, path v1.RelPath, want tree.Entry) (v1.Digest, error) {
	e, err := s.Stat(ctx, path)
	if err != nil {
		return v1.Digest{}, err
	}
	if !e.SameVersion(&want) {
		return v1.Digest{}, tree.ErrChanged
	}
	return s.files[path].content.digest(), nil
}

// open starts the coordinator on whatever catalog there is.
func (s *source) open() {
	cat, err := catalog.Open(s.catPath, catalog.Options{Clock: s.now, NoSync: true})
	if err != nil {
		s.w.fail("open catalog of %s: %v", s.name, err)
		return
	}
	s.lives++
	s.cat = cat
	s.born = s.w.clock.now
	s.reported = make(map[*host]bool)
	s.coord, err = coordinator.New(coordinator.Config{
		Source: s.spec(), Cluster: s.w.cluster(), Host: s.host.name, Catalog: cat, Tree: s, Clock: s.now,
		Boottime: func() time.Duration { return s.w.clock.now },
		Hosts:    s.w.hostInfos, Log: logr.Discard(), Life: s.w.rng.Uint64() | 1,
		Events: func(reason, message string) { s.w.say("%s: event %s: %s", s.name, reason, message) },
	})
	if err != nil {
		s.w.fail("start coordinator of %s: %v", s.name, err)
		return
	}
	s.scanner = start(&s.w.clock, s.scanLoop)
	s.ticker = start(&s.w.clock, s.tickLoop)
}

// now is the source's host's clock.
func (s *source) now() time.Time { return s.w.clock.time().Add(s.host.skew) }

// hears notes that the coordinator knows what a host holds.
func (s *source) hears(h *host) {
	s.reported[h] = true
	if s.told != nil {
		s.told[h] = true
	}
}

// close ends the coordinator's process.
func (s *source) close() {
	if s.coord == nil {
		return
	}
	s.scanner.kill()
	s.ticker.kill()
	s.coord = nil
	if err := s.cat.Close(); err != nil {
		s.w.fail("close catalog of %s: %v", s.name, err)
	}
}

func (s *source) scanLoop(p *proc) {
	for {
		s.scan()
		p.sleep(s.w.spread(s.w.cfg.Scan))
	}
}

func (s *source) tickLoop(p *proc) {
	for {
		if err := s.coord.Tick(context.Background()); err != nil {
			s.w.fail("tick of %s: %v", s.name, err)
		}
		s.w.checkStatus(s)
		p.sleep(s.w.cfg.Tick)
	}
}

// scan lists the whole tree into the catalog.
func (s *source) scan() {
	if s.away {
		return
	}
	ctx := context.Background()
	scan, err := s.cat.BeginScan(tree.Identity{Device: 1, Inode: 2, FSID: 3})
	if err != nil {
		s.w.fail("begin scan of %s: %v", s.name, err)
		return
	}
	lists := make(map[string][]tree.Entry)
	for path, f := range s.files {
		lists[path.Dir()] = append(lists[path.Dir()], f.entry)
	}
	root := &tree.Folder{Self: tree.Entry{Kind: tree.KindFolder, Inode: 2, Device: 1, Mode: 0o755}, Entries: lists[""]}
	for i, dir := range slices.Sorted(maps.Keys(s.folders)) {
		root.Entries = append(root.Entries, tree.Entry{Name: dir, Kind: tree.KindFolder, Inode: uint64(10 + i), Device: 1, Mode: 0o755})
	}
	sortEntries(root.Entries)
	err = scan.Folder(ctx, root)
	for i := range root.Entries {
		if e := &root.Entries[i]; err == nil && e.Kind == tree.KindFolder {
			sub := &tree.Folder{Path: e.Name, Handle: e.Handle, Self: *e, Entries: lists[e.Name]}
			sortEntries(sub.Entries)
			err = scan.Folder(ctx, sub)
		}
	}
	result, err2 := scan.End(ctx, err == nil)
	if err != nil || err2 != nil {
		s.w.fail("scan of %s: %v, %v", s.name, err, err2)
	}
	if result.Held.Why != "" {
		s.w.say("%s: deletions held: %s", s.name, result.Held.Why)
	}
	s.list()
}

func sortEntries(e []tree.Entry) {
	slices.SortFunc(e, func(a, b tree.Entry) int { return strings.Compare(a.Name, b.Name) })
}

// saveCatalog keeps a copy of the catalog as it is on disk now; putBack makes that the catalog. The coordinator is down.
func (s *source) saveCatalog() { s.saved = copyFile(s.w, s.catPath, s.catPath+".saved") }

func (s *source) putBack() {
	if s.saved != "" { // else it was lost meanwhile
		copyFile(s.w, s.saved, s.catPath)
	}
}

func copyFile(w *world, from, to string) string {
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		w.fail("copy catalog: %v", err)
	}
	return to
}

func (w *world) addSource(i int, h *host) *source {
	s := &source{
		w: w, name: v1.SourceName(fmt.Sprintf("s%d", i)), host: h, minimum: w.cfg.Replicas, maximum: cmp.Or(w.cfg.MaxReplicas, w.cfg.Replicas),
		files: make(map[v1.RelPath]*file), folders: make(map[string]bool), upRate: w.cfg.Rate,
	}
	s.catPath = filepath.Join(w.dir, string(s.name)+".db")
	h.sources = append(h.sources, s)
	w.sources = append(w.sources, s)
	return s
}
