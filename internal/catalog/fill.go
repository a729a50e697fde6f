package catalog

import (
	"context"
	"fmt"
	"iter"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
)

// Listed is one file as a listing has it.
type Listed struct {
	Path    v1.RelPath
	Size    int64
	ModTime int64 // nanoseconds since 1970
	Mode    uint32
	Digest  v1.Digest
}

// Fill makes a new catalog know the files of a listing, as if a scan had found them. Generations are the catalog's own. After an error
// the catalog is of no use.
func (c *Catalog) Fill(ctx context.Context, files iter.Seq2[Listed, error]) error {
	next, stop := iter.Pull2(files)
	defer stop()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := c.Update(func(tx *Tx) error {
			for range batchSize {
				file, err, ok := next()
				if more = ok; err != nil || !ok {
					return err
				}
				if err := tx.add(&file); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("fill catalog: %w", err)
		}
	}
	err := c.setState(func(s *state) bool {
		s.Scanned = true
		return true
	})
	if err == nil {
		c.current.Store(true)
	}
	return err
}

// add adds a file that is not there yet.
func (tx *Tx) add(f *Listed) error {
	folder, err := tx.makeFolder(f.Path.Dir())
	if err != nil {
		return err
	}
	key := keyOf(folder, f.Path.Base())
	old, err := tx.Get(key)
	if err != nil {
		return err
	}
	if old != nil {
		return fmt.Errorf("%q is listed twice", f.Path)
	}
	tx.changed = true
	return tx.Put(key, nil, &Entry{Kind: tree.KindFile, Size: f.Size, ModTime: f.ModTime, Mode: f.Mode, Seq: tx.NextSeq(), Digest: f.Digest})
}

// makeFolder finds a folder by its path, or makes it, and those above it.
func (tx *Tx) makeFolder(dir string) (uint64, error) {
	if id, ok := tx.folderID(dir); ok {
		return id, nil
	}
	path := v1.RelPath(dir)
	parent, err := tx.makeFolder(path.Dir())
	if err != nil {
		return 0, err
	}
	key := keyOf(parent, path.Base())
	old, err := tx.Get(key)
	if err != nil {
		return 0, err
	}
	if old != nil {
		return 0, fmt.Errorf("%q is listed as a file and as a folder", dir)
	}
	id := tx.state.NextFolder
	tx.state.NextFolder++
	tx.dirty = true
	if err := tx.folders.Put(be64(id), append(be64(parent), path.Base()...)); err != nil {
		return 0, err
	}
	return id, tx.Put(key, nil, &Entry{Kind: tree.KindFolder, Child: id})
}
