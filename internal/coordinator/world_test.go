package coordinator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/tree"
)

// failer is what tests and rapid's checks have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

var _ failer = (*rapid.T)(nil)

// content is one version of one file; its bytes are made from number.
type content struct {
	number int
	size   int64
	mtime  int64
	ctime  int64
	inode  uint64
}

func (c content) digest() v1.Digest {
	return sha256.Sum256(fmt.Appendf(nil, "%d/%d", c.number, c.size))
}

// memTree is a source in memory.
type memTree struct {
	files map[v1.RelPath]content
	tick  int64
	read  atomic.Int64 // digests computed
	fail  map[v1.RelPath]error
}

func newMemTree() *memTree {
	return &memTree{files: make(map[v1.RelPath]content), tick: 1, fail: make(map[v1.RelPath]error)}
}

// put writes a file anew.
func (t *memTree) put(path string, size int64) {
	t.tick++
	t.files[v1.RelPath(path)] = content{number: int(t.tick), size: size, mtime: t.tick * 1e9, ctime: t.tick * 1e9, inode: uint64(t.tick)}
}

func (t *memTree) entry(name string, c content) tree.Entry {
	return tree.Entry{Name: name, Kind: tree.KindFile, Size: c.size, ModTime: c.mtime, ChangeTime: c.ctime, Inode: c.inode, Mode: 0o644, Device: 1}
}

func (t *memTree) Stat(_ context.Context, path v1.RelPath) (tree.Entry, error) {
	if err := t.fail[path]; err != nil {
		return tree.Entry{}, err
	}
	c, ok := t.files[path]
	if !ok {
		return tree.Entry{}, tree.ErrGone
	}
	return t.entry(path.Base(), c), nil
}

func (t *memTree) Digest(ctx context.Context, path v1.RelPath, want tree.Entry) (v1.Digest, error) {
	e, err := t.Stat(ctx, path)
	if err != nil {
		return v1.Digest{}, err
	}
	if !e.SameVersion(&want) {
		return v1.Digest{}, tree.ErrChanged
	}
	t.read.Add(1)
	return t.files[path].digest(), nil
}

// scan walks the tree into a catalog.
func (t *memTree) scan(f failer, cat *catalog.Catalog) catalog.Result {
	f.Helper()
	s, err := cat.BeginScan(tree.Identity{Device: 1, Inode: 2})
	if err != nil {
		f.Fatalf("begin scan: %v", err)
	}
	err = t.walk(s, "", 0)
	result, endErr := s.End(context.Background(), err == nil)
	if err != nil || endErr != nil {
		f.Fatalf("scan: %v, %v", err, endErr)
	}
	return result
}

func (t *memTree) walk(s *catalog.Scan, dir string, handle uint64) error {
	folder := &tree.Folder{Path: dir, Handle: handle, Self: tree.Entry{Kind: tree.KindFolder, Device: 1, Inode: 2}}
	below := make(map[string]bool)
	for path, c := range t.files {
		rest, ok := strings.CutPrefix(string(path), dir)
		if dir != "" {
			rest, ok = strings.CutPrefix(string(path), dir+"/")
		}
		if !ok {
			continue
		}
		if name, _, deeper := strings.Cut(rest, "/"); deeper {
			below[name] = true
		} else {
			folder.Entries = append(folder.Entries, t.entry(name, c))
		}
	}
	for name := range below {
		folder.Entries = append(folder.Entries, tree.Entry{Name: name, Kind: tree.KindFolder, Device: 1, Inode: 77, Mode: 0o755})
	}
	slices.SortFunc(folder.Entries, func(a, b tree.Entry) int { return strings.Compare(a.Name, b.Name) })
	if err := s.Folder(context.Background(), folder); err != nil {
		return err
	}
	for _, e := range folder.Entries {
		if e.Kind == tree.KindFolder {
			if err := t.walk(s, strings.TrimPrefix(dir+"/"+e.Name, "/"), e.Handle); err != nil {
				return err
			}
		}
	}
	return nil
}

