package coordinator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/tree"
)

// Errors that a client acts on. They are wrapped; compare with errors.Is.
var (
	// ErrHelloFirst: the coordinator does not know the sender's state (it has started anew, or the message is of an earlier
	// life or turn). Say Hello.
	ErrHelloFirst = errors.New("say hello first")
	// ErrOwnHost: the source's own host asked; its replicas never count.
	ErrOwnHost = errors.New("a source's own host holds no replicas of it")
	// ErrOtherSource: the message is for another source.
	ErrOtherSource = errors.New("another source")
	// ErrUnknownHost: the sender is not a host of the cluster, as far as this one knows.
	ErrUnknownHost = errors.New("not a known host")
	// ErrNoFile: the source has no such file.
	ErrNoFile = errors.New("no such file")
	// ErrBadRequest: the message makes no sense.
	ErrBadRequest = errors.New("bad request")
)

// HostInfo is what desired state says of a host.
type HostInfo struct {
	Name   v1.HostName
	Labels map[string]string
	// Cordoned hosts take no new replicas; Draining ones are to be emptied.
	Cordoned bool
	Draining bool
	// MaintenanceUntil: until then the host's absence starts no repair. Zero: none.
	MaintenanceUntil time.Time
	// Locations are those that desired state names on it. None: nothing is expected from it.
	Locations []v1.LocationName
	// Windows are the times of day in which copies may run there, as in v1.Limits.
	Windows []string
}

// Tree is the source on disk. Errors: tree.ErrGone, tree.ErrChanged, tree.ErrSkipped, and others for "cannot tell".
type Tree interface {
	Stat(ctx context.Context, path v1.RelPath) (tree.Entry, error)
	// Digest reads the file, which is as want says before and after.
	Digest(ctx context.Context, path v1.RelPath, want tree.Entry) (v1.Digest, error)
}

// Config of a Coordinator. Source and Cluster have their defaults filled in.
type Config struct {
	Source  v1.Source
	Cluster v1.ClusterSpec
	// Host is the source's own: this one, unless Acting.
	Host v1.HostName
	// Acting: another host answers in Host's stead, from a catalog that was filled from a listing. See acting.go for what it may. Tree can
	// never tell.
	Acting bool
	// Listing is that listing's version, if Acting.
	Listing string
	Catalog *catalog.Catalog
	Tree    Tree
	// Clock is nil: time.Now.
	Clock func() time.Time
	// Boottime is a clock that doesn't stop while this host sleeps: no drop relies on a host that is silent by it. nil: Clock does for it.
	Boottime func() time.Duration
	// Hosts lists the hosts of the cluster, this one included.
	Hosts func() []HostInfo
	// Deleted tells whether a location that Hosts doesn't name was deleted; else it is one that desired state here doesn't know of yet.
	// nil: none was.
	Deleted func(v1.LocationName) bool
	// LastSeen is when a host gave a sign of life, be it to others than this coordinator: one without an open location does not call
	// here. It is for what people are told, nothing is decided by it. nil: what calls here is all that is known.
	LastSeen func(v1.HostName) time.Time
	Log      logr.Logger
	// Events is told what people should know; nil: nobody.
	Events func(reason, message string)
	// Life is what the lives told to clients are drawn from, in simulations: another one at each start. 0: they are random.
	Life uint64
}

// Coordinator answers for one source. All methods may be called at once from several goroutines.
//
// Locks: a writing transaction of the catalog may wait for mu, a reading one never does; mu's owner may read the catalog,
// and never writes to it.
type Coordinator struct {
	cfg     Config
	cat     *catalog.Catalog
	log     logr.Logger
	digests *digester
	drawn   uint64 // lives

	mu        sync.Mutex
	source    v1.Source
	cluster   v1.ClusterSpec
	hosts     map[v1.HostName]*host
	claims    claims
	admission admission
	reliefs   reliefs
	refusals  refusals
	changing  changing
	problems  problems
	plan      *plan
	stale     bool   // the plan is of another state of things
	watched   uint64 // the catalog's ClassesVersion, as far as we were told what moved
	// lost hosts were told of, as were away, locations that are lost though their host is not. gone are the holders of all of these,
	// and of what was removed.
	lost    map[v1.HostName]bool
	away    map[catalog.Holder]bool
	gone    map[catalog.Holder]bool
	open    int
	origins uint64 // that were chosen, so that they take turns
	// started is when we began to listen: at the start, or when this host woke up. Nobody was silent before.
	started, ticked time.Time
	purged          time.Time
	// gave is when a file that lacked a copy was given to somebody last. Until lenient, hosts may have more than their share.
	gave, lenient time.Time
}

// New makes the coordinator of a source. It owns no goroutine; Tick is to be called every few seconds.
func New(cfg Config) (*Coordinator, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Events == nil {
		cfg.Events = func(string, string) {}
	}
	if cfg.Deleted == nil {
		cfg.Deleted = func(v1.LocationName) bool { return false }
	}
	if cfg.LastSeen == nil {
		cfg.LastSeen = func(v1.HostName) time.Time { return time.Time{} }
	}
	if cfg.Boottime == nil {
		cfg.Boottime = func() time.Duration { return time.Duration(cfg.Clock().UnixNano()) }
	}
	c := &Coordinator{cfg: cfg, cat: cfg.Catalog, log: cfg.Log, source: cfg.Source, cluster: cfg.Cluster,
		hosts: make(map[v1.HostName]*host), lost: make(map[v1.HostName]bool), stale: true}
	c.started = c.clock()
	c.ticked, c.gave = c.started, c.started
	c.digests = newDigester(cfg.Tree)
	if cfg.Acting || c.unexplained() {
		if err := c.setAmnesic(true); err != nil {
			return nil, err
		}
	}
	c.watched = c.cat.ClassesVersion()
	c.cat.Watch(c.moved)
	return c, nil
}

// draw gives a new life. The caller holds c.mu.
func (c *Coordinator) draw() (n uint64) {
	var b [16]byte
	if c.drawn++; c.cfg.Life == 0 {
		_, _ = rand.Read(b[:]) // never fails
	} else {
		binary.BigEndian.PutUint64(b[:], c.cfg.Life)
		binary.BigEndian.PutUint64(b[8:], c.drawn)
	}
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(sum[:]) | 1
}

func (c *Coordinator) clock() time.Time { return c.cfg.Clock() }

// Update takes a changed Source or Cluster, defaults filled in.
func (c *Coordinator) Update(source v1.Source, cluster v1.ClusterSpec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.source, c.cluster, c.stale = source, cluster, true
}
