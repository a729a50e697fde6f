package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/manifest"
)

// gather fills the table: the newest whole listing, then what each holder has.
func (r *restore) gather(ctx context.Context) error {
	if len(r.holders) == 0 {
		return ErrNoHolder
	}
	if err := r.gatherListing(ctx); err != nil {
		return err
	}
	reached := 0
	for i, h := range r.holders {
		err := r.gatherHoldings(ctx, i, h)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			r.result.Unreachable = append(r.result.Unreachable, h)
			continue
		}
		reached++
	}
	if reached == 0 {
		return ErrNoHolder
	}
	return nil
}

// listing is a holder's manifest, before its entries were read.
type listing struct {
	holder Holder
	header manifest.Header
}

// gatherListing takes the newest listing that can be read to its end. There may be none.
func (r *restore) gatherListing(ctx context.Context) error {
	var all []listing
	for _, h := range r.holders {
		header, err := r.header(ctx, h)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && header.Source == r.opts.Source {
			all = append(all, listing{h, header})
		}
	}
	slices.SortStableFunc(all, func(a, b listing) int {
		if c := b.header.Generation.Compare(a.header.Generation); c != 0 {
			return c
		}
		return b.header.Time.Compare(a.header.Time)
	})
	for _, l := range all {
		err := r.readListing(ctx, l)
		if err == nil {
			r.listing = &l.header
			r.result.Listed = l.header.Time
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.report("", Warned, fmt.Sprintf("listing of %s can't be read: %v", l.holder, err))
		if err := r.table.clear(); err != nil {
			return err
		}
	}
	return nil
}

func (r *restore) header(ctx context.Context, h Holder) (manifest.Header, error) {
	bytes := newPieces(r.cluster.Manifest(ctx, r.opts.Source, h))
	defer bytes.Close()
	header, entries, err := manifest.Read(bytes)
	if err != nil {
		return header, err
	}
	for range entries { // frees the reader
		break
	}
	return header, nil
}

func (r *restore) readListing(ctx context.Context, l listing) error {
	bytes := newPieces(r.cluster.Manifest(ctx, r.opts.Source, l.holder))
	defer bytes.Close()
	header, entries, err := manifest.Read(bytes)
	if err != nil {
		return err
	}
	if header.Generation != l.header.Generation || !header.Time.Equal(l.header.Time) {
		return errors.New("it was replaced meanwhile")
	}
	put := changes{table: r.table}
	for entry, err := range entries {
		if err != nil {
			return err
		}
		if !r.asked(entry.Path) && !(entry.Type == manifest.Folder && isBelow(r.opts.Path, entry.Path)) {
			continue
		}
		if err := put.add(entry.Path, func(row *row) { row.Entry = &entry }); err != nil {
			return err
		}
	}
	return put.flush()
}

func (r *restore) gatherHoldings(ctx context.Context, holder int, h Holder) error {
	put := changes{table: r.table}
	for g, err := range r.cluster.Holdings(ctx, r.opts.Source, h, r.opts.Path) {
		if err != nil {
			return errors.Join(err, put.flush())
		}
		if _, err := v1.ParseRelPath(string(g.Path)); err != nil || !r.asked(g.Path) || g.Digest.IsZero() {
			continue
		}
		if g.Version != "" {
			if _, err := v1.ParseRelPath(string(g.Version)); err != nil {
				continue
			}
		}
		one := held{Holder: holder, Gen: g.Gen, Digest: slices.Clone(g.Digest[:]), Size: g.Size, ModTime: g.ModTime, Mode: g.Mode, Version: g.Version, Until: g.Until,
			Since: g.Since, Seen: g.Seen, Absent: g.Absent}
		if err := put.add(g.Path, func(row *row) { row.Held = append(row.Held, one) }); err != nil {
			return err
		}
	}
	return put.flush()
}

// asked tells whether a path is to be restored.
func (r *restore) asked(path v1.RelPath) bool {
	return r.opts.Path == "" || path == r.opts.Path || isBelow(path, r.opts.Path)
}

func isBelow(path, folder v1.RelPath) bool {
	return strings.HasPrefix(string(path), string(folder)+"/")
}

// pieces are read as one.
type pieces struct {
	next func() ([]byte, error, bool)
	stop func()
	rest []byte
}

func newPieces(all iter.Seq2[[]byte, error]) *pieces {
	next, stop := iter.Pull2(all)
	return &pieces{next: next, stop: stop}
}

// Read implements io.Reader.
func (s *pieces) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		piece, err, ok := s.next()
		if !ok {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		s.rest = piece
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (s *pieces) Close() error {
	s.stop()
	return nil
}
