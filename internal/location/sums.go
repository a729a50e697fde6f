package location

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	v1 "clusterbackup/api/v1"
)

const (
	sumsRoot      = kept + "/sums"
	manifestsRoot = kept + "/manifests"
)

// sums is what is known of one source's checksum file while the location is open.
type sums struct {
	changed uint64    // the counter of changes that was seen last
	since   time.Time // when that was
	first   time.Time // when the first change was seen that is not written
}

// FlushSums writes the checksum files, sums/SOURCE.sha256, of sources whose replicas changed, but not of those that changed within
// quiet (they will again), unless that has gone on for twenty times as long. 0 writes them all. A location that is at rest is not
// written to.
func (l *Location) FlushSums(ctx context.Context, quiet time.Duration) error {
	if l.rebuilding.Load() {
		return nil
	}
	leave, err := l.enter()
	if err != nil {
		return err
	}
	defer leave()
	sources, err := l.Sources()
	if err != nil {
		return err
	}
	for _, source := range sources {
		changed, due, err := l.sumsDue(source, quiet)
		if err != nil || !due {
			if err != nil {
				return err
			}
			continue
		}
		if err := l.writeSums(ctx, source, changed); err != nil {
			return fmt.Errorf("write checksums of %s: %w", source, err)
		}
	}
	return nil
}

func (l *Location) sumsDue(source v1.SourceName, quiet time.Duration) (changed uint64, due bool, err error) {
	var written uint64
	err = l.db.View(func(tx *bbolt.Tx) error {
		s := readSource(tx, source)
		changed, written = s.counter(keyChanged), s.counter(keySummed)
		return nil
	})
	if err != nil || changed == written {
		return changed, false, err
	}
	now := l.cfg.Clock()
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	seen := l.sums[source]
	if seen == nil {
		seen = &sums{}
		l.sums[source] = seen
	}
	if seen.changed != changed {
		seen.changed, seen.since = changed, now
	}
	if seen.first.IsZero() {
		seen.first = now
	}
	due = quiet == 0 || now.Sub(seen.since) >= quiet || now.Sub(seen.first) >= 20*quiet
	if due {
		seen.first = time.Time{}
	}
	return changed, due, nil
}

func (l *Location) writeSums(ctx context.Context, source v1.SourceName, changed uint64) error {
	err := l.replaceKept(ctx, sumsRoot, string(source)+".sha256", func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 64<<10)
		for rec, err := range l.Records(source, "") {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			_, _ = out.WriteString(sumLine(source, &rec)) // Flush tells
		}
		return out.Flush()
	})
	if err != nil {
		return err
	}
	return l.db.Update(func(tx *bbolt.Tx) error {
		return readSource(tx, source).b.Put(keySummed, binary.AppendUvarint(nil, changed))
	})
}

var sumEscape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// sumLine is as sha256sum writes it: a backslash in front says that the name is escaped.
func sumLine(source v1.SourceName, rec *Record) string {
	name := string(source) + "/" + string(rec.Path)
	if strings.ContainsAny(name, "\\\n\r") {
		return `\` + rec.Digest.String() + "  " + sumEscape.Replace(name) + "\n"
	}
	return rec.Digest.String() + "  " + name + "\n"
}

// PutManifest replaces the manifest of a source with what r brings, whole or not at all. version is for ManifestVersion.
func (l *Location) PutManifest(ctx context.Context, source v1.SourceName, version string, r io.Reader) error {
	return l.putManifest(ctx, source, version, r, false)
}

// AddManifest is PutManifest where there is none; else ErrTaken.
func (l *Location) AddManifest(ctx context.Context, source v1.SourceName, version string, r io.Reader) error {
	return l.putManifest(ctx, source, version, r, true)
}

func (l *Location) putManifest(ctx context.Context, source v1.SourceName, version string, r io.Reader, add bool) error {
	leave, err := l.enterToWrite(ctx)
	if err != nil {
		return fmt.Errorf("put manifest of %s: %w", source, err)
	}
	defer leave()
	if err := checkSourceName(source); err != nil {
		return fmt.Errorf("put manifest of %s: %w", source, err)
	}
	err = l.replaceKept(ctx, manifestsRoot, manifestName(source), func(w io.Writer) error {
		if add {
			if err := l.noManifest(source); err != nil {
				return err
			}
		}
		_, err := io.Copy(w, r)
		return err
	})
	if err != nil {
		return fmt.Errorf("put manifest of %s: %w", source, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commit(func(u *update) error {
		s, err := u.source(source)
		if err != nil {
			return err
		}
		if add && s.b.Get(keyManifest) != nil {
			return nil // another was put since
		}
		return s.b.Put(keyManifest, []byte(version))
	}, nil)
}

// noManifest returns ErrTaken if there is a manifest of a source.
func (l *Location) noManifest(source v1.SourceName) error {
	at, err := l.top.Open(manifestsRoot)
	if err != nil {
		return err
	}
	defer at.Close()
	switch _, err := at.Stat(manifestName(source)); {
	case isAbsent(err):
		return nil
	case err != nil:
		return err
	}
	return ErrTaken
}

// ManifestVersion is what the manifest held was put with; "" for none.
func (l *Location) ManifestVersion(source v1.SourceName) (version string, err error) {
	if err := l.state(); err != nil {
		return "", err
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		if s := readSource(tx, source); s != nil {
			version = string(s.b.Get(keyManifest))
		}
		return nil
	})
	return version, err
}

// OpenManifest reads the manifest of a source; os.ErrNotExist when there is none.
func (l *Location) OpenManifest(ctx context.Context, source v1.SourceName) (io.ReadCloser, error) {
	leave, err := l.enter()
	if err != nil {
		return nil, fmt.Errorf("open manifest of %s: %w", source, err)
	}
	defer leave()
	if err := errors.Join(checkSourceName(source), l.Check(ctx)); err != nil {
		return nil, fmt.Errorf("open manifest of %s: %w", source, err)
	}
	at, err := l.top.Open(manifestsRoot)
	if err != nil {
		return nil, fmt.Errorf("open manifest of %s: %w", source, err)
	}
	defer at.Close()
	fd, err := at.OpenFile(manifestName(source))
	if err != nil {
		return nil, fmt.Errorf("open manifest of %s: %w", source, err)
	}
	return os.NewFile(uintptr(fd), manifestName(source)), nil
}

func manifestName(source v1.SourceName) string { return string(source) + ".jsonl.zst" }
