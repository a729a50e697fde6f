package location

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// Found counts what Rebuild saw.
type Found struct {
	// Files were seen on the disk; Hashed of them were new to the index or other than it said; Removed are records without a file.
	Files, Hashed, Removed int64
	Bytes                  int64
	// Unreadable are files and folders that the disk does not give: what the index says of them is marked Bad.
	Unreadable int64
}

// Rebuild makes the index say what lies on the disk: files it does not know (with the same size and time) are hashed and held with the zero
// Generation, records without a file are removed. It goes on where an earlier run was stopped. It must run to its end when
// Rebuilding is true, and may at any other time. progress may be nil.
func (l *Location) Rebuild(ctx context.Context, progress func(Found)) (Found, error) {
	leave, err := l.enter()
	if err != nil {
		return Found{}, fmt.Errorf("rebuild index of location %s: %w", l.cfg.Name, err)
	}
	defer leave()
	l.rebuildMu.Lock()
	defer l.rebuildMu.Unlock()
	r := rebuild{l: l, ctx: ctx, hash: newHasher(), progress: progress}
	defer r.hash.close()
	if r.progress == nil {
		r.progress = func(Found) {}
	}
	if err := r.run(); err != nil {
		return r.found, fmt.Errorf("rebuild index of location %s: %w", l.cfg.Name, err)
	}
	return r.found, nil
}

// rebuildAlone runs Rebuild for Open. When it fails, the location stays as it is: opening it again tries again.
func (l *Location) rebuildAlone(ctx context.Context) {
	log := l.cfg.Log.WithValues("location", l.cfg.Name)
	log.Info("Index is being rebuilt from the files")
	found, err := l.Rebuild(ctx, nil)
	switch {
	case err == nil:
		log.Info("Index was rebuilt", "files", found.Files, "bytes", found.Bytes)
	case ctx.Err() == nil:
		log.Error(err, "Index could not be rebuilt")
	}
}

type rebuild struct {
	l        *Location
	ctx      context.Context // of the one call of Rebuild
	hash     *hasher
	found    Found
	progress func(Found)
	hashed   map[string]string // folders of the source that is looked at, by what a folder of versions is called instead
}

func (r *rebuild) run() error {
	if err := r.l.Check(r.ctx); err != nil {
		return err
	}
	sources, err := r.sources()
	if err != nil {
		return err
	}
	for _, source := range sources {
		r.hashed = nil
		if err := errors.Join(r.replicas(source, ""), r.versions(source, "")); err != nil {
			return err
		}
		if err := r.withoutFolder(source); err != nil {
			return err
		}
	}
	if err := r.l.Check(r.ctx); err != nil {
		return err
	}
	return r.l.markRebuild(false)
}

