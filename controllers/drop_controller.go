package controllers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
	"clusterbackup/reconcile"
)

const (
	dropFiles   = 1000
	retireFiles = 1000
)

// DropReconciler lets go of what this host holds of one source and shall not, or need not, hold: files deleted in the source
// move to versions/; surplus, and what a location that is too full or draining wants to be rid of, is deleted, each file
// under a grant of the source's coordinator.
type DropReconciler struct {
	Sessions  *Sessions
	Locations Locations
	// Wanted tells whether this host still is a client of that coordinator.
	Wanted    func(Client) bool
	Retention func(v1.SourceName) v1.Retention
	// Shortage is the room that is lacking, as the copy loop has it.
	Shortage *Shortage
	// Copies is told of clients for which there is room now.
	Copies   interface{ Enqueue(Client) }
	Counters *Counters
	Log      logr.Logger
}

// Reconcile implements reconcile.Reconciler.
func (r *DropReconciler) Reconcile(ctx context.Context, c Client) (reconcile.Result, error) {
	if c.Acting || !r.Wanted(c) {
		return reconcile.Result{}, nil
	}
	s := r.Sessions.Get(c)
	var next time.Duration
	locations, done := r.Locations.Use()
	defer done()
	ctx, stop := untilClosed(ctx, locations)
	defer stop()
	for _, l := range locations {
		held, err := l.Held(c.Source)
		if err != nil {
			return reconcile.Result{}, err
		}
		if held.Replicas == 0 {
			r.Shortage.accept(c, l.Name, 0)
			r.Locations.Waiting(l.Name, c.Source, "")
			continue
		}
		if err := r.retire(ctx, s, l); err != nil {
			return reconcile.Result{}, err
		}
		wish := r.wish(c, l, held, s.Latest().Surplus)
		after, n, err := r.fulfil(ctx, s, l, wish)
		if err != nil {
			return reconcile.Result{}, err
		}
		if n > 0 {
			r.makeKnown(c, l.Name)
		}
		if after > 0 && (next == 0 || after < next) {
			next = after
		}
	}
	return reconcile.Result{RequeueAfter: next}, nil
}

// makeKnown has those look at a location that wait for room there, and the client that made it.
func (r *DropReconciler) makeKnown(c Client, l v1.LocationName) {
	r.Copies.Enqueue(c)
	for _, other := range r.Shortage.waiting(l) {
		r.Copies.Enqueue(other)
	}
}

// retire moves to versions/ what the coordinator says is deleted in the source.
func (r *DropReconciler) retire(ctx context.Context, s *Session, l *OpenLocation) error {
	for {
		more, err := s.retirement(ctx, l, r.Retention(s.client.Source).Deleted.Duration)
		if err != nil || !more {
			return err
		}
	}
}

// over is how many bytes lie in a location above what capacity and reserve allow.
func over(s location.Space) int64 { return max(0, s.Used+s.Reserved-s.Capacity) }

// wish is what a location wants of one source.
type wish struct {
	reason string // empty: nothing
	bytes  int64  // that are to go; 0: whatever is surplus
	relief int64  // that are to be copied elsewhere first, unless they are surplus
}

// most is up to how many bytes may be granted: surplus has no bound but its own.
func (w wish) most() int64 {
	if w.bytes == 0 {
		return math.MaxInt64
	}
	return w.bytes
}

func (r *DropReconciler) wish(c Client, l *OpenLocation, held location.Held, surplus bool) wish {
	over, lacking := over(l.Space()), r.Shortage.lacking(l.Name)
	// What other sources have taken on need not be asked of this one. Where it is itself what lacks room, its own coordinator sees to that.
	wanted, accepted := r.Shortage.others(c, l.Name)
	switch {
	case l.Draining:
		all := max(held.ReplicaBytes, 1)
		return wish{coordinator.ReasonDraining, all, all}
	case over > 0:
		return wish{coordinator.ReasonOverCapacity, over, over - accepted}
	case lacking > 0:
		return wish{coordinator.ReasonStarving, lacking, wanted - accepted}
	case surplus:
		return wish{reason: coordinator.ReasonSurplus}
	}
	return wish{}
}

