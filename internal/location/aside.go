package location

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

const (
	versionsRoot = kept + "/versions"
	stampLayout  = "20060102T150405Z"
	maxName      = 255
)

func versionsFolder(source v1.SourceName) string { return beneath.Join(versionsRoot, string(source)) }

// corruptMark ends the name of what was set aside as corrupt: bytes that are not an earlier version of anything.
const corruptMark = "~corrupt"

// versionEnd is what a version's name has more than its file's: "~", and when it stopped being current.
func versionEnd(since int64, corrupt bool) string {
	end := "~" + time.Unix(since, 0).UTC().Format(stampLayout)
	if corrupt {
		end += corruptMark
	}
	return end
}

// versionBase is a version's name. One that would be too long is cut, and told apart by a part of its hash.
func versionBase(base, end string) string {
	if len(base)+len(end) <= maxName {
		return base + end
	}
	return base[:maxName-len(end)-9] + "-" + shortHash(base)[:8] + end
}

// parseVersion takes a version's name apart. Without a time it is none of ours, and kept all the same.
func parseVersion(name string) (base string, since time.Time, corrupt, ok bool) {
	base, corrupt = strings.CutSuffix(name, corruptMark)
	if i := strings.LastIndexByte(base, '~'); i > 0 {
		if t, err := time.Parse(stampLayout, base[i+1:]); err == nil {
			return base[:i], t, corrupt, true
		}
	}
	return name, time.Time{}, false, false
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// planVersion finds a free name in versions/ for what is to be set aside, and makes the folder for it.
func (l *Location) planVersion(c *beneath.Cursor, sync *syncer, source v1.SourceName, rec Record, keep promise, reason Reason) (*intent, error) {
	root, err := l.top.Ensure(versionsFolder(source), 0o700, sync.touched)
	if err != nil {
		return nil, err
	}
	root.Close()
	dir, base := beneath.Split(string(rec.Path))
	at, err := c.Make(beneath.Join(versionsFolder(source), dir), sync.touched)
	var inWay *beneath.InTheWayError
	if errors.As(err, &inWay) || errors.Is(err, unix.ENAMETOOLONG) { // an older version has the folder's name
		dir = "~" + shortHash(dir)
		at, err = c.Make(beneath.Join(versionsFolder(source), dir), sync.touched)
	}
	if err != nil {
		return nil, err
	}
	in := &intent{kind: intentRetire, source: source, record: rec, reason: reason, count: keep.count, aside: wholeSecond(l.aging())}
	in.until = wholeSecond(in.aside.Add(keep.keep))
	for in.since = l.now().Unix(); ; in.since++ {
		in.name = beneath.Join(dir, versionBase(base, versionEnd(in.since, rec.Bad)))
		taken, err := at.Exists(versionBase(base, versionEnd(in.since, false)))
		if err == nil && !taken {
			taken, err = at.Exists(versionBase(base, versionEnd(in.since, true)))
		}
		if err != nil {
			return nil, err
		}
		if !taken {
			break
		}
	}
	if reason == Replaced {
		l.crowd.add(source, rec.Path)
	}
	return in, nil
}

// linkAside gives what is called base in from its name in versions/ as well; where there are no hard links, instead.
func (l *Location) linkAside(c *beneath.Cursor, sync *syncer, source v1.SourceName, in *intent, from beneath.Folder, base string) error {
	dir, name := beneath.Split(beneath.Join(versionsFolder(source), in.name))
	at, err := c.Find(dir)
	if err != nil {
		return err
	}
	if l.links {
		err = from.Link(base, at, name)
	} else {
		err = from.Rename(base, at, name)
	}
	if err != nil {
		return fmt.Errorf("keep earlier version %q: %w", in.name, err)
	}
	sync.touched(dir)
	return nil
}

// undoAside takes a version back whose successor could not take its place.
func (l *Location) undoAside(source v1.SourceName, in *intent, dir, base string) error {
	vdir, vbase := beneath.Split(beneath.Join(versionsFolder(source), in.name))
	versions, err := l.top.Open(vdir)
	if err != nil {
		return err
	}
	defer versions.Close()
	at, err := l.top.Open(dir)
	if err != nil {
		return err
	}
	defer at.Close()
	there, err := at.Exists(base)
	if err != nil {
		return err
	}
	if there {
		err = versions.Remove(vbase)
	} else {
		err = versions.Rename(vbase, at, base)
	}
	if isAbsent(err) {
		return nil
	}
	return err
}

// retireAt sets the file aside that stands at a path below the location, known or not. Location.mu is held.
func (l *Location) retireAt(ctx context.Context, source v1.SourceName, path string, keep promise) error {
	rel := v1.RelPath(path[len(source)+1:])
	var rec Record
	var had bool
	err := l.db.View(func(tx *bbolt.Tx) (err error) {
		rec, had, err = readSource(tx, source).get(rel)
		return err
	})
	if err != nil {
		return err
	}
	reason := Replaced
	if !had {
		if l.folds {
			return fmt.Errorf("%q: %w", rel, ErrNameTaken)
		}
		reason = Stray
		if rec, err = l.examine(ctx, path, rel); err != nil {
			return err
		}
	}
	errs, err := l.retire(source, []Record{rec}, keep, reason)
	return errors.Join(err, errors.Join(errs...))
}

// examine makes a record of a file that nothing is known of.
func (l *Location) examine(ctx context.Context, path string, rel v1.RelPath) (Record, error) {
	dir, base := beneath.Split(path)
	at, err := l.top.Open(dir)
	if err != nil {
		return Record{}, err
	}
	defer at.Close()
	hash := newHasher()
	defer hash.close()
	return examineIn(ctx, hash, at, base, rel)
}

func examineIn(ctx context.Context, hash *hasher, at beneath.Folder, base string, rel v1.RelPath) (Record, error) {
	st, err := at.Stat(base)
	if err != nil {
		return Record{}, err
	}
	if !beneath.IsRegular(&st) {
		return Record{}, fmt.Errorf("%q: %w", rel, ErrNotRegular)
	}
	digest, err := hash.file(ctx, at, base, &st)
	return Record{Path: rel, Digest: digest, Size: st.Size, ModTime: beneath.ModTime(&st), Mode: uint32(st.Mode) & 0o7777}, err
}

const retireRun = 1000

// retireBelow sets everything below a folder aside, so that a file can take its name. Location.mu is held.
func (l *Location) retireBelow(ctx context.Context, source v1.SourceName, path v1.RelPath, keep promise) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var recs []Record
		for rec, err := range l.Records(source, string(path)) {
			if err != nil {
				return err
			}
			if rec.Path != path {
				recs = append(recs, rec)
			}
			if len(recs) == retireRun {
				break
			}
		}
		if len(recs) == 0 {
			break
		}
		errs, err := l.retire(source, recs, keep, Replaced)
		if err := errors.Join(err, errors.Join(errs...)); err != nil {
			return err
		}
	}
	dir, base := beneath.Split(beneath.Join(string(source), string(path)))
	at, err := l.top.Open(dir)
	if err != nil {
		return err
	}
	defer at.Close()
	if err := removeEmptyFolders(at, base); err != nil && !isAbsent(err) {
		return fmt.Errorf("folder %q is in the way and holds files that are not replicas (move them elsewhere): %w", beneath.Join(dir, base), err)
	}
	return nil
}

