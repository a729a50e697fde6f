package admin

import (
	"context"
	"iter"
	"time"

	v1 "clusterbackup/api/v1"
)

// Backend is all that administrators ask of a host. Its methods may be called at once from several goroutines.
type Backend interface {
	Resources
	Files
	Members
	Operations
	Holders
}

// Resources reads and writes the desired state; what is read comes with the status that the answering host knows.
type Resources interface {
	// Get returns the objects of one kind, sorted by name: those named, or all when no name is given. A name that is not there
	// is an Error of reason NotFound. Specs are as they were written (v1.Default fills them in). TypeMeta is set.
	Get(ctx context.Context, kind string, names ...string) ([]v1.Object, error)
	// Apply makes the desired state hold objs: all of them are checked before the first is written, so invalid input changes
	// nothing. The answers are in the order of objs. An object whose metadata.resourceVersion is set and is not the present one
	// is a Conflict, as is an existing one under Create.
	Apply(ctx context.Context, objs []v1.Object, opts ApplyOptions) ([]Applied, error)
	// Delete removes one object; NotFound when there is none, Conflict when something would be lost and force is not set.
	Delete(ctx context.Context, kind, name string, force bool) error
	// Events returns what was noted lately, oldest first.
	Events(ctx context.Context, query EventQuery) ([]Event, error)
}

// Files reads the catalogs. A source whose host is down is answered for by another host where that is possible, and is an
// Error of reason Unavailable where not.
type Files interface {
	// Files streams files in pages, sources by name. Memory use does not grow with the number of files.
	Files(ctx context.Context, query FileQuery) iter.Seq2[FilePage, error]
	// File returns one file with every replica and version.
	File(ctx context.Context, source v1.SourceName, path v1.RelPath) (*v1.File, error)
}

// Members lets others in.
type Members interface {
	Version(ctx context.Context) (VersionInfo, error)
	// CreateToken makes a token with which one host may join, once, at the answering host.
	CreateToken(ctx context.Context, ttl time.Duration) (Token, error)
	// CreateIdentity makes an administrator's credential: the contents of the file for --identity.
	CreateIdentity(ctx context.Context, name string) (Identity, error)
}

// Operations are deeds that are not desired state.
type Operations interface {
	// Approve lets a held mass deletion of a source through and returns how many files it is about. A source without a held
	// deletion is a Conflict.
	Approve(ctx context.Context, source v1.SourceName) (deletions int64, err error)
	// Verify reads replicas now and streams progress; the last item has Done set. Ending the loop early stops nothing that was
	// found from being repaired.
	Verify(ctx context.Context, query VerifyQuery) iter.Seq2[VerifyProgress, error]
	// Top tells space, rates and queue depths of every host, location or source (kind is v1.KindHost, …).
	Top(ctx context.Context, kind string) ([]TopRow, error)
}

// Holders is what a restore needs: who holds what of a source, without its host.
type Holders interface {
	// Holders lists the locations that hold something of source, live or not.
	Holders(ctx context.Context, source v1.SourceName) ([]Holder, error)
	// Manifest streams the bytes of the listing (internal/manifest's format) that a holder has of source.
	Manifest(ctx context.Context, source v1.SourceName, holder HolderKey) iter.Seq2[[]byte, error]
	// Holdings streams the replicas and versions of source that a holder has, those at or below prefix ("" for all).
	Holdings(ctx context.Context, source v1.SourceName, holder HolderKey, prefix v1.RelPath) iter.Seq2[Holding, error]
}
