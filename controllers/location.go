package controllers

import (
	"context"
	"iter"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/location"
)

// Locations are a host's locations as the loops find them.
type Locations interface {
	// Use returns those that are open and know what they hold, sorted by name. None of them is closed until done is called.
	Use() (open []*OpenLocation, done func())
	// UseOne returns one of them, nil if it is none. It is not closed until done is called.
	UseOne(v1.LocationName) (l *OpenLocation, done func())
	// Waiting notes, for people, what a location waits for on account of one source; empty: nothing.
	Waiting(name v1.LocationName, source v1.SourceName, text string)
}

// OpenLocation is a location with what is wanted of it at the moment.
type OpenLocation struct {
	Location
	Name v1.LocationName
	// NoNew: it takes no new replicas. Draining: it is to be emptied, and takes none either.
	NoNew, Draining bool
	// Until ends when the location is to be closed: who uses it for long stops then.
	Until context.Context
	// Disk is the location as it lies on this host's disk, for what no loop does; nil in a simulation.
	Disk *location.Location
}

// untilClosed is Until for what uses all of some locations.
func untilClosed(ctx context.Context, locations []*OpenLocation) (until context.Context, stop func()) {
	uses := make([]context.Context, len(locations))
	for i, l := range locations {
		uses[i] = l.Until
	}
	return Until(ctx, uses...)
}

// Location is what the loops do with a location; package location says what each method promises.
type Location interface {
	Room
	Index
	Changes
	Checks
}

// Room is a location's identity and its space.
type Room interface {
	UID() string
	Space() location.Space
	Reserve(bytes int64, files int) (Reservation, error)
	// SourceDir is the folder that the replicas of a source lie in.
	SourceDir(v1.SourceName) string
}

// Reservation is room for a copy, until it is released or has begun to be used.
type Reservation interface {
	Release()
	// Begin hands the room over to a batch of files of one source. It sets o.Reservation itself.
	Begin(ctx context.Context, source v1.SourceName, o location.BatchOptions) (Batch, error)
}

// Batch is some files on their way into a location.
type Batch interface {
	Dir() string
	// Guard returns a context that ends when the location has no more room for the batch, or is not the one it was.
	Guard(context.Context) (guarded context.Context, stop func())
	Publish(context.Context, []location.Incoming) ([]location.Published, error)
	Close() error
}

// Index is what a location knows of what it holds.
type Index interface {
	Sources() ([]v1.SourceName, error)
	Held(v1.SourceName) (location.Held, error)
	Highest(v1.SourceName) (v1.Generation, error)
	ManifestVersion(v1.SourceName) (string, error)
	Get(v1.SourceName, v1.RelPath) (record location.Record, held bool, err error)
	GetAll(v1.SourceName, []v1.RelPath) (records []location.Record, held []bool, err error)
	Folders(source v1.SourceName, after string) iter.Seq2[location.Folder, error]
	Records(source v1.SourceName, prefix string) iter.Seq2[location.Record, error]
}

// Changes are what becomes of replicas.
type Changes interface {
	TakeOver(v1.SourceName, []location.Record) error
	Confirmed(v1.SourceName, []v1.RelPath) error
	Retire(ctx context.Context, source v1.SourceName, paths []v1.RelPath, keep time.Duration, still func(location.Record) bool) ([]error, error)
	DropAll(context.Context, v1.SourceName, []location.Doomed) ([]error, error)
}

// Checks compare a location's disk with its index.
type Checks interface {
	Rebuild(context.Context, func(location.Found)) (location.Found, error)
	Verify(context.Context, v1.SourceName, []v1.RelPath, location.VerifyOptions) ([]location.Verdict, error)
}

// onDisk makes a Location of one on disk.
type onDisk struct{ *location.Location }

func (l onDisk) Reserve(bytes int64, files int) (Reservation, error) {
	reservation, err := l.Location.Reserve(bytes, files)
	if err != nil {
		return nil, err
	}
	return onDiskRoom{reservation, l.Location}, nil
}

type onDiskRoom struct {
	*location.Reservation
	in *location.Location
}

func (r onDiskRoom) Begin(ctx context.Context, source v1.SourceName, o location.BatchOptions) (Batch, error) {
	o.Reservation = r.Reservation
	batch, err := r.in.Begin(ctx, source, o)
	if err != nil {
		return nil, err
	}
	return batch, nil
}
