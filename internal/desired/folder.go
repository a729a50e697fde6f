package desired

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// folder is resources/ on disk.
type folder struct{ path string }

const (
	deletedDir    = "deleted"
	supersededDir = "superseded"
)

// keepSuperseded is how many files in superseded/ stay however old they seem: a clock may be wrong.
const keepSuperseded = 100

// fileStamp tells whether a file was written since.
type fileStamp struct {
	size, modTime int64
	inode         uint64
}

func openFolder(path string) (folder, error) {
	for _, dir := range []string{path, filepath.Join(path, deletedDir), filepath.Join(path, supersededDir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return folder{}, fmt.Errorf("open resources: %w", err)
		}
	}
	return folder{path}, nil
}

func (f folder) file(k key) string      { return filepath.Join(f.path, k.fileName()) }
func (f folder) tombstone(k key) string { return filepath.Join(f.path, deletedDir, k.fileName()) }

// where is the file of a resource, live or deleted, and where its other form would be.
func (f folder) where(r *resource) (its, other string) {
	if r.live() {
		return f.file(r.key()), f.tombstone(r.key())
	}
	return f.tombstone(r.key()), f.file(r.key())
}

// write makes a resource durable and removes its other form. A crash between the two leaves both, of which Open keeps the newer.
func (f folder) write(r *resource) (fileStamp, error) {
	data, err := r.yaml()
	if err != nil {
		return fileStamp{}, fmt.Errorf("write %s: %w", r.key(), err)
	}
	its, other := f.where(r)
	if err := writeFile(its, data); err != nil {
		return fileStamp{}, err
	}
	if err := os.Remove(other); err == nil {
		err = syncFolder(filepath.Dir(other))
		if err != nil {
			return fileStamp{}, fmt.Errorf("write %s: %w", r.key(), err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fileStamp{}, fmt.Errorf("write %s: %w", r.key(), err)
	}
	return stampOf(its), nil
}

// keep puts data aside in superseded/, under a name of its own.
func (f folder) keep(k key, now time.Time, data []byte) (string, error) {
	stem := k.kind + "." + k.name + "~" + now.UTC().Format("20060102T150405.000000Z")
	for i := 0; ; i++ {
		path := filepath.Join(f.path, supersededDir, stem+".yaml")
		if i > 0 {
			path = filepath.Join(f.path, supersededDir, fmt.Sprintf("%s-%d.yaml", stem, i))
		}
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		return path, writeFile(path, data)
	}
}

// names lists the resource files of a folder, with their stamps. Others' files (hidden ones, editors' copies, folders) are left out.
func (f folder) names(sub string) (map[string]fileStamp, error) {
	entries, err := os.ReadDir(filepath.Join(f.path, sub))
	if err != nil {
		return nil, fmt.Errorf("read resources: %w", err)
	}
	found := map[string]fileStamp{}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !strings.HasSuffix(e.Name(), ".yaml") {
			continue
		}
		found[e.Name()] = stampOf(filepath.Join(f.path, sub, e.Name()))
	}
	return found, nil
}

// sweep removes what was put aside before a time, and unfinished writes of an earlier process.
func (f folder) sweep(before time.Time) {
	for _, pattern := range []string{".new-*", deletedDir + "/.new-*", supersededDir + "/.new-*"} {
		left, _ := filepath.Glob(filepath.Join(f.path, pattern))
		for _, path := range left {
			_ = os.Remove(path)
		}
	}
	kept, err := f.names(supersededDir)
	if err != nil || len(kept) <= keepSuperseded {
		return
	}
	for name, stamp := range kept {
		if time.Unix(0, stamp.modTime).Before(before) {
			_ = os.Remove(filepath.Join(f.path, supersededDir, name))
		}
	}
}

// parseName reads a file's name: KIND.NAME.yaml.
func parseName(name string) (key, bool) {
	kind, rest, ok := strings.Cut(strings.TrimSuffix(name, ".yaml"), ".")
	k := key{kind, rest}
	return k, ok && k.fileName() == name && kind != "" && rest != ""
}

// stampOf is zero for a file that cannot be looked at.
func stampOf(path string) fileStamp {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return fileStamp{}
	}
	return fileStamp{size: st.Size, modTime: unix.TimespecToNsec(st.Mtim), inode: uint64(st.Ino)}
}

// writeFile writes a file whole and durably: a crash leaves the old bytes or the new.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
