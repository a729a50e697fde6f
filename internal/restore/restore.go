package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
	"clusterbackup/internal/manifest"
)

// Errors of Run.
var (
	// ErrIncomplete: some files were not restored, or only as an earlier version, of each of which Options.Report was told; or there
	// was no listing of the source (Result.Listed), so that nothing can be told of what no holder has.
	ErrIncomplete = errors.New("restore is incomplete")
	// ErrNotFound: neither listing nor holders know the path.
	ErrNotFound = errors.New("no such path in the source")
	// ErrDeleted: it is ErrNotFound too, but holders keep what it was earlier (Options.At).
	ErrDeleted = fmt.Errorf("%w, but earlier versions are kept", ErrNotFound)
	// ErrNoHolder: nobody who holds anything of the source can be reached.
	ErrNoHolder = errors.New("no holder can be reached")
)

// Holder is a location that holds something of the source, and answers.
type Holder struct {
	Host     v1.HostName
	Location v1.LocationName
	Address  string
}

// String is HOST/LOCATION.
func (h Holder) String() string { return string(h.Host) + "/" + string(h.Location) }

// Holding is one replica or version at a holder.
type Holding struct {
	Path    v1.RelPath
	Gen     v1.Generation
	Digest  v1.Digest
	Size    int64
	ModTime int64 // nanoseconds since 1970
	Mode    uint32
	// Version is the name below the source's folder of versions; "": the replica under its real name.
	Version v1.RelPath
	// Until is when the version stopped being current there, nanoseconds since 1970; 0 for the replica.
	Until int64
	// Since is when the holder got it, Seen when a listing of the source was first made that had it, Absent when one was last made that
	// had it not yet; nanoseconds since 1970, 0: not known.
	Since, Seen, Absent int64
}

// Cluster is what a restore asks of the cluster.
type Cluster interface {
	// Holders are those that can be asked.
	Holders(ctx context.Context, source v1.SourceName) ([]Holder, error)
	// Manifest streams the listing of the source that a holder has.
	Manifest(ctx context.Context, source v1.SourceName, h Holder) iter.Seq2[[]byte, error]
	// Holdings streams what a holder has at and below prefix ("": all).
	Holdings(ctx context.Context, source v1.SourceName, h Holder, prefix v1.RelPath) iter.Seq2[Holding, error]
	// Dial connects to the holder, which serves its location on the connection (stream.Serve).
	Dial(ctx context.Context, h Holder) (net.Conn, error)
}

// Overwrite says what becomes of files that are in the target already and are other than those to be restored.
type Overwrite string

// The values of Overwrite. A file that is the same already is left as it is by all of them.
const (
	Never  Overwrite = "never"  // it stays
	Older  Overwrite = "older"  // it is replaced if its modification time is the earlier one
	Always Overwrite = "always" // it is replaced
)

// Options are for Run.
type Options struct {
	Source v1.SourceName
	// Path is what is restored, a file or a folder; "": all. It arrives at To/Path.
	Path v1.RelPath
	// To is the target folder; it is made if need be. If it was empty and all is restored, it gets the source's root's attributes.
	To string
	// At, unless zero, asks for the files as they were then, as far as holders still have them.
	At        time.Time
	Overwrite Overwrite // "": Never
	// DryRun reports what would be done and writes nothing.
	DryRun bool
	// Owner gives files, folders and links their numeric owner and group; it needs root.
	Owner bool
	// Parallel is how many batches are fetched at once; 0: 3.
	Parallel int
	// Report is told of each file that is not simply restored (in a dry run: of every file), Progress of how far it is. Either may be
	// nil. They are called by one goroutine at a time.
	Report   func(Item)
	Progress func(Progress)

	syncFilesystem func(*os.File) (whole bool, err error)
}

// Outcome is what became of one path.
type Outcome string