// fulfil asks for relief where room is needed, and drops what may be dropped. It returns when to ask again, 0 for never, and
// how many files were dropped.
func (r *DropReconciler) fulfil(ctx context.Context, s *Session, l *OpenLocation, w wish) (time.Duration, int, error) {
	after, err := r.relieve(ctx, s, l, w)
	if err != nil || w.reason == "" {
		return 0, 0, err
	}
	total := 0
	for {
		answer, dropped, err := s.drop(ctx, l, w)
		total += len(dropped)
		r.count(s, l, dropped)
		if err != nil {
			return 0, total, err
		}
		if len(dropped) == 0 {
			return max(after, answer.RetryAfter), total, nil
		}
	}
}

// relieve asks for relief where room is needed, and returns when to ask again.
func (r *DropReconciler) relieve(ctx context.Context, s *Session, l *OpenLocation, w wish) (after time.Duration, err error) {
	answer, waiting := &coordinator.RelieveAnswer{}, ""
	if w.relief > 0 {
		answer, err = s.peer.Relieve(ctx, &coordinator.Relieve{Source: s.client.Source, Location: l.Name, Bytes: w.relief, Reason: w.reason})
		if err != nil {
			r.Shortage.accept(s.client, l.Name, 0)
			return 0, err
		}
		after, waiting = max(answer.RetryAfter, time.Second), waitingFor(w, answer)
	}
	r.Shortage.accept(s.client, l.Name, answer.Accepted)
	r.Locations.Waiting(l.Name, s.client.Source, waiting)
	return after, nil
}

func (r *DropReconciler) count(s *Session, l *OpenLocation, dropped []v1.RelPath) {
	if len(dropped) == 0 {
		return
	}
	r.Counters.Add(s.client.Source, l.Name, Count{DroppedFiles: int64(len(dropped))})
	r.Log.Info("Dropped replicas", "source", s.client.Source, "location", l.Name, "files", len(dropped))
}

func waitingFor(w wish, answer *coordinator.RelieveAnswer) string {
	if answer.Accepted == 0 {
		return fmt.Sprintf("%s: wants %d bytes copied elsewhere; none accepted: %s", w.reason, w.relief, answer.Why)
	}
	return fmt.Sprintf("%s: waits for relief: %d files, %d bytes being copied elsewhere", w.reason, answer.Files, answer.Accepted)
}

// retirement asks once for files that are deleted in the source and moves them to versions/; more: there are others.
func (s *Session) retirement(ctx context.Context, l *OpenLocation, keep time.Duration) (more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := &coordinator.Retire{Source: s.client.Source, Location: l.Name, Max: retireFiles}
	request.Life, request.Turn = s.next()
	answer, err := s.peer.Retire(ctx, request)
	if err != nil || len(answer.Files) == 0 {
		return false, err
	}
	paths := make([]v1.RelPath, len(answer.Files))
	for i, f := range answer.Files {
		paths[i] = f.Path
	}
	return answer.More, s.retireLocked(ctx, l, paths, keep, nil)
}

// drop asks once for grants and deletes under them; it returns what was deleted. The lock is held throughout, so that nothing
// is confirmed while a grant is in hand. A grant's time is counted from before the question.
func (s *Session) drop(ctx context.Context, l *OpenLocation, w wish) (*coordinator.DropAnswer, []v1.RelPath, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.env.boottime()
	request := &coordinator.Drop{Source: s.client.Source, Location: l.Name, MaxFiles: dropFiles, MaxBytes: w.most(), Reason: w.reason}
	request.Life, request.Turn = s.next()
	answer, err := s.peer.Drop(ctx, request)
	if err != nil || len(answer.Grants) == 0 {
		return answer, nil, err
	}
	doomed := make([]location.Doomed, len(answer.Grants))
	for i, g := range answer.Grants {
		doomed[i] = location.Doomed{Path: g.Path, Gen: g.Gen, Valid: func() bool { return s.env.boottime()-asked < g.For }}
	}
	errs, err := l.DropAll(ctx, s.client.Source, doomed)
	if err != nil {
		return answer, nil, err
	}
	report := &coordinator.Dropped{Source: s.client.Source, Location: l.Name}
	var dropped []v1.RelPath
	for i, g := range answer.Grants {
		gone := errs[i] == nil || errors.Is(errs[i], location.ErrNotHeld)
		report.Grants = append(report.Grants, coordinator.GrantResult{ID: g.ID, Path: g.Path, Dropped: gone})
		if errs[i] == nil {
			dropped = append(dropped, g.Path)
		}
	}
	report.Life, report.Turn = s.next()
	_, err = s.peer.Dropped(ctx, report)
	return answer, dropped, err
}
