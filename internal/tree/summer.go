package tree

import (
	"crypto/sha256"
	"hash"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
)

// Summer computes the digests of files of a tree while somebody else reads them, so that Digest need not read them again. One
// goroutine at a time may use it.
type Summer struct {
	tree   *Tree
	known  func(v1.RelPath) bool
	hash   hash.Hash
	path   v1.RelPath
	before Entry
	on     bool
}

// askFrom is the size, in bytes, from which finding out whether a digest is known costs less than computing it.
const askFrom = 64 << 10

// Summer returns one. known tells of a path whether the digest of its present version is known elsewhere.
func (t *Tree) Summer(known func(v1.RelPath) bool) *Summer {
	return &Summer{tree: t, known: known, hash: sha256.New()}
}

// Begin is to be called when a file was opened to read, st was seen of it and nothing of it was read. The digest of a file that somebody
// may be writing is left to Digest: it reads what was sent a second time, so that bytes that changed without a trace in the
// file's times are noticed.
func (s *Summer) Begin(path v1.RelPath, fd int, st *unix.Stat_t) {
	s.path = path
	s.hash.Reset()
	s.before = Entry{}
	s.before.fromStat(st)
	s.on = s.before.Kind == KindFile && unsettled(&s.before, time.Now()) <= 0 &&
		(s.before.Size < askFrom || !s.known(path)) && !written(fd, &s.before) && s.tree.noted.begin(path, &s.before)
}

// Read is to be called with each part of the file, in order.
func (s *Summer) Read(part []byte) {
	if s.on {
		s.hash.Write(part)
	}
}

// End is to be called when as many bytes were read as the file had at Begin. If it is the same version still, its digest is noted.
func (s *Summer) End(fd int) {
	if s.on && unchanged(fd, &s.before) == nil {
		s.tree.noted.put(s.path, &s.before, v1.Digest(s.hash.Sum(nil)))
	}
}

// noted are digests that were computed lately: the last thousands, and none for longer than twice notedLife. The zero value is empty.
type noted struct {
	mu         sync.Mutex
	now, older map[v1.RelPath]notedDigest
	aging      *time.Timer // nil: there are none
}

// notedLife is longer than it takes a holder to ask for the digest of what it was sent.
const notedLife = 5 * time.Minute

type notedDigest struct {
	version Entry
	digest  v1.Digest // zero: somebody computes it, or gave it up
}

// maxNoted bounds each of the two maps: more files than are under way to some holders at once.
const maxNoted = 16384

// begin tells whether the digest of a version is to be computed: nobody did yet, or does now.
func (n *noted) begin(path v1.RelPath, version *Entry) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.get(path); d.version.SameVersion(version) {
		return false
	}
	n.set(path, notedDigest{version: *version})
	return true
}

func (n *noted) put(path v1.RelPath, version *Entry, digest v1.Digest) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.set(path, notedDigest{*version, digest})
}

func (n *noted) set(path v1.RelPath, d notedDigest) {
	if len(n.now) >= maxNoted {
		n.now, n.older = nil, n.now
	}
	if n.now == nil {
		n.now = make(map[v1.RelPath]notedDigest)
	}
	if n.aging == nil {
		n.aging = time.AfterFunc(notedLife, n.age)
	}
	n.now[path] = d
}

// age forgets the older ones.
func (n *noted) age() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now, n.older = nil, n.now
	if n.aging = nil; n.older != nil {
		n.aging = time.AfterFunc(notedLife, n.age)
	}
}

func (n *noted) get(path v1.RelPath) notedDigest {
	if d, ok := n.now[path]; ok {
		return d
	}
	return n.older[path]
}

// of returns the digest of a version, if it was noted.
func (n *noted) of(path v1.RelPath, version *Entry) (v1.Digest, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.get(path)
	return d.digest, !d.digest.IsZero() && d.version.SameVersion(version)
}