// world is one coordinator and the hosts around it.
type world struct {
	f     failer
	now   time.Time
	tree  *memTree
	path  string
	cat   *catalog.Catalog
	c     *Coordinator
	spec  v1.Source
	infos []HostInfo
	peers map[v1.HostName]*peer
	// deleted locations. events are the reasons of those that were told.
	deleted map[v1.LocationName]bool
	seen    map[v1.HostName]bool // hosts that are there all the time, whomever they call
	events  []string
	lives   uint64
	slept   time.Duration // in all
}

const ownHost = v1.HostName("mini")

var testStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t interface{ TempDir() string }, f failer, min int32, hosts ...v1.HostName) *world {
	w := &world{f: f, now: testStart, tree: newMemTree(), path: filepath.Join(t.TempDir(), "catalog.db"), peers: make(map[v1.HostName]*peer)}
	w.spec.Name = "photos"
	w.spec.CreationTimestamp = metav1.NewTime(testStart)
	w.spec.Spec = v1.SourceSpec{Host: ownHost, Path: "/photos", MinReplicas: min, MaxReplicas: min}
	w.infos = []HostInfo{{Name: ownHost}}
	for _, name := range hosts {
		p := &peer{w: w, name: name, loc: v1.LocationName(name + "-disk"), disk: make(map[v1.RelPath]Record), kept: make(map[v1.RelPath][]Record), session: 1}
		w.infos = append(w.infos, HostInfo{Name: name, Locations: []v1.LocationName{p.loc}})
		w.peers[name] = p
	}
	w.start()
	return w
}

// start opens the catalog and begins the coordinator's next life.
func (w *world) start() {
	cat, err := catalog.Open(w.path, catalog.Options{Clock: func() time.Time { return w.now }, NoSync: true})
	if err != nil {
		w.f.Fatalf("open: %v", err)
	}

	w.lives++
	w.cat = cat
	w.c, err = New(Config{Source: w.spec, Host: ownHost, Catalog: cat, Tree: w.tree, Clock: func() time.Time { return w.now },
		Boottime: func() time.Duration { return w.now.Sub(testStart) + w.slept + time.Hour },
		Hosts:    func() []HostInfo { return w.infos }, Deleted: func(name v1.LocationName) bool { return w.deleted[name] },
		LastSeen: w.lastSeen,
		Events:   func(reason, _ string) { w.events = append(w.events, reason) }, Log: logr.Discard(), Life: w.lives})
	if err != nil {
		w.f.Fatalf("new: %v", err)
	}
}

func (w *world) stop() {
	if err := w.cat.Close(); err != nil {
		w.f.Fatalf("close: %v", err)
	}
}

func (w *world) scan() catalog.Result { return w.tree.scan(w.f, w.cat) }

func (w *world) tick() {
	if err := w.c.Tick(context.Background()); err != nil {
		w.f.Fatalf("tick: %v", err)
	}
}

// pass lets time pass as it does, in small steps; those named are heard of meanwhile.
func (w *world) pass(d time.Duration, heard ...v1.HostName) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(min(time.Minute, end.Sub(w.now)))
		for _, name := range heard {
			w.peers[name].hello()
		}
		w.tick()
	}
}

// file is what users see of one.
func (w *world) file(path string) v1.File {
	file, err := w.c.File(context.Background(), v1.RelPath(path))
	if err != nil {
		w.f.Fatalf("file: %v", err)
	}
	return file
}

// second gives a host another location; it works by itself, as peer name.
func (w *world) second(host, name v1.HostName) *peer {
	first := w.peers[host]
	p := &peer{w: w, name: host, loc: v1.LocationName(name + "-disk"), disk: make(map[v1.RelPath]Record), kept: make(map[v1.RelPath][]Record), session: first.session, beside: first}
	first.beside, w.peers[name] = p, p
	w.desire(host, first.loc, p.loc)
	return p
}

func (w *world) lastSeen(name v1.HostName) (at time.Time) {
	if w.seen[name] {
		at = w.now
	}
	return at
}

// desire has desired state name those locations on a host, and no others.
func (w *world) desire(host v1.HostName, locations ...v1.LocationName) {
	at := slices.IndexFunc(w.infos, func(info HostInfo) bool { return info.Name == host })
	w.infos[at].Locations = locations
}

