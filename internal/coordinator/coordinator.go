package coordinator

import (
	"context"
	"errors"
	"io"
	"iter"
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
	// Host is this host, the source's own.
	Host    v1.HostName
	Catalog *catalog.Catalog
	Tree    Tree
	// Clock is nil: time.Now.
	Clock func() time.Time
	// Hosts lists the hosts of the cluster, this one included.
	Hosts func() []HostInfo
	Log   logr.Logger
	// Events is told what people should know; nil: nobody.
	Events func(reason, message string)
	// Life is for tests; 0: drawn.
	Life uint64
}

// Coordinator answers for one source. All methods may be called at once from several goroutines.
type Coordinator struct {
	cfg Config
}

// New makes the coordinator of a source. It owns no goroutine; Tick is to be called every few seconds.
func New(cfg Config) (*Coordinator, error) { return &Coordinator{cfg: cfg}, nil }

// Update takes a changed Source or Cluster, defaults filled in.
func (c *Coordinator) Update(source v1.Source, cluster v1.ClusterSpec) {}

// Tick lets time pass: leases, grants, relief, silent hosts. Idempotent.
func (c *Coordinator) Tick(ctx context.Context) error { return nil }

// Hello is described at its message, as are all below.
func (c *Coordinator) Hello(ctx context.Context, from v1.HostName, req *Hello) (*HelloAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Inventory(ctx context.Context, from v1.HostName, req *Inventory) (*InventoryAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Claim(ctx context.Context, from v1.HostName, req *Claim) (*ClaimAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Renew(ctx context.Context, from v1.HostName, req *Renew) (*RenewAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Release(ctx context.Context, from v1.HostName, req *Release) (*ReleaseAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Confirm(ctx context.Context, from v1.HostName, req *Confirm) (*ConfirmAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Relieve(ctx context.Context, from v1.HostName, req *Relieve) (*RelieveAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Drop(ctx context.Context, from v1.HostName, req *Drop) (*DropAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Dropped(ctx context.Context, from v1.HostName, req *Dropped) (*DroppedAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Retire(ctx context.Context, from v1.HostName, req *Retire) (*RetireAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Retired(ctx context.Context, from v1.HostName, req *Retired) (*RetiredAnswer, error) {
	return nil, errors.ErrUnsupported
}

func (c *Coordinator) Report(ctx context.Context, from v1.HostName, req *Report) (*ReportAnswer, error) {
	return nil, errors.ErrUnsupported
}

// Status is the source's state as counted; it costs nothing.
type Status struct {
	// Files and Bytes are of regular files.
	Files, Bytes int64
	// ReplicaFiles and ReplicaBytes count files by their number of confirmed current replicas on hosts that are not lost; the last entry is "8 and more".
	ReplicaFiles, ReplicaBytes [9]int64
	// Underserved: fewer than minReplicas; Overserved: more than maxReplicas.
	Underserved, Overserved           int64
	UnderservedBytes, OverservedBytes int64
	// Claimed is how many copies are under way.
	Claimed int64
	// Placeable is false when the desired replicas do not fit; PlaceableMessage says why and what to do.
	Placeable        bool
	PlaceableMessage string
	// Amnesic: no drop is granted until the hosts in WaitingFor have reported.
	Amnesic    bool
	WaitingFor []v1.HostName
	// Held deletions wait for approval.
	HeldDeletions int64
	// Unverified counts replicas, Corrupt those reported corrupt and not replaced yet.
	Corrupt int64
	// Problems are the first hundred, ProblemCount is of all.
	Problems     []v1.Problem
	ProblemCount int64
	// Hosts heard of since this coordinator started.
	Hosts []HostState
}

// HostState is how the coordinator sees one host.
type HostState struct {
	Name     v1.HostName
	LastSeen time.Time
	Live     bool
	Lost     bool
	// Replicas and Bytes are confirmed current ones.
	Replicas, Bytes int64
}

// Status tells how the source stands.
func (c *Coordinator) Status() Status { return Status{} }

// Query selects files. The zero Query is all files that are not deleted.
type Query struct {
	// Prefix is a file or a folder; "" is all.
	Prefix string
	// At most one of these.
	Underserved, Overserved, Unreplicated, Deleted bool
	// Host: only files of which this host holds a replica in any state.
	Host v1.HostName
	// Limit is how many at most; 0: all. Continue is where an earlier query ended ([ContinueToken]).
	Limit    int
	Continue string
}

// Files streams files in the order of their folders. No read transaction is held while the caller works.
func (c *Coordinator) Files(ctx context.Context, q Query) iter.Seq2[v1.File, error] { return nil }

// File tells of one; ErrNoFile.
func (c *Coordinator) File(ctx context.Context, path v1.RelPath) (v1.File, error) {
	return v1.File{}, ErrNoFile
}

// ManifestVersion names the catalog's present state as far as a manifest shows it; "" before the first complete scan.
func (c *Coordinator) ManifestVersion() string { return "" }

// WriteManifest writes the whole listing, from one consistent view.
func (c *Coordinator) WriteManifest(ctx context.Context, w io.Writer) error { return nil }
