package controllers

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
	"clusterbackup/reconcile"
)

const (
	// verifyBatch is how many replicas are read between two reports.
	verifyBatch = 256
	// scrubInterval is how often every replica is looked for on disk, without reading it.
	scrubInterval = time.Hour
	// verifyPause is how often a location is looked through for replicas whose time has come, at most.
	verifyPause = 10 * time.Minute
	// minVerifyPause bounds it for sources that are to be read very often.
	minVerifyPause = time.Second
)

// VerifyReconciler reads a location's replicas again, each within its source's interval, and reports what it finds to the
// coordinator: a corrupt replica stops counting and is copied anew.
type VerifyReconciler struct {
	Desired   Desired
	Sessions  *Sessions
	Locations Locations
	// Limit, when given, waits until that many bytes may be read.
	Limit    func(ctx context.Context, bytes int) error
	Counters *Counters
	Event    func(name v1.SourceName, warning bool, reason, message string)
	Env      Env
	Log      logr.Logger

	scrubbed map[v1.LocationName]time.Time // touched by the one worker alone
}

// Reconcile implements reconcile.Reconciler. It is to run with one worker.
func (r *VerifyReconciler) Reconcile(ctx context.Context, name v1.LocationName) (reconcile.Result, error) {
	l, done := r.Locations.UseOne(name)
	defer done()
	if l == nil {
		return reconcile.Result{}, nil
	}
	sources, err := l.Sources()
	if err == nil {
		err = r.scrub(ctx, l, sources)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	pause := verifyPause
	for _, source := range sources {
		want := sourceNamed(r.Desired, source)
		if want == nil || want.Spec.Verify.Interval.Duration == 0 {
			continue
		}
		interval := want.Spec.Verify.Interval.Duration
		pause = min(pause, interval/20)
		now := r.Env.now()
		pick := func(record location.Record) bool { return isDue(time.Unix(record.Verified, 0), now, interval) }
		if err := r.Verify(ctx, l, want, Reading{Pick: pick, SampleAbove: sampleAbove(want)}, nil); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{RequeueAfter: r.Env.jitter(max(pause, minVerifyPause))}, nil
}

// isDue tells whether a replica that was read last at a time is to be read again. A time in the future is of a clock that was wrong, and
// tells nothing; clocks of one host do not differ by a day else.
func isDue(verified, now time.Time, interval time.Duration) bool {
	return !verified.After(now.Add(-dueAfter(interval))) || verified.After(now.Add(24*time.Hour))
}

// dueAfter is the age at which a replica is read again: early enough that it is done before the interval has passed.
func dueAfter(interval time.Duration) time.Duration { return interval - interval/8 }

// sampleAbove is the size above which a source's replicas are sampled; 0: never.
func sampleAbove(source *v1.Source) int64 {
	if above := source.Spec.Verify.SampleAbove; above != nil {
		return above.Value()
	}
	return 0
}

// scrub looks whether what the index says is on the disk. Where it isn't, the coordinators are told at once, by a new inventory:
// nobody else's drop may rely on a replica that somebody has removed by hand.
func (r *VerifyReconciler) scrub(ctx context.Context, l *OpenLocation, sources []v1.SourceName) error {
	if r.Env.since(r.scrubbed[l.Name]) < scrubInterval {
		return nil
	}
	found, err := l.Rebuild(ctx, nil)
	if err != nil {
		return err
	}
	if r.scrubbed == nil {
		r.scrubbed = map[v1.LocationName]time.Time{}
	}
	r.scrubbed[l.Name] = r.Env.now()
	if found.Removed == 0 && found.Hashed == 0 {
		return nil
	}
	r.Log.Info("Replicas on disk differ from the index", "location", l.Name, "missing", found.Removed, "changed", found.Hashed)
	for _, source := range sources {
		if want := sourceNamed(r.Desired, source); want != nil {
			r.Event(source, true, "ReplicasChanged", string(l.Name)+": replicas were removed or changed on disk, not by this program")
			r.Sessions.Get(Client{Source: source, Coordinator: want.Spec.Host}).restart()
			r.Sessions.outdate(source, true)
		}
	}
	return nil
}

// Reading says which replicas are read, and how.
type Reading struct {
	// Pick chooses replicas; nil: all.
	Pick func(location.Record) bool
	// SampleAbove is the size above which blocks are sampled; 0: all replicas are read whole.
	SampleAbove int64
}

// Asked is the Reading that an administrator asks for: of all replicas, whole if full, else as the source says.
func Asked(source *v1.Source, full bool) Reading {
	if full {
		return Reading{}
	}
	return Reading{SampleAbove: sampleAbove(source)}
}

// Verify reads replicas of a source in a location, reports what is found, and tells progress (may be nil) after each batch.
func (r *VerifyReconciler) Verify(ctx context.Context, l *OpenLocation, source *v1.Source, reading Reading, progress func(Verified)) error {
	ctx, stop := Until(ctx, l.Until)
	defer stop()
	var batch []location.Record
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		verified, err := r.verifyBatch(ctx, l, source, batch, reading.SampleAbove)
		batch = batch[:0]
		if progress != nil && err == nil {
			progress(verified)
		}
		return err
	}
	for record, err := range l.Records(v1.SourceName(source.Name), "") {
		if err != nil {
			return err
		}
		if reading.Pick != nil && !reading.Pick(record) {
			continue
		}
		if batch = append(batch, record); len(batch) >= verifyBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// Verified is what one batch of replicas showed; Bytes are those that were read.
type Verified struct {
	Files, Bytes     int64
	Corrupt, Missing []v1.RelPath
}

func (r *VerifyReconciler) verifyBatch(ctx context.Context, l *OpenLocation, source *v1.Source, batch []location.Record, sampleAbove int64) (Verified, error) {
	name := v1.SourceName(source.Name)
	paths := make([]v1.RelPath, len(batch))
	for i, record := range batch {
		paths[i] = record.Path
	}
	var v Verified
	read := func(bytes int) {
		v.Bytes += int64(bytes)
		r.Counters.Add(name, l.Name, Count{VerifiedBytes: int64(bytes)})
	}
	verdicts, err := l.Verify(ctx, name, paths, location.VerifyOptions{Limit: r.Limit, Read: read, SampleAbove: sampleAbove})
	if err != nil {
		return Verified{}, err
	}
	var found []coordinator.Reported
	var corrupt []location.Record
	now := r.Env.now().UnixNano()
	for i, verdict := range verdicts {
		kind := findingOf(verdict)
		if kind == 0 {
			continue
		}
		v.Files++
		switch kind {
		case coordinator.FoundCorrupt:
			v.Corrupt = append(v.Corrupt, batch[i].Path)
			bad := batch[i]
			bad.Bad = true
			corrupt = append(corrupt, bad)
		case coordinator.FoundMissing:
			v.Missing = append(v.Missing, batch[i].Path)
		}
		found = append(found, coordinator.Reported{Path: batch[i].Path, Gen: batch[i].Gen, Kind: kind, At: now})
	}
	r.Counters.Add(name, l.Name, Count{CorruptReplicas: int64(len(v.Corrupt))})
	if bad := len(v.Corrupt) + len(v.Missing); bad > 0 {
		r.Event(name, true, "BadReplicas", string(l.Name)+" has corrupt or missing replicas; they no longer count and are copied anew")
		r.Sessions.outdate(name, true)
		r.Log.Info("Replicas are corrupt or missing", "source", name, "location", l.Name, "files", bad)
	}
	session := r.Sessions.Get(Client{Source: name, Coordinator: source.Spec.Host})
	if err := session.report(ctx, l.Name, found); err != nil {
		// The location remembers what is bad, and leaves it out of the inventory that the coordinator asks for next.
		r.Log.Info("Findings not reported yet", "source", name, "location", l.Name, "peer", source.Spec.Host, "reason", err.Error())
		session.restart()
		return v, nil
	}
	return v, r.setAside(ctx, session, l, source, corrupt)
}

// setAside moves corrupt replicas out of the way once the coordinator knows: a good copy can be claimed, and the bytes stay for
// whoever wants to look.
func (r *VerifyReconciler) setAside(ctx context.Context, s *Session, l *OpenLocation, source *v1.Source, corrupt []location.Record) error {
	return s.retire(ctx, l, corrupt, RetentionOf(source).Versions.Duration)
}

// findingOf is what the coordinator is told of a verdict; 0: nothing.
func findingOf(v location.Verdict) coordinator.Finding {
	switch v {
	case location.Intact:
		return coordinator.FoundGood
	case location.Corrupt:
		return coordinator.FoundCorrupt
	case location.Missing:
		return coordinator.FoundMissing
	}
	return 0
}
