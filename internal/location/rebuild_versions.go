package location

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// keepFound is how long versions are kept whose retention is not known any more, from the day they were found.
const keepFound = 720 * time.Hour

func (r *rebuild) lostVersions(source v1.SourceName) error {
	for v, err := range r.l.Versions(source, "") {
		if err != nil {
			return err
		}
		if there, err := r.l.hasFile(v.Name); err != nil || there {
			if err != nil {
				return err
			}
			continue
		}
		if err := r.forgetVersion(source, &v); err != nil {
			return err
		}
	}
	return nil
}

// hasFile tells whether anything is at a path below the location.
func (l *Location) hasFile(path string) (bool, error) {
	dir, base := beneath.Split(path)
	at, err := l.top.Open(dir)
	if isAbsent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer at.Close()
	return at.Exists(base)
}

// forgetVersion removes the record of a version whose file is gone.
func (r *rebuild) forgetVersion(source v1.SourceName, v *Version) error {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if err := r.l.Check(r.ctx); err != nil {
		return err
	}
	return r.l.commit(func(u *update) error {
		s, err := u.source(source)
		if err != nil || s.versions.Get(versionKey(v.Path, v.Since.Unix())) == nil { // expired meanwhile
			return err
		}
		r.found.Removed++
		return s.removeVersion(v)
	}, nil)
}

// versions takes up the files in versions/ that the index doesn't know.
func (r *rebuild) versions(source v1.SourceName, dir string) error {
	at, err := r.l.top.Open(beneath.Join(versionsFolder(source), dir))
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	entries, err := r.compareVersions(source, dir, at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if beneath.IsFolder(&e.st) {
			if err := r.versions(source, beneath.Join(dir, e.name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rebuild) compareVersions(source v1.SourceName, dir string, at beneath.Folder) ([]entry, error) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	entries, err := list(at)
	if err != nil {
		return nil, err
	}
	known, err := r.knownVersions(source, dir)
	if err != nil {
		return nil, err
	}
	var put []Version
	for _, e := range entries {
		name := beneath.Join(versionsFolder(source), dir, e.name)
		if !beneath.IsRegular(&e.st) || known[name] {
			continue
		}
		v, err := r.examineVersion(source, at, e, dir)
		if errors.Is(err, unix.EIO) {
			r.noteUnreadable(v1.RelPath(beneath.Join(dir, e.name)), err)
			continue
		}
		if err != nil {
			return nil, err
		}
		v.Name = name
		put = append(put, v)
	}
	return entries, r.writeVersions(source, put)
}

// knownVersions are the names of those in one folder that the index has.
func (r *rebuild) knownVersions(source v1.SourceName, dir string) (map[string]bool, error) {
	known := map[string]bool{}
	if strings.HasPrefix(dir, "~") { // not the folder's own name: look at them all
		for v, err := range r.l.Versions(source, "") {
			if err != nil {
				return nil, err
			}
			if d, _ := beneath.Split(v.Name); d == beneath.Join(versionsFolder(source), dir) {
				known[v.Name] = true
			}
		}
		return known, nil
	}
	for v, err := range scan(r.l, source, bucketVersions, []byte(dir+"\x00"), []byte(dir+"\x01"), decodeVersion) {
		if err != nil {
			return nil, err
		}
		known[v.Name] = true
	}
	return known, nil
}

// examineVersion makes out of which file a version is from its name. What was set aside as corrupt is not read: no digest is that of a
// version.
func (r *rebuild) examineVersion(source v1.SourceName, at beneath.Folder, e entry, dir string) (Version, error) {
	base, since, corrupt, ok := parseVersion(e.name)
	if !ok {
		since = r.l.now()
	}
	path, err := r.versionPath(source, dir, base, len(e.name)-len(base))
	if err != nil {
		return Version{}, err
	}
	r.found.Files++
	r.found.Bytes += e.st.Size
	found := wholeSecond(r.l.aging())
	v := Version{Since: since, Aside: found, Until: found.Add(keepFound), Reason: Replaced}
	if corrupt {
		v.Reason = Retired
		v.Record = Record{Path: path, Size: e.st.Size, ModTime: beneath.ModTime(&e.st), Mode: uint32(e.st.Mode) & 0o7777, Bad: true}
		return v, nil
	}
	r.found.Hashed++
	v.Record, err = examineIn(r.ctx, r.hash, at, e.name, path)
	return v, err
}

// versionPath is the path of the file that a version is of. Where its name or its folder's did not fit, it is found among the replicas
// by the hash that stands for it; if none matches, the version goes by the name that it has.
// end is how long the rest of the name is.
func (r *rebuild) versionPath(source v1.SourceName, dir, base string, end int) (v1.RelPath, error) {
	if strings.HasPrefix(dir, "~") {
		folders, err := r.folderHashes(source)
		if err != nil {
			return "", err
		}
		if real, ok := folders[dir]; ok {
			dir = real
		}
	}
	if i := len(base) - 9; i > 0 && base[i] == '-' && len(base)+end == maxName {
		recs, err := r.l.folderRecords(source, dir)
		if err != nil {
			return "", err
		}
		for _, rec := range recs {
			if name := rec.Path.Base(); len(name) > i && name[:i] == base[:i] && shortHash(name)[:8] == base[i+1:] {
				return rec.Path, nil
			}
		}
	}
	return v1.RelPath(beneath.Join(dir, base)), nil
}

func (r *rebuild) folderHashes(source v1.SourceName) (map[string]string, error) {
	if r.hashed != nil {
		return r.hashed, nil
	}
	r.hashed = map[string]string{}
	for folder, err := range r.l.folders(source, nil) {
		if err != nil {
			return nil, err
		}
		r.hashed["~"+shortHash(folder.Path)] = folder.Path
	}
	return r.hashed, nil
}

func (r *rebuild) writeVersions(source v1.SourceName, put []Version) error {
	r.progress(r.found)
	if len(put) == 0 {
		return nil
	}
	if err := r.l.Check(r.ctx); err != nil {
		return err
	}
	return r.l.commit(func(u *update) error {
		s, err := u.source(source)
		if err != nil {
			return err
		}
		for i := range put {
			if err := s.putVersion(&put[i]); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}
