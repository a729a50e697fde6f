package desired

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "clusterbackup/api/v1"
)

// Errors, to be told apart with errors.Is.
var (
	// ErrNotFound: there is no such resource.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the resource is not, or no longer, what the caller took it for.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: the object cannot be desired; the text names field and reason.
	ErrInvalid = errors.New("invalid")
	// ErrCorrupt: a file cannot be understood. It was left as it is.
	ErrCorrupt = errors.New("file is corrupted")
	// ErrClock: this host's clock, or a peer's, is too wrong for versions to be ordered by it.
	ErrClock = errors.New("clock is wrong")
)

// Store keeps the desired state. Objects that go in are not kept and those that come out are the caller's own. They carry no status.
// Safe for concurrent use.
type Store interface {
	// Get finds one resource: ErrNotFound. Kind is as in v1.KindSource.
	Get(ctx context.Context, kind, name string) (v1.Object, error)
	// List is all resources of a kind, by name.
	List(ctx context.Context, kind string) ([]v1.Object, error)
	// Apply makes a resource what obj says: ErrInvalid, ErrConflict. Labels, annotations and spec are replaced whole, except that annotations
	// under SystemPrefix change only with ApplyOptions.System. uid, creationTimestamp, generation and resourceVersion are the store's
	// affair whatever obj says of them; generation grows when spec changes.
	Apply(ctx context.Context, obj v1.Object, opts ApplyOptions) (Applied, error)
	// Delete removes a resource: ErrNotFound, ErrConflict.
	Delete(ctx context.Context, kind, name string, opts DeleteOptions) error
	// Watch calls notify after each change from now on, wherever it was made, until stop is called. A change is seen by Get before it is
	// notified. Notify must not block and must not call stop; it may be called from several goroutines, so it says that something
	// changed, not in which order.
	Watch(notify func(Change)) (stop func())
}

// SystemPrefix begins the annotations by which the system keeps its own marks on a resource. Users cannot change them by applying.
const SystemPrefix = "clusterbackup/"

// Result is what Apply did.
type Result string

// The values of Result.
const (
	Created    Result = "created"
	Configured Result = "configured"
	Unchanged  Result = "unchanged"
)

// Applied is what Apply did and what the resource is now (with DryRun: would be).
type Applied struct {
	Result Result
	Object v1.Object
}

// ApplyOptions modify Apply.
type ApplyOptions struct {
	// DryRun: check and tell, change nothing.
	DryRun bool
	// MustCreate: ErrConflict when there is such a resource already.
	MustCreate bool
	// IfResourceVersion: ErrConflict unless the resource is at that version; "" does not ask.
	IfResourceVersion string
	// System: annotations under SystemPrefix are replaced like the others.
	System bool
}

// DeleteOptions modify Delete.
type DeleteOptions struct {
	// DryRun: check and tell, change nothing.
	DryRun bool
	// IfResourceVersion: ErrConflict unless the resource is at that version; "" does not ask.
	IfResourceVersion string
}

// Change says that a resource was made, changed or deleted.
type Change struct {
	Kind, Name string
	Deleted    bool
}

// Event is something about the desired state that people should hear of.
type Event struct {
	// Kind and Name are the resource's; empty where it is about a file that is none.
	Kind, Name string
	// Reason is one CamelCase word: ConflictLost, ClockAhead, FileRefused, FileTaken, FileRestored.
	Reason  string
	Message string
}

// Options are what a Files store may be told. All but Host have useful zero values.
type Options struct {
	// Host is this host's name, which goes into the versions it makes.
	Host v1.HostName
	// Clock is the time; nil: time.Now.
	Clock func() time.Time
	// KeepDeleted is how long a deletion is remembered; 0: 90 days.
	KeepDeleted time.Duration
	// Events hears what people should hear of; it must not block nor call the store. Nil: nobody.
	Events func(Event)
}

func (o *Options) complete() {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.KeepDeleted == 0 {
		o.KeepDeleted = 90 * 24 * time.Hour
	}
	if o.Events == nil {
		o.Events = func(Event) {}
	}
}

// List is all resources of a kind, as values of their type: List[v1.Source](ctx, store).
func List[T any, P interface {
	*T
	v1.Object
}](ctx context.Context, s Store) ([]T, error) {
	objects, err := s.List(ctx, v1.KindOf(P(new(T))))
	if err != nil {
		return nil, err
	}
	all := make([]T, len(objects))
	for i, obj := range objects {
		all[i] = *obj.(P)
	}
	return all, nil
}

// Get is one resource as a value of its type: Get[v1.Source](ctx, store, "photos").
func Get[T any, P interface {
	*T
	v1.Object
}](ctx context.Context, s Store, name string) (P, error) {
	obj, err := s.Get(ctx, v1.KindOf(P(new(T))), name)
	if err != nil {
		return nil, err
	}
	return obj.(P), nil
}

func notFound(kind, name string) error {
	return fmt.Errorf("%s: %w", v1.Ref(kind, name), ErrNotFound)
}
