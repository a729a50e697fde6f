package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"strconv"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/manifest"
	"clusterbackup/internal/tree"
)

// ErrNotScanned: no scan was complete yet.
var ErrNotScanned = errors.New("the source was not scanned completely yet")

// ManifestVersion names the catalog's present state as far as a manifest shows it; "" before the first complete scan.
func (c *Coordinator) ManifestVersion() string { return c.cat.Version() }

// WriteManifest writes the whole listing as the catalog has it while it is written; ErrNotScanned. No transaction is open while w
// takes its time.
func (c *Coordinator) WriteManifest(ctx context.Context, clusterUID string, w io.Writer) error {
	if !c.cat.Scanned() {
		return fmt.Errorf("write manifest: %w", ErrNotScanned)
	}
	owners := &owners{users: make(map[uint32]string), groups: make(map[uint32]string)}
	gen := c.cat.Generation()
	c.mu.Lock()
	source := v1.SourceName(c.source.Name)
	c.mu.Unlock()
	h := manifest.Header{Source: source, ClusterUID: clusterUID, SourceUID: c.cat.UID(), Generation: gen, Time: c.clock(), Host: c.cfg.Host}
	err := c.cat.View(func(tx *catalog.Tx) error {
		root, err := tx.Root()
		if err == nil && root != nil {
			h.Root = owners.entry("", root, gen.Epoch)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	m, err := manifest.NewWriter(w, h)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	var failed error
	err = c.cat.Walk(ctx, "", "", func(item catalog.Item) bool {
		if item.Entry.DeletedAt == 0 {
			failed = m.Write(owners.entry(item.Path, item.Entry, gen.Epoch))
		}
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := m.Close(); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// owners remembers the names of users and groups.
type owners struct {
	users, groups map[uint32]string
}

func typeOf(k tree.Kind) manifest.Type {
	switch k {
	case tree.KindFile:
		return manifest.File
	case tree.KindFolder:
		return manifest.Folder
	case tree.KindSymlink:
		return manifest.Symlink
	}
	return manifest.Other
}

func (o *owners) entry(path v1.RelPath, e *catalog.Entry, epoch uint64) *manifest.Entry {
	m := &manifest.Entry{Path: path, Type: typeOf(e.Kind), ModTime: e.ModTime, Mode: e.Mode, UID: e.UID, GID: e.GID, User: o.user(e.UID),
		Group: o.group(e.GID), Target: e.Target, Xattrs: e.Xattrs}
	if e.Kind == tree.KindFile {
		m.Size, m.Digest, m.Generation = e.Size, e.Digest, v1.Generation{Epoch: epoch, Seq: e.Seq}
	}
	return m
}

func (o *owners) user(id uint32) string {
	name, ok := o.users[id]
	if !ok {
		if u, err := user.LookupId(strconv.FormatUint(uint64(id), 10)); err == nil {
			name = u.Username
		}
		o.users[id] = name
	}
	return name
}

func (o *owners) group(id uint32) string {
	name, ok := o.groups[id]
	if !ok {
		if g, err := user.LookupGroupId(strconv.FormatUint(uint64(id), 10)); err == nil {
			name = g.Name
		}
		o.groups[id] = name
	}
	return name
}