// sources are those on the disk and those in the index.
func (r *rebuild) sources() ([]v1.SourceName, error) {
	all, err := r.l.Sources()
	if err != nil {
		return nil, err
	}
	for _, place := range []string{"", versionsRoot} {
		names, err := r.l.subfolders(place)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if name[0] != '.' && name != "lost+found" {
				all = append(all, v1.SourceName(name))
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (l *Location) subfolders(path string) ([]string, error) {
	at, err := l.top.Open(path)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	entries, err := list(at)
	var names []string
	for _, e := range entries {
		if beneath.IsFolder(&e.st) {
			names = append(names, e.name)
		}
	}
	return names, err
}

func (l *Location) holdsAnything() (bool, error) {
	for _, place := range []string{"", versionsRoot} {
		names, err := l.subfolders(place)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(names, func(n string) bool { return n[0] != '.' && n != "lost+found" }) {
			return true, nil
		}
	}
	return false, nil
}

type entry struct {
	name string
	st   unix.Stat_t
}

// list reads a folder, sorted.
func list(at beneath.Folder) ([]entry, error) {
	names, err := at.Names()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	entries := make([]entry, 0, len(names))
	for _, name := range names {
		st, err := at.Stat(name)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{name, st})
	}
	return entries, nil
}

// replicas compares one folder of replicas with the index, and those below it.
func (r *rebuild) replicas(source v1.SourceName, dir string) error {
	at, err := r.l.top.Open(beneath.Join(string(source), dir))
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	entries, err := r.compare(source, dir, at)
	if errors.Is(err, unix.EIO) {
		return r.unreadable(source, dir, err)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if beneath.IsFolder(&e.st) {
			if err := r.replicas(source, beneath.Join(dir, e.name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare brings the records of one folder in line with its files, some at a time, while nothing moves.
func (r *rebuild) compare(source v1.SourceName, dir string, at beneath.Folder) ([]entry, error) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	entries, err := list(at)
	if err != nil {
		return nil, err
	}
	known, err := r.l.folderRecords(source, dir)
	if err != nil {
		return nil, err
	}
	return entries, r.compareEach(source, dir, at, entries, known)
}

func (r *rebuild) compareEach(source v1.SourceName, dir string, at beneath.Folder, entries []entry, known []Record) error {
	gone := map[v1.RelPath]Record{}
	for _, rec := range known {
		gone[rec.Path] = rec
	}
	var put []Record
	for _, e := range entries {
		if !beneath.IsRegular(&e.st) {
			continue
		}
		path := v1.RelPath(beneath.Join(dir, e.name))
		rec, had := gone[path]
		delete(gone, path)
		r.found.Files++
		r.found.Bytes += e.st.Size
		if had && rec.Size == e.st.Size && sameTime(rec.ModTime, beneath.ModTime(&e.st)) {
			continue
		}
		now, err := examineIn(r.ctx, r.hash, at, e.name, path)
		switch {
		case errors.Is(err, unix.EIO): // one bad block must not take the whole disk away
			r.noteUnreadable(path, err)
			if !had {
				continue
			}
			rec.Bad = true
		case err != nil:
			return err
		default:
			rec = now
		}
		r.found.Hashed++
		if put = append(put, rec); len(put) == retireRun {
			if err := r.write(source, put, nil); err != nil {
				return err
			}
			put = put[:0]
		}
	}
	return r.write(source, put, gone)
}

func (r *rebuild) noteUnreadable(path v1.RelPath, err error) {
	r.found.Unreadable++
	r.l.cfg.Log.Error(err, "Replica can't be read", "location", r.l.cfg.Name)
	r.l.cfg.Log.V(1).Info("Replica can't be read", "location", r.l.cfg.Name, "path", path)
}

// unreadable marks what the index has in a folder that the disk does not give, and below it: nobody shall rely on it.
func (r *rebuild) unreadable(source v1.SourceName, dir string, why error) error {
	r.noteUnreadable(v1.RelPath(dir), why)
	var bad []Record
	for rec, err := range r.l.Records(source, dir) {
		if err != nil {
			return err
		}
		rec.Bad = true
		bad = append(bad, rec)
	}
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	for run := range slices.Chunk(bad, retireRun) {
		if err := r.write(source, run, nil); err != nil {
			return err
		}
	}
	return nil
}

func (r *rebuild) write(source v1.SourceName, put []Record, gone map[v1.RelPath]Record) error {
	r.progress(r.found)
	if len(put) == 0 && len(gone) == 0 {
		return nil
	}
	if err := r.l.Check(r.ctx); err != nil { // a disk that went away shows no files
		return err
	}
	r.found.Removed += int64(len(gone))
	return r.l.commit(func(u *update) error {
		s, err := u.source(source)
		if err != nil {
			return err
		}
		for i := range put {
			if err := s.put(&put[i]); err != nil {
				return err
			}
		}
		for path := range gone {
			if err := s.remove(path); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

// withoutFolder removes the records, of replicas and versions, whose folder or file is gone.
func (r *rebuild) withoutFolder(source v1.SourceName) error {
	for folder, err := range r.l.folders(source, nil) {
		if err != nil {
			return err
		}
		if err := r.forgetFolder(source, folder.Path); err != nil {
			return err
		}
	}
	return r.lostVersions(source)
}

// forgetFolder removes the records of a folder that is gone.
func (r *rebuild) forgetFolder(source v1.SourceName, path string) error {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	at, err := r.l.top.Open(beneath.Join(string(source), path))
	if err == nil {
		at.Close()
		return nil
	}
	if !isAbsent(err) {
		return err
	}
	recs, err := r.l.folderRecords(source, path)
	if err != nil {
		return err
	}
	gone := map[v1.RelPath]Record{}
	for _, rec := range recs {
		gone[rec.Path] = rec
	}
	return r.write(source, nil, gone)
}