// removeEmptyFolders removes a folder that has nothing but folders in it.
func removeEmptyFolders(at beneath.Folder, name string) error {
	err := at.RemoveFolder(name)
	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return err
	}
	sub, err := at.Child(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	names, err := sub.Names()
	if err != nil {
		return err
	}
	for _, n := range names {
		st, err := sub.Stat(n)
		if err != nil {
			return err
		}
		if !beneath.IsFolder(&st) {
			return unix.ENOTEMPTY
		}
		if err := removeEmptyFolders(sub, n); err != nil {
			return err
		}
	}
	return at.RemoveFolder(name)
}

// retire moves files to versions/, durably. Errors are per file, in the order of recs. Location.mu is held.
func (l *Location) retire(source v1.SourceName, recs []Record, keep promise, reason Reason) ([]error, error) {
	sync, err := l.newSyncer()
	if err != nil {
		return nil, err
	}
	defer sync.close()
	sync.plan(len(recs), l.wholeSync)
	errs := make([]error, len(recs))
	plans := make([]*intent, len(recs))
	var intents []*intent
	versions := beneath.Cursor{Top: l.top}
	defer versions.Close()
	for i, rec := range recs {
		if plans[i], errs[i] = l.planVersion(&versions, sync, source, rec, keep, reason); errs[i] == nil {
			intents = append(intents, plans[i])
		}
	}
	if err := l.commit(func(u *update) error { return u.putIntents(intents) }, nil); err != nil {
		return nil, fmt.Errorf("write intents: %w", err)
	}
	l.fault("retireIntents")
	moved := make([]bool, len(recs))
	for i := range recs {
		if errs[i] == nil {
			moved[i], errs[i] = l.retireOne(&versions, sync, source, plans[i])
			l.fault("retireMoved")
		}
	}
	if err := sync.sync(); err != nil {
		return nil, l.unsettled(fmt.Errorf("sync retired files: %w", err))
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
			if moved[i] {
				err = s.putVersion(plans[i].version(rec))
			}
			if err = errors.Join(err, s.remove(rec.Path)); err != nil {
				return err
			}
		}
		return u.clearIntents()
	}, nil)
	if err != nil {
		return nil, l.unsettled(fmt.Errorf("record retired files: %w", err))
	}
	return errs, nil
}

// retireOne moves one file; one that is not there any more has nothing to be kept.
func (l *Location) retireOne(versions *beneath.Cursor, sync *syncer, source v1.SourceName, in *intent) (moved bool, err error) {
	dir, base := beneath.Split(beneath.Join(string(source), string(in.record.Path)))
	at, err := l.top.Open(dir)
	if isAbsent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer at.Close()
	vdir, vbase := beneath.Split(beneath.Join(versionsFolder(source), in.name))
	to, err := versions.Find(vdir)
	if err != nil {
		return false, err
	}
	err = at.Rename(base, to, vbase)
	if isAbsent(err) {
		return false, nil
	}
	sync.touched(dir)
	sync.touched(vdir)
	return err == nil, err
}

// prune removes the folders that became empty.
func (l *Location) prune(source v1.SourceName, recs []Record) {
	last := ""
	for i, rec := range recs {
		dir := beneath.Join(string(source), rec.Path.Dir())
		if i > 0 && dir == last {
			continue
		}
		last = dir
		l.pruneUp(dir)
	}
}

// pruneUp removes a folder, and those above it, as far as they are empty.
func (l *Location) pruneUp(dir string) {
	for dir != "" && dir != versionsRoot {
		parent, base := beneath.Split(dir)
		at, err := l.top.Open(parent)
		if err == nil {
			err = at.RemoveFolder(base)
			at.Close()
		}
		if err != nil && !isAbsent(err) {
			return
		}
		dir = parent
	}
}
