package location

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

// kept is the folder that holds what is not a replica.
const kept = ".clusterbackup"

const identityFile = kept + "/location.json"

// identity is location.json.
type identity struct {
	Format     int             `json:"format"`
	ClusterUID string          `json:"clusterUID"`
	UID        string          `json:"uid"`
	Name       v1.LocationName `json:"name"`
	Created    time.Time       `json:"created"`
}

// known is what this host remembers of a location: STATE/locations/NAME.json.
type known struct {
	UID  string `json:"uid"`
	Path string `json:"path"`
}

func knownPath(indexDir string, name v1.LocationName) string {
	return filepath.Join(indexDir, string(name)+".json")
}

func readKnown(indexDir string, name v1.LocationName) (k known, found bool, err error) {
	path := knownPath(indexDir, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return k, false, nil
	}
	if err != nil {
		return k, false, err
	}
	if err := json.Unmarshal(data, &k); err != nil || k.UID == "" {
		return k, false, fmt.Errorf("read %s: not what was written there (%w); once it is moved away, the location is known anew by its own location.json", path, errors.Join(err, ErrCorruptIndex))
	}
	return k, true, nil
}

func writeKnown(indexDir string, name v1.LocationName, k known) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return writeFileDurably(knownPath(indexDir, name), append(data, '\n'))
}

// Forget makes the next Open of name take whatever location of this cluster it finds, or make one. The index and the location itself
// stay. Call it when the Location resource is deleted.
func Forget(indexDir string, name v1.LocationName) error {
	err := os.Remove(knownPath(indexDir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// writeFileDurably replaces a file's content whole.
func writeFileDurably(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, beneath.Fsync(int(tmp.Fd())), tmp.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := beneath.OpenFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return beneath.Fsync(dir.FD())
}

// identify reads whose the folder at cfg.Root is; a new one is made when that is allowed and nothing is known of an earlier one.
func identify(cfg *Config) (id identity, raw []byte, err error) {
	was, wasKnown, err := readKnown(cfg.IndexDir, cfg.Name)
	if err != nil {
		return id, nil, err
	}
	raw, err = os.ReadFile(filepath.Join(cfg.Root, identityFile))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		if wasKnown || !cfg.Init {
			return id, nil, missing(cfg, was, wasKnown)
		}
		if raw, err = create(cfg); err != nil {
			return id, nil, err
		}
	}
	if err != nil {
		return id, nil, fmt.Errorf("read identity of location %s: %w", cfg.Name, err)
	}
	if err := json.Unmarshal(raw, &id); err != nil || !plainUID(id.UID) {
		return id, nil, fmt.Errorf("read %s: not what was written there: %w", filepath.Join(cfg.Root, identityFile), errors.Join(err, ErrIdentity))
	}
	switch {
	case id.ClusterUID != cfg.ClusterUID:
		return id, nil, fmt.Errorf("open location %s at %s: %w (its cluster is %q, this is %q)", cfg.Name, cfg.Root, ErrForeign, id.ClusterUID, cfg.ClusterUID)
	case wasKnown && was.UID != id.UID:
		return id, nil, fmt.Errorf("open location %s at %s: %w (it was %s, what is there now is %s: is another disk mounted?)", cfg.Name, cfg.Root, ErrIdentity, was.UID, id.UID)
	}
	if !wasKnown || was.Path != cfg.Root {
		err = writeKnown(cfg.IndexDir, cfg.Name, known{UID: id.UID, Path: cfg.Root})
	}
	return id, raw, err
}

// plainUID keeps a damaged or forged identity from naming a file elsewhere.
func plainUID(uid string) bool {
	return uid != "" && len(uid) <= 64 && !strings.ContainsAny(uid, "/\\.\x00")
}

func missing(cfg *Config, was known, wasKnown bool) error {
	if !wasKnown {
		return fmt.Errorf("open location %s: %s has no %s: %w", cfg.Name, cfg.Root, identityFile, ErrMissing)
	}
	return fmt.Errorf("open location %s: %s has no %s, and location %s was there before (is its disk mounted?): %w", cfg.Name, cfg.Root, identityFile, was.UID, ErrMissing)
}

// create makes a location in a folder that is empty or can be made. Hidden entries and lost+found don't count.
func create(cfg *Config) ([]byte, error) {
	if err := os.Mkdir(cfg.Root, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make location %s: %w", cfg.Name, err)
	}
	entries, err := os.ReadDir(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("make location %s: %w", cfg.Name, err)
	}
	for _, e := range entries {
		if e.Name()[0] != '.' && e.Name() != "lost+found" {
			return nil, fmt.Errorf("make location %s in %s: there is %q: %w (give it a folder of its own)", cfg.Name, cfg.Root, e.Name(), ErrNotEmpty)
		}
	}
	if err := os.Mkdir(filepath.Join(cfg.Root, kept), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make location %s: %w", cfg.Name, err)
	}
	raw, err := json.MarshalIndent(identity{
		Format: 1, ClusterUID: cfg.ClusterUID, UID: strings.ToLower(rand.Text()), Name: cfg.Name, Created: cfg.Clock().UTC().Truncate(time.Second),
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	raw = append(raw, '\n')
	if err := writeFileDurably(filepath.Join(cfg.Root, identityFile), raw); err != nil {
		return nil, fmt.Errorf("make location %s: %w", cfg.Name, err)
	}
	return raw, syncPath(cfg.Root)
}

func syncPath(path string) error {
	f, err := beneath.OpenFolder(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return beneath.Fsync(f.FD())
}

// Check reads the location's identity again: the folder must be the one that was opened, and its location.json unchanged. Everything
// that writes or drops does it first.
func (l *Location) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.state(); err != nil {
		return err
	}
	return l.identified()
}

// identified is Check of what lies on the disk alone.
func (l *Location) identified() error {
	var st unix.Stat_t
	err := beneath.Retry(func() error { return unix.Stat(l.root, &st) })
	if isAbsent(err) {
		return fmt.Errorf("check location %s: %s: %w", l.cfg.Name, l.root, ErrMissing)
	}
	if err != nil {
		return fmt.Errorf("check location %s: %s: %w", l.cfg.Name, l.root, err)
	}
	if uint64(st.Dev) != l.device || st.Ino != l.inode {
		return fmt.Errorf("check location %s: %s is another folder than was opened: %w", l.cfg.Name, l.root, ErrIdentity)
	}
	raw, err := os.ReadFile(filepath.Join(l.root, identityFile))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("check location %s: %s has no %s: %w", l.cfg.Name, l.root, identityFile, ErrMissing)
	}
	if err != nil {
		return fmt.Errorf("check location %s: %w", l.cfg.Name, err)
	}
	if !bytes.Equal(raw, l.identity) {
		return fmt.Errorf("check location %s: %s changed: %w", l.cfg.Name, identityFile, ErrIdentity)
	}
	return nil
}

func isAbsent(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// Known tells whether a location of that name was ever open on this host: then a folder that is missing is a disk that is missing.
func Known(indexDir string, name v1.LocationName) bool {
	_, found, err := readKnown(indexDir, name)
	return found || err != nil
}