// peer is one location of a host, its only one as a rule.
type peer struct {
	w        *world
	name     v1.HostName
	loc      v1.LocationName
	uid      string // of the location; "": one of its own
	beside   *peer  // the host's other location
	capacity int64
	sought   int64 // what other sources look for a place for there
	disk     map[v1.RelPath]Record
	// kept are earlier versions, until what replaced them is confirmed.
	kept map[v1.RelPath][]Record
	// reserved is what copies under way will take.
	reserved   int64
	session    uint64
	life, turn uint64
	echo       Echo
	away       bool // the location is not there
	noNew      bool
	draining   bool
	copies     int
	drops      int
}

// publish puts a version under its real name; what was there is kept.
func (p *peer) publish(r Record) {
	if old, ok := p.disk[r.Path]; ok {
		p.kept[r.Path] = append(p.kept[r.Path], old)
	}
	p.disk[r.Path] = r
}

// confirmed takes note of a yes.
func (p *peer) confirmed(r Record, gen v1.Generation) {
	if p.disk[r.Path].Digest == r.Digest {
		r.Gen = gen
		p.disk[r.Path] = r
		delete(p.kept, r.Path)
	}
}

// holds tells whether a version lies on the disk, replaced but kept or not.
func (p *peer) holds(path v1.RelPath, digest v1.Digest) bool {
	return p.disk[path].Digest == digest || slices.ContainsFunc(p.kept[path], func(r Record) bool { return r.Digest == digest })
}

func (p *peer) used() (n int64) {
	for _, r := range p.disk {
		n += r.Size
	}
	return n
}

func (p *peer) free() int64 { return max(p.capacity-p.used()-p.reserved, 0) }

func (p *peer) info() LocationInfo {
	return LocationInfo{Name: p.loc, UID: cmp.Or(p.uid, "u-"+string(p.loc)), Capacity: p.capacity, Used: p.used(), Free: p.free(), NoNew: p.noNew, Draining: p.draining}
}

func (p *peer) highest() (g v1.Generation) {
	for _, r := range p.disk {
		if r.Gen.Compare(g) > 0 {
			g = r.Gen
		}
	}
	return g
}

// hello is a heartbeat, and in a new life the next one too.
func (p *peer) hello() *HelloAnswer {
	life := p.life
	a := p.greet()
	if a.Life != life {
		a = p.greet()
	}
	return a
}

func (p *peer) greet() *HelloAnswer {
	req := &Hello{Echo: p.echo, Source: "photos", Session: p.session, Highest: p.highest(), Sought: p.sought}
	for _, q := range []*peer{p, p.beside} {
		if q != nil && !q.away {
			req.Locations = append(req.Locations, q.info())
			req.Holds = req.Holds || len(q.disk) > 0
		}
	}
	a, err := p.w.c.Hello(context.Background(), p.name, req)
	if err != nil {
		p.w.f.Fatalf("%s: hello: %v", p.name, err)
	}
	p.life, p.echo = a.Life, a.Echo
	p.turn = max(p.turn, a.Turn)
	if p.beside != nil {
		p.beside.life, p.beside.turn = p.life, p.turn
	}
	return a
}

func (p *peer) nextTurn() uint64 {
	p.turn++
	if p.beside != nil {
		p.beside.turn = p.turn
	}
	return p.turn
}

