package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/reconcile"
)

// A batch is bounded by files and by bytes: it costs as many syncs whatever is in it, and what is in it counts only when all of it is
// there.
const (
	batchFiles = 4000
	batchBytes = 256 << 20
	// batchesAtOnce: one being claimed or hashed while others move bytes.
	batchesAtOnce = 2
	// round bounds a reconcile: after it, the client says hello again and sees what else has come up.
	round = 10 * time.Second
)

// CopyReconciler keeps this host's replicas of one source as the source's coordinator wants them, but for drops.
type CopyReconciler struct {
	Sessions  *Sessions
	Locations Locations
	// Wanted tells whether this host still is a client of that coordinator.
	Wanted func(Client) bool
	// Fetch brings files of a source here, what of them can be had; rsync.ErrFailed means that files are at fault.
	Fetch func(context.Context, Client, Fetch) error
	// Allowed tells whether copies may run now (a host's windows).
	Allowed func() bool
	// Retention returns how long retired files and earlier versions of a source are kept.
	Retention func(v1.SourceName) v1.Retention
	// Manifest fetches a source's manifest of this version into a location; where Client.Acting, if there is none in it.
	Manifest func(context.Context, Client, *OpenLocation, string) error
	// Drops is told of clients whose coordinator has surplus or deletions for them, or whose host needs room.
	Drops interface{ Enqueue(Client) }
	// Shortage is shared with the drop loop.
	Shortage *Shortage
	// Event is told what people should know of a location.
	Event func(name v1.LocationName, warning bool, reason, message string)
	// Counters are shown as metrics.
	Counters *Counters
	Env      Env
	Log      logr.Logger

	mu        sync.Mutex
	claimable map[Client]bool
	manifests map[manifestKey]string
	pending   map[Client][]unconfirmed
	silent    map[Client]int // how often a coordinator did not answer, in a row
	underway  map[v1.LocationName]int64
	claims    map[v1.LocationName]sync.Locker
	failing   map[failure]bool
}

// failure is what a location fails to take.
type failure struct {
	source   v1.SourceName
	location v1.LocationName
}

// Fetch says what to bring from a source, and where to.
type Fetch struct {
	Files []coordinator.Claimed
	// Origin is the location to bring them from; nil: the source itself.
	Origin *coordinator.Origin
	// Dest is the folder to bring them to; what an interrupted copy left there may be gone on with. Earlier is where earlier versions of
	// those lie that are Held.
	Dest, Earlier string
	// MaxSize is how large a file may be, in bytes; larger ones don't come.
	MaxSize int64
	// MaxBytes is how much may come in all; rsync.ErrTooLarge says that there was more.
	MaxBytes int64
	// Received is told of bytes as they come over the wire, Refused of files that cannot be written here, and why.
	Received func(bytes int)
	Refused  func(v1.RelPath, error)
}

type manifestKey struct {
	client   Client
	location string
}

