package catalog

import (
	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/tree"
)

// Observe takes over what a look at one file's path said, outside a scan. Only a file that is known and is a file still is
// changed, and that on the root's own file system, which is known to be the one it was; whatever else is the next scan's to find.
// changed tells whether it has a new version.
func (tx *Tx) Observe(path v1.RelPath, now *tree.Entry) (changed bool, err error) {
	key, old, err := tx.Find(path)
	if err != nil || old == nil || !old.Live() || now.Kind != tree.KindFile || now.Device != tx.state.Root.Device {
		return false, err
	}
	// It is there, whatever a running scan missed before.
	if err := tx.b.Bucket(goneBucket).Delete([]byte(key)); err != nil {
		return false, err
	}
	was := old.Stat("")
	if was.SameVersion(now) {
		return false, nil
	}
	_, err = tx.apply(&change{key: key, stat: *now, xattrs: old.Xattrs})
	return err == nil, err
}

// SetDigest records the digest of a file's current version, if that is still as stat says; otherwise it does nothing.
func (tx *Tx) SetDigest(key Key, seq uint64, digest v1.Digest) error {
	old, err := tx.Get(key)
	if err != nil || old == nil || !old.Live() || old.Seq != seq || old.Digest == digest {
		return err
	}
	e := old.Clone()
	e.Digest = digest
	return tx.Put(key, old, e)
}

// SetAmnesic sets or takes away the mark that holders know more than the catalog does.
func (tx *Tx) SetAmnesic(on bool) {
	tx.state.Whole = !on
	tx.state.Amnesic = on
	tx.dirty = true
}

// NewEpoch begins a new epoch, after the given one, and marks the catalog amnesic. All replicas are to be confirmed anew
// ([Catalog.Demote]).
func (tx *Tx) NewEpoch(after uint64) {
	tx.state.Epoch = max(uint64(tx.c.clock().UnixNano()), after+1, tx.state.Epoch+1)
	tx.state.NextGrant = max(tx.state.NextGrant, tx.state.Epoch)
	tx.state.Amnesic, tx.state.Whole = true, false
	tx.dirty, tx.changed = true, true
}

// Newest is the newest generation.
func (tx *Tx) Newest() v1.Generation {
	return v1.Generation{Epoch: tx.state.Epoch, Seq: tx.state.Seq}
}