// inventory reports everything, digests first, and acts on the verdicts.
func (p *peer) inventory() error {
	folders := make(map[string][]Record)
	for path, r := range p.disk {
		folders[path.Dir()] = append(folders[path.Dir()], r)
	}
	var pages []FolderInventory
	for dir, records := range folders {
		pages = append(pages, FolderInventory{Folder: dir, Digest: FolderDigest(records)})
	}
	a, err := p.w.c.Inventory(context.Background(), p.name, &Inventory{Source: "photos", Location: p.loc, Session: p.session, Life: p.life,
		Turn: p.nextTurn(), Folders: pages, First: true})
	if err != nil {
		return err
	}
	pages = nil
	for _, dir := range a.Want {
		pages = append(pages, FolderInventory{Folder: dir, Digest: FolderDigest(folders[dir]), Records: folders[dir]})
	}
	b, err := p.w.c.Inventory(context.Background(), p.name, &Inventory{Source: "photos", Location: p.loc, Session: p.session, Life: p.life,
		Turn: p.nextTurn(), Folders: pages, Last: true})
	if err != nil {
		return err
	}
	var confirm []Record
	for _, v := range append(a.Verdicts, b.Verdicts...) {
		switch v.Action {
		case ActionUnknown:
			delete(p.disk, v.Path)
		case ActionConfirm:
			confirm = append(confirm, p.disk[v.Path])
		}
	}
	return p.confirm(confirm)
}

// meet says hello, and reports if that is asked for.
func (p *peer) meet() *HelloAnswer {
	a := p.hello()
	if a.NeedInventory {
		if err := p.inventory(); err != nil {
			p.w.f.Fatalf("%s: inventory: %v", p.name, err)
		}
		a = p.hello()
	}
	return a
}

func (p *peer) claim(files int) []Claimed {
	a, err := p.w.c.Claim(context.Background(), p.name, &Claim{Source: "photos", Location: p.loc, Room: p.free(), MaxFiles: files})
	if err != nil {
		p.w.f.Fatalf("%s: claim: %v", p.name, err)
	}
	for _, c := range a.Files {
		p.reserved += c.Size
	}
	return a.Files
}

// copy takes what the source has now, if it still is what was claimed.
func (p *peer) copy(c Claimed) (Record, bool) {
	p.reserved -= c.Size
	now, ok := p.w.tree.files[c.Path]
	if !ok || now.size != c.Size || now.mtime != c.ModTime {
		return Record{}, false
	}
	p.copies++
	r := Record{Path: c.Path, Gen: c.Gen, Digest: now.digest(), Size: now.size, ModTime: now.mtime}
	p.publish(r)
	return r, true
}

func (p *peer) release(c Claimed, reason string) {
	_, err := p.w.c.Release(context.Background(), p.name, &Release{Source: "photos", Location: p.loc, Files: []Released{{Path: c.Path, Gen: c.Gen, Reason: reason}}})
	if err != nil {
		p.w.f.Fatalf("%s: release: %v", p.name, err)
	}
}

func (p *peer) confirm(records []Record) error {
	if len(records) == 0 {
		return nil
	}
	a, err := p.w.c.Confirm(context.Background(), p.name, &Confirm{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), Files: records})
	if err != nil {
		return err
	}
	for i, answer := range a.Answers {
		if answer.Outcome == OutcomeYes {
			p.confirmed(records[i], answer.Gen)
		}
	}
	return nil
}

// fill claims, copies and confirms once; it tells how many files it was given.
func (p *peer) fill(window int) int {
	claimed := p.claim(window)
	var records []Record
	for _, c := range claimed {
		if r, ok := p.copy(c); ok {
			records = append(records, r)
		} else {
			p.release(c, ReasonChanged)
		}
	}
	if err := p.confirm(records); err != nil {
		p.w.f.Fatalf("%s: confirm: %v", p.name, err)
	}
	return len(claimed)
}

// drop asks for grants and uses them.
func (p *peer) drop(reason string, bytes int64) int {
	a, err := p.w.c.Drop(context.Background(), p.name, &Drop{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), MaxFiles: 100, MaxBytes: bytes, Reason: reason})
	if err != nil {
		p.w.f.Fatalf("%s: drop: %v", p.name, err)
	}
	var results []GrantResult
	for _, g := range a.Grants {
		delete(p.disk, g.Path)
		p.drops++
		results = append(results, GrantResult{ID: g.ID, Path: g.Path, Dropped: true})
	}
	if len(results) > 0 {
		if _, err := p.w.c.Dropped(context.Background(), p.name, &Dropped{Source: "photos", Location: p.loc, Life: p.life, Turn: p.nextTurn(), Grants: results}); err != nil {
			p.w.f.Fatalf("%s: dropped: %v", p.name, err)
		}
	}
	return len(results)
}