// Reconcile implements reconcile.Reconciler.
func (r *CopyReconciler) Reconcile(ctx context.Context, c Client) (reconcile.Result, error) {
	if !r.Wanted(c) {
		r.Forget(c) // it may have been at work when it ceased to be wanted
		return reconcile.Result{}, nil
	}
	s := r.Sessions.Get(c)
	locations, done := r.Locations.Use()
	defer done()
	if len(locations) == 0 {
		return reconcile.Result{RequeueAfter: r.Env.jitter(5 * time.Second)}, nil
	}
	ctx, stop := untilClosed(ctx, locations)
	defer stop()
	s.refresh()
	hello, err := helloOf(c.Source, locations)
	if err != nil {
		return reconcile.Result{}, err
	}
	hello.Sought = r.Shortage.sought(c)
	answer, err := s.hello(ctx, hello)
	if err != nil {
		r.Shortage.forget(c) // nothing can come from there
		r.setClaimable(c, false)
		return reconcile.Result{RequeueAfter: r.Env.jitter(r.unanswered(s, err))}, nil
	}
	r.answered(c)
	if s.outdated.Load() { // the answer took long, and is one to what was held before
		return reconcile.Result{RequeueAfter: time.Millisecond}, nil
	}
	r.setClaimable(c, answer.Claimable)
	r.Shortage.need(c, answer.Needed)
	if err := r.inventory(ctx, s, answer, locations); err != nil {
		return reconcile.Result{}, err
	}
	if err := r.confirmPending(ctx, s, locations); err != nil {
		return reconcile.Result{}, err
	}
	copied, again, err := r.copy(ctx, s, answer, locations)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !c.Acting && (answer.Retire || answer.Surplus || r.needsRoom(locations)) {
		r.Drops.Enqueue(c)
	}
	if copied > 0 {
		return reconcile.Result{RequeueAfter: time.Millisecond}, nil
	}
	fetched, err := r.manifest(ctx, c, answer, locations)
	if err != nil {
		r.Log.Info("Manifest not fetched", "source", c.Source, "peer", c.Coordinator, "reason", err.Error())
	}
	if fetched { // the next Hello tells of it
		return reconcile.Result{RequeueAfter: time.Millisecond}, nil
	}
	return reconcile.Result{RequeueAfter: r.Env.jitter(min(again, s.pollAfter(answer)))}, nil
}

func helloOf(source v1.SourceName, locations []*OpenLocation) (*coordinator.Hello, error) {
	hello := &coordinator.Hello{}
	for _, l := range locations {
		listing, err := l.ManifestVersion(source)
		if err != nil {
			return nil, err
		}
		space := l.Space()
		hello.Locations = append(hello.Locations, coordinator.LocationInfo{
			Name: l.Name, UID: l.UID(), Capacity: space.Capacity, Used: space.Used, Free: space.Free,
			NoNew: l.NoNew, Draining: l.Draining, Listing: listing,
		})
		highest, err := l.Highest(source)
		if err != nil {
			return nil, err
		}
		held, err := l.Held(source)
		if err != nil {
			return nil, err
		}
		hello.Holds = hello.Holds || held.Replicas > 0
		if highest.Compare(hello.Highest) > 0 {
			hello.Highest = highest
		}
	}
	return hello, nil
}

// copy claims and copies into each location until there is nothing more to claim, or the round is over. It returns how many files
// came, and when the coordinator wants to be asked again. A location that takes nothing keeps nothing from the others; an error means
// that none took anything.
func (r *CopyReconciler) copy(ctx context.Context, s *Session, answer *coordinator.HelloAnswer, locations []*OpenLocation) (int64, time.Duration, error) {
	again := answer.PollAfter
	extra := answer.Extra && !r.anyClaimable()
	may := r.Allowed() && (answer.Claimable || extra)
	total := int64(0)
	var failed error
	for _, l := range locations {
		if !may || l.NoNew || l.Draining {
			r.Shortage.want(s.client, l.Name, 0, 0)
			continue
		}
		copied, after, err := r.fill(ctx, s, l, extra)
		total += copied
		if after > 0 {
			again = min(again, after)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("copy into location %s: %w", l.Name, err))
		}
		r.tellOf(s, l, copied, err)
	}
	if total > 0 {
		return total, again, nil
	}
	return total, again, failed
}

// tellOf tells people, once, that a location can't take what is copied into it.
func (r *CopyReconciler) tellOf(s *Session, l *OpenLocation, copied int64, err error) {
	what := failure{s.client.Source, l.Name}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil && copied > 0:
		delete(r.failing, what)
	case atFault(err) && !r.failing[what]:
		if r.failing == nil {
			r.failing = map[failure]bool{}
		}
		r.failing[what] = true
		r.Event(l.Name, true, "CopyFailed", fmt.Sprintf("source %s: %v", s.client.Source, err))
		r.Log.Info("Location takes nothing", "location", l.Name, "source", s.client.Source, "reason", err.Error())
	}
}

