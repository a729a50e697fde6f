package location

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
)

// Verdict is what reading a replica again showed.
type Verdict uint8

// The verdicts.
const (
	// Intact: the bytes have the digest that they had.
	Intact Verdict = iota + 1
	// Corrupt: they have not, or can't be read.
	Corrupt
	// Missing: the file is gone, and so is its record now.
	Missing
	// NotHeld: there was no such replica, or it was replaced meanwhile.
	NotHeld
)

// String is the verdict in one word.
func (v Verdict) String() string {
	return [...]string{"Unknown", "Intact", "Corrupt", "Missing", "NotHeld"}[min(v, 5-1)]
}

// VerifyOptions are for Verify.
type VerifyOptions struct {
	// Limit, when given, is asked before that many bytes are read, and waits.
	Limit func(ctx context.Context, bytes int) error
}

// Verify reads replicas again and compares their bytes with their digests. Verdicts are in the order of paths; what was found is
// recorded in one write.
func (l *Location) Verify(ctx context.Context, source v1.SourceName, paths []v1.RelPath, opts VerifyOptions) ([]Verdict, error) {
	leave, err := l.enterToWrite(ctx)
	if err != nil {
		return nil, fmt.Errorf("verify replicas of %s: %w", source, err)
	}
	defer leave()
	verdicts := make([]Verdict, len(paths))
	recs := make([]Record, len(paths))
	hash := newHasher()
	defer hash.close()
	hash.limit = opts.Limit
	for i, path := range paths {
		rec, held, err := l.Get(source, path)
		if err != nil {
			return nil, fmt.Errorf("verify replicas of %s: %w", source, err)
		}
		recs[i], verdicts[i] = rec, NotHeld
		if held {
			verdicts[i] = l.verifyOne(ctx, hash, source, &rec)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return verdicts, l.noteVerdicts(ctx, source, recs, verdicts)
}

func (l *Location) verifyOne(ctx context.Context, hash *hasher, source v1.SourceName, rec *Record) Verdict {
	dir, base := split(join(string(source), string(rec.Path)))
	at, err := l.top.open(dir)
	if err == nil {
		defer at.close()
		var st unix.Stat_t
		if st, err = at.stat(base); err == nil && isRegular(&st) {
			digest, err := hash.file(ctx, at, base, &st)
			if err == nil && digest == rec.Digest {
				return Intact
			}
			return Corrupt
		}
	}
	if isAbsent(err) {
		return Missing
	}
	return Corrupt
}

// noteVerdicts records what was found of replicas that are still the ones that were read.
func (l *Location) noteVerdicts(ctx context.Context, source v1.SourceName, recs []Record, verdicts []Verdict) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A disk that went away makes everything Missing: that is no finding.
	if err := l.Check(ctx); err != nil {
		return fmt.Errorf("verify replicas of %s: %w", source, err)
	}
	hash := newHasher()
	defer hash.close()
	return l.commit(func(u *update) error {
		s, err := u.source(source)
		if err != nil {
			return err
		}
		for i := range recs {
			now, held, err := s.get(recs[i].Path)
			if err != nil {
				return err
			}
			if verdicts[i] == NotHeld || !held || now != recs[i] {
				verdicts[i] = NotHeld
				continue
			}
			if verdicts[i] != Intact && l.verifyOne(ctx, hash, source, &now) != verdicts[i] {
				verdicts[i] = NotHeld // it was being replaced; the next round tells
				continue
			}
			if err := s.note(&now, verdicts[i], l.now().Unix()); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

func (s *sourceTx) note(rec *Record, verdict Verdict, now int64) error {
	if verdict == Missing {
		return s.remove(rec.Path)
	}
	rec.Bad = verdict == Corrupt
	if !rec.Bad {
		rec.Verified = now
	}
	return s.put(rec)
}
