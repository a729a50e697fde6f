package location

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// Doomed is a replica that the coordinator permits to drop.
type Doomed struct {
	Path v1.RelPath
	// Gen is the generation that is to be there; zero: the coordinator doesn't know which it is, and any may go.
	Gen v1.Generation
	// Valid tells whether the permission still holds; it is asked right before the file is deleted.
	Valid func() bool
}

// Drop deletes one replica for good: no version is kept. ErrNotHeld, ErrGeneration and ErrGrant mean that nothing was deleted.
func (l *Location) Drop(ctx context.Context, source v1.SourceName, path v1.RelPath, gen v1.Generation, valid func() bool) error {
	errs, err := l.DropAll(ctx, source, []Doomed{{Path: path, Gen: gen, Valid: valid}})
	if err != nil {
		return err
	}
	return errs[0]
}

// DropAll drops several replicas at the cost of one. Errors are per file, in the order given; the last result means that the whole
// failed, and what was deleted will show when the location is opened again.
func (l *Location) DropAll(ctx context.Context, source v1.SourceName, doomed []Doomed) ([]error, error) {
	leave, err := l.enterToWrite(ctx)
	if err != nil {
		return nil, fmt.Errorf("drop replicas of %s: %w", source, err)
	}
	defer leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(checkSourceName(source), l.Check(ctx)); err != nil {
		return nil, fmt.Errorf("drop replicas of %s: %w", source, err)
	}
	errs := make([]error, len(doomed))
	recs, err := l.heldOf(source, doomed, errs)
	if err != nil {
		return nil, fmt.Errorf("drop replicas of %s: %w", source, err)
	}
	if err := l.dropRecords(ctx, source, doomed, recs, errs); err != nil {
		return nil, fmt.Errorf("drop replicas of %s: %w", source, err)
	}
	l.prune(source, recs)
	return errs, nil
}

// heldOf finds the records, and refuses what is not held in the generation that was named.
func (l *Location) heldOf(source v1.SourceName, doomed []Doomed, errs []error) ([]Record, error) {
	recs := make([]Record, len(doomed))
	err := l.db.View(func(tx *bbolt.Tx) error {
		s := readSource(tx, source)
		for i, d := range doomed {
			rec, held, err := s.get(d.Path)
			switch {
			case err != nil:
				return err
			case !held:
				errs[i] = fmt.Errorf("%q: %w", d.Path, ErrNotHeld)
			case rec.Gen != d.Gen && !d.Gen.IsZero():
				errs[i] = fmt.Errorf("%q: generation %v, not %v: %w", d.Path, rec.Gen, d.Gen, ErrGeneration)
			}
			recs[i] = rec
			recs[i].Path = d.Path
		}
		return nil
	})
	return recs, err
}

func (l *Location) dropRecords(ctx context.Context, source v1.SourceName, doomed []Doomed, recs []Record, errs []error) error {
	var intents []*intent
	for i := range doomed {
		if errs[i] == nil {
			intents = append(intents, &intent{kind: intentDrop, source: source, record: recs[i]})
		}
	}
	if len(intents) == 0 {
		return nil
	}
	if err := l.commit(func(u *update) error { return u.putIntents(intents) }, nil); err != nil {
		return fmt.Errorf("write intents: %w", err)
	}
	l.fault("dropIntents")
	sync, err := l.newSyncer()
	if err != nil {
		return l.unsettled(err)
	}
	defer sync.close()
	sync.plan(len(intents), l.wholeSync)
	identity := l.Check(ctx) // once more: writing the intents may have taken a while
	for i, d := range doomed {
		switch {
		case errs[i] != nil:
		case identity != nil:
			errs[i] = identity
		case d.Valid == nil || !d.Valid():
			errs[i] = fmt.Errorf("%q: %w", d.Path, ErrGrant)
		default:
			errs[i] = l.unlink(sync, beneath.Join(string(source), string(d.Path)))
			l.fault("dropped")
		}
	}
	if err := sync.sync(); err != nil {
		return l.unsettled(fmt.Errorf("sync folders: %w", err))
	}
	err = l.commit(func(u *update) error {
		s, err := u.source(source)
		if err != nil {
			return err
		}
		for i, rec := range recs {
			if errs[i] != nil {
				continue
			}
			if err := s.remove(rec.Path); err != nil {
				return err
			}
		}
		return u.clearIntents()
	}, nil)
	if err != nil {
		return l.unsettled(fmt.Errorf("record drops: %w", err))
	}
	return nil
}

// unlink deletes a file below the location. One that is gone already is no error.
func (l *Location) unlink(sync *syncer, path string) error {
	dir, base := beneath.Split(path)
	at, err := l.top.Open(dir)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	sync.touched(dir)
	if err := at.Remove(base); err != nil && !isAbsent(err) {
		return fmt.Errorf("delete %q: %w", path, err)
	}
	return nil
}

// Retire moves replicas of files that the source no longer has to versions/, where they are kept for keepFor at least by this host's
// clock. still, when given, tells by its record whether a replica is the one that is meant: others stay (ErrReplaced). Errors are per
// path, in the order given; a path that is not held is no error.
func (l *Location) Retire(ctx context.Context, source v1.SourceName, paths []v1.RelPath, keepFor time.Duration, still func(Record) bool) ([]error, error) {
	leave, err := l.enterToWrite(ctx)
	if err != nil {
		return nil, fmt.Errorf("retire files of %s: %w", source, err)
	}
	defer leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(checkSourceName(source), l.Check(ctx)); err != nil {
		return nil, fmt.Errorf("retire files of %s: %w", source, err)
	}
	errs := make([]error, len(paths))
	var recs []Record
	var at []int
	err = l.db.View(func(tx *bbolt.Tx) error {
		s := readSource(tx, source)
		for i, path := range paths {
			rec, held, err := s.get(path)
			if err != nil {
				return err
			}
			switch {
			case !held:
			case still != nil && !still(rec):
				errs[i] = fmt.Errorf("%q: %w", path, ErrReplaced)
			default:
				recs, at = append(recs, rec), append(at, i)
			}
		}
		return nil
	})
	if err != nil || len(recs) == 0 {
		return errs, err
	}
	found, err := l.retire(source, recs, promise{keep: keepFor}, Retired)
	if err != nil {
		return nil, fmt.Errorf("retire files of %s: %w", source, err)
	}
	for i, err := range found {
		errs[at[i]] = err
	}
	l.prune(source, recs)
	return errs, nil
}