// fill claims and copies into one location, some batches at once.
func (r *CopyReconciler) fill(ctx context.Context, s *Session, l *OpenLocation, extra bool) (int64, time.Duration, error) {
	var copied, again atomic.Int64
	began := r.Env.now()
	err := r.Env.together(ctx, batchesAtOnce, func(ctx context.Context) error {
		for again.Load() == 0 && r.Env.since(began) < round {
			n, err := r.batch(ctx, s, l, extra, &again)
			copied.Add(int64(n))
			if err != nil || n == 0 {
				return err
			}
		}
		return nil
	})
	return copied.Load(), time.Duration(again.Load()), err
}

// unanswered notes that a coordinator does not answer, and returns when to ask again: ever later, but soon enough to notice when its
// host is back.
func (r *CopyReconciler) unanswered(s *Session, err error) time.Duration {
	c, most := s.client, max(maxSilence, s.Latest().PollAfter)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent == nil {
		r.silent = map[Client]int{}
	}
	if r.silent[c]++; r.silent[c] == 5 { // a source that was made just now may not be open yet
		r.Log.Info("Coordinator does not answer", "source", c.Source, "peer", c.Coordinator, "reason", err.Error())
	}
	return min(50*time.Millisecond<<min(r.silent[c], 20), most)
}

// maxSilence is how long a coordinator that does not answer is left alone at the most, unless it wants to be asked more seldom anyway.
const maxSilence = 30 * time.Second

// answered notes that it does.
func (r *CopyReconciler) answered(c Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent[c] > 4 {
		r.Log.Info("Coordinator answers again", "source", c.Source, "peer", c.Coordinator)
	}
	delete(r.silent, c)
}

// manifest fetches the source's listing into each location that holds something of it, when it is another than the one there.
func (r *CopyReconciler) manifest(ctx context.Context, c Client, answer *coordinator.HelloAnswer, locations []*OpenLocation) (fetched bool, err error) {
	if answer.Manifest == "" {
		return false, nil
	}
	for _, l := range locations {
		if held, err := l.Held(c.Source); err != nil || held.Replicas == 0 {
			continue
		}
		key := manifestKey{c, l.UID()}
		r.mu.Lock()
		have := r.manifests[key]
		r.mu.Unlock()
		if have == answer.Manifest {
			continue
		}
		if err := r.Manifest(ctx, c, l, answer.Manifest); err != nil {
			return fetched, err
		}
		fetched = true
		r.mu.Lock()
		if r.manifests == nil {
			r.manifests = map[manifestKey]string{}
		}
		r.manifests[key] = answer.Manifest
		r.mu.Unlock()
	}
	return fetched, nil
}

func (r *CopyReconciler) setClaimable(c Client, claimable bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claimable == nil {
		r.claimable = map[Client]bool{}
	}
	r.claimable[c] = claimable
}

// claiming is held while a location's room is claimed.
func (r *CopyReconciler) claiming(l v1.LocationName) sync.Locker {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claims == nil {
		r.claims = map[v1.LocationName]sync.Locker{}
	}
	if r.claims[l] == nil {
		r.claims[l] = r.Env.lock()
	}
	return r.claims[l]
}

// Underway is how many files are being copied into a location.
func (r *CopyReconciler) Underway(l v1.LocationName) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.underway[l]
}

func (r *CopyReconciler) addUnderway(l v1.LocationName, files int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.underway == nil {
		r.underway = map[v1.LocationName]int64{}
	}
	r.underway[l] += int64(files)
}

// anyClaimable tells whether some source has underserved files for this host: spare room isn't spare then.
func (r *CopyReconciler) anyClaimable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, claimable := range r.claimable {
		if claimable {
			return true
		}
	}
	return false
}

// Forget drops what is remembered of a client whose source is gone.
func (r *CopyReconciler) Forget(c Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.claimable, c)
	delete(r.pending, c)
	delete(r.silent, c)
	r.Shortage.forget(c)
}

// needsRoom tells whether a location of this host wants to be rid of something.
func (r *CopyReconciler) needsRoom(locations []*OpenLocation) bool {
	return slices.ContainsFunc(locations, func(l *OpenLocation) bool {
		return l.Draining || over(l.Space()) > 0 || r.Shortage.lacking(l.Name) > 0
	})
}