// The outcomes. The restore is incomplete after Outdated, Lost, Failed.
const (
	Planned  Outcome = "Planned"  // a dry run would restore it
	Kept     Outcome = "Kept"     // another file has its name, and stays
	Outdated Outcome = "Outdated" // an earlier version was restored: the one that was listed has no live replica
	Lost     Outcome = "Lost"     // no live holder has any version
	Failed   Outcome = "Failed"   // it could not be fetched or written
	Unlisted Outcome = "Unlisted" // a live holder has it, but the listing that was followed does not: it is not restored
	Warned   Outcome = "Warned"   // it was restored, but for what Message says
)

// Item is one path and what became of it.
type Item struct {
	Path    v1.RelPath
	Outcome Outcome
	Message string
}

// Progress counts files and bytes. Done includes files that were there already or are kept.
type Progress struct{ Files, DoneFiles, Bytes, DoneBytes int64 }

// Result is what a restore did.
type Result struct {
	// Listed is when the listing was made that was followed; zero: there was none, and folders, links and owners are not restored.
	Listed time.Time
	// Restored files were written, Bytes in all; Same were there already.
	Restored, Bytes, Same int64
	Folders, Links        int64
	Kept, Outdated        int64
	Lost, Failed, Warned  int64
	Unlisted              int64
	// Blocked are those of Failed that the target did not take: no other holder would help.
	Blocked int64
	// Unreachable are holders that could not be asked.
	Unreachable []Holder
}

func (r *Result) incomplete() bool { return r.Lost+r.Failed+r.Outdated > 0 }

// Run restores. The Result counts also after an error; ErrIncomplete says that Report was told of what is missing.
func Run(ctx context.Context, cluster Cluster, opts Options) (Result, error) {
	opts.Overwrite = cmp.Or(opts.Overwrite, Never)
	if opts.syncFilesystem == nil {
		opts.syncFilesystem = syncFilesystem
	}
	opts.Parallel = cmp.Or(opts.Parallel, 3)
	r := &restore{cluster: cluster, opts: opts}
	err := r.run(ctx)
	if err == nil && (r.result.incomplete() || r.listing == nil && opts.At.IsZero()) {
		err = ErrIncomplete // without a listing nobody knows what else there was
	}
	if err != nil {
		err = fmt.Errorf("restore %s: %w", beneath.Join(string(opts.Source), string(opts.Path)), err)
	}
	return r.result, err
}

// restore is one Run.
type restore struct {
	cluster Cluster
	opts    Options
	holders []Holder
	table   *table
	listing *manifest.Header // nil: there is none
	target  *target
	tally
}

func (r *restore) run(ctx context.Context) (err error) {
	if err := r.check(); err != nil {
		return err
	}
	if r.holders, err = r.cluster.Holders(ctx, r.opts.Source); err != nil {
		return err
	}
	if r.table, err = newTable(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.table.close()) }()
	if err := r.gather(ctx); err != nil {
		return err
	}
	if err := r.plan(); err != nil {
		return err
	}
	if r.opts.DryRun {
		return r.dryRun()
	}
	return r.carryOut(ctx)
}

func (r *restore) check() error {
	switch r.opts.Overwrite {
	case Never, Older, Always:
	default:
		return fmt.Errorf("overwrite is %q: want never, older or always", r.opts.Overwrite)
	}
	if r.opts.Path == "" {
		return nil
	}
	_, err := v1.ParseRelPath(string(r.opts.Path))
	return err
}

func (r *restore) carryOut(ctx context.Context) (err error) {
	if r.target, err = openTarget(r.opts.To); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.target.closeFolders(), r.target.close()) }()
	if err := r.makeFolders(ctx); err != nil {
		return err
	}
	if err := r.fetchAll(ctx); err != nil {
		return err
	}
	if err := r.makeLinks(ctx); err != nil {
		return err
	}
	if err := r.finishFolders(ctx); err != nil {
		return err
	}
	if err := r.finishTarget(); err != nil {
		return err
	}
	return r.makeDurable()
}
