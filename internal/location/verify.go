package location

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
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
	// Read, when given, is told of the bytes as they are read.
	Read func(bytes int)
	// SampleAbove: of replicas larger than that, blocks are sampled, if they were read whole before. 0: all are read whole.
	SampleAbove int64
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
	checks := make([]check, len(paths))
	hash := newHasher()
	defer hash.close()
	hash.limit, hash.read = opts.Limit, opts.Read
	for i, path := range paths {
		c, held, err := l.beginCheck(source, path)
		if err != nil {
			return nil, fmt.Errorf("verify replicas of %s: %w", source, err)
		}
		verdicts[i] = NotHeld
		if held {
			verdicts[i] = l.verifyOne(ctx, hash, source, &c, opts.SampleAbove)
		}
		checks[i] = c
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return verdicts, l.noteVerdicts(ctx, source, checks, verdicts)
}

// check is one replica that is read.
type check struct {
	rec Record
	// known are its blocks as noted earlier, noted those of this reading; nil: none are.
	known, noted *blocks
}

func (l *Location) beginCheck(source v1.SourceName, path v1.RelPath) (c check, held bool, err error) {
	if err := l.known(); err != nil {
		return c, false, err
	}
	err = l.db.View(func(tx *bbolt.Tx) (err error) {
		s := readSource(tx, source)
		if c.rec, held, err = s.get(path); held {
			c.known = s.blocksOf(&c.rec)
		}
		return err
	})
	return c, held, err
}

// verifyOne reads a replica: a sample of its blocks if it is larger than sampleAbove (0: never) and they are known, else the whole.
func (l *Location) verifyOne(ctx context.Context, hash *hasher, source v1.SourceName, c *check, sampleAbove int64) Verdict {
	dir, base := beneath.Split(beneath.Join(string(source), string(c.rec.Path)))
	at, err := l.top.Open(dir)
	if err == nil {
		defer at.Close()
		var st unix.Stat_t
		if st, err = at.Stat(base); err == nil && beneath.IsRegular(&st) {
			if sampleAbove > 0 && st.Size > sampleAbove && hash.sampled(ctx, at, base, &st, c) {
				return Intact
			}
			return hash.whole(ctx, at, base, &st, c)
		}
	}
	if isAbsent(err) {
		return Missing
	}
	return Corrupt
}

func (h *hasher) whole(ctx context.Context, at beneath.Folder, base string, st *unix.Stat_t, c *check) Verdict {
	digest, err := h.file(ctx, at, base, st)
	if err != nil || digest != c.rec.Digest {
		return Corrupt
	}
	if c.known == nil {
		c.noted = h.blocks.of(digest)
	}
	return Intact
}

// sampled tells whether a sample of a replica's blocks is what it was. If that can't be told, the whole has to be read.
func (h *hasher) sampled(ctx context.Context, at beneath.Folder, base string, st *unix.Stat_t, c *check) bool {
	if c.known == nil || st.Size != c.rec.Size || !sameTime(c.rec.ModTime, beneath.ModTime(st)) {
		return false
	}
	fd, err := at.OpenFile(base)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	for _, i := range c.known.sample(rand.IntN(sampleStride)) {
		if sum, err := h.block(ctx, fd, int64(i)*c.known.size, c.known.size); err != nil || sum != c.known.sums[i] {
			return false
		}
	}
	return true
}

// block is the checksum of the bytes of a file from an offset on, up to a block's size.
func (h *hasher) block(ctx context.Context, fd int, from, size int64) (sum uint32, err error) {
	for to := from + size; from < to; {
		if err := h.ask(ctx, len(h.buf)); err != nil {
			return 0, err
		}
		var n int
		if err := beneath.Retry(func() (err error) { n, err = unix.Pread(fd, h.buf[:min(to-from, int64(len(h.buf)))], from); return err }); err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		h.tell(n)
		sum = crc32.Update(sum, castagnoli, h.buf[:n])
		from += int64(n)
	}
	return sum, nil
}

// noteVerdicts records what was found of replicas that are still the ones that were read.
func (l *Location) noteVerdicts(ctx context.Context, source v1.SourceName, checks []check, verdicts []Verdict) error {
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
		for i := range checks {
			rec := checks[i].rec
			now, held, err := s.get(rec.Path)
			if err != nil {
				return err
			}
			if verdicts[i] == NotHeld || !held || now != rec {
				verdicts[i] = NotHeld
				continue
			}
			if verdicts[i] != Intact && l.verifyOne(ctx, hash, source, &check{rec: now}, 0) != verdicts[i] {
				verdicts[i] = NotHeld // it was being replaced; the next round tells
				continue
			}
			if err := s.note(&now, verdicts[i], l.cfg.Clock().Unix()); err != nil {
				return err
			}
			if checks[i].noted != nil {
				if err := s.putBlocks(rec.Path, checks[i].noted); err != nil {
					return err
				}
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
