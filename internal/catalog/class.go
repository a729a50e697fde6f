package catalog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	v1 "clusterbackup/api/v1"
)

// HolderID stands for a Holder within one catalog. It is never given to another one.
type HolderID uint16

// Holder is a location of a host.
type Holder struct {
	Host     v1.HostName
	Location v1.LocationName
}

// Class is all files that have confirmed current replicas at the same holders, and other ones (unconfirmed, stale or
// corrupt: to be brought up to date) at the same holders.
type Class struct {
	ID uint32
	// Confirmed and Other are ascending. Not to be changed.
	Confirmed, Other []HolderID
	Files, Bytes     int64
}

// classKey makes equal sets equal strings.
func classKey(confirmed, other []HolderID) string {
	b := make([]byte, 0, 2+2*(len(confirmed)+len(other)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(confirmed)))
	for _, h := range confirmed {
		b = binary.BigEndian.AppendUint16(b, uint16(h))
	}
	for _, h := range other {
		b = binary.BigEndian.AppendUint16(b, uint16(h))
	}
	return string(b)
}

// Sets are the holders that a live file's class is named by.
func Sets(e *Entry) (confirmed, other []HolderID) { return sets(e) }

// sets sorts a live file's replicas into those that count and those to be brought up to date.
func sets(e *Entry) (confirmed, other []HolderID) {
	for _, r := range e.Replicas {
		switch r.State {
		case Confirmed:
			confirmed = append(confirmed, r.Holder)
		case Unconfirmed, Stale, Corrupt:
			other = append(other, r.Holder)
		}
	}
	slices.Sort(confirmed)
	slices.Sort(other)
	return confirmed, other
}

// table is the classes and holders in memory: a copy of what is committed.
type table struct {
	classes map[uint32]Class
	ids     map[string]uint32
	next    uint32
	holders []Holder // by id
	holder  map[Holder]HolderID
	version uint64
}

func (t *table) load(tx *bolt.Tx) error {
	*t = table{classes: make(map[uint32]Class), ids: make(map[string]uint32), next: 1, holder: make(map[Holder]HolderID)}
	err := tx.Bucket(holderBucket).ForEach(func(k, v []byte) error {
		var h Holder
		if err := json.Unmarshal(v, &h); err != nil || int(binary.BigEndian.Uint16(k)) != len(t.holders) {
			return fmt.Errorf("%w: holder %x", ErrCorrupt, k)
		}
		t.holder[h] = HolderID(len(t.holders))
		t.holders = append(t.holders, h)
		return nil
	})
	if err != nil {
		return err
	}
	return tx.Bucket(classBucket).ForEach(func(k, v []byte) error {
		c, err := decodeClass(k, v)
		if err != nil {
			return err
		}
		t.put(c)
		return nil
	})
}

func (t *table) put(c Class) {
	key := classKey(c.Confirmed, c.Other)
	if c.Files == 0 {
		delete(t.classes, c.ID)
		delete(t.ids, key)
	} else {
		t.classes[c.ID] = c
		t.ids[key] = c.ID
	}
	t.next = max(t.next, c.ID+1)
}

func encodeClass(c Class) []byte {
	b := binary.AppendVarint(nil, c.Files)
	b = binary.AppendVarint(b, c.Bytes)
	return append(b, classKey(c.Confirmed, c.Other)...)
}

func decodeClass(k, v []byte) (Class, error) {
	r := &reader{b: v}
	c := Class{ID: binary.BigEndian.Uint32(k), Files: r.varint(), Bytes: r.varint()}
	n := int(r.u16())
	for r.err == nil && len(r.b) >= 2 {
		h := HolderID(r.u16())
		if len(c.Confirmed) < n {
			c.Confirmed = append(c.Confirmed, h)
		} else {
			c.Other = append(c.Other, h)
		}
	}
	if r.err != nil || len(c.Confirmed) != n {
		return c, fmt.Errorf("%w: class %x", ErrCorrupt, k)
	}
	return c, nil
}

// Classes lists the classes that have files, in the order of their ids.
func (c *Catalog) Classes() []Class {
	c.mu.RLock()
	list := make([]Class, 0, len(c.table.classes))
	for _, class := range c.table.classes {
		list = append(list, class)
	}
	c.mu.RUnlock()
	slices.SortFunc(list, func(a, b Class) int { return int(int64(a.ID) - int64(b.ID)) })
	return list
}

// Class finds one by its id.
func (c *Catalog) Class(id uint32) (Class, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	class, ok := c.table.classes[id]
	return class, ok
}

// ClassesVersion changes whenever Classes may have.
func (c *Catalog) ClassesVersion() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.table.version
}

// Total counts the live files.
func (c *Catalog) Total() (files, bytes int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, class := range c.table.classes {
		files += class.Files
		bytes += class.Bytes
	}
	return files, bytes
}

// Holders lists the holders by id. The slice is not to be changed.
func (c *Catalog) Holders() []Holder {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.table.holders[:len(c.table.holders):len(c.table.holders)]
}

// HolderID finds a holder's id.
func (c *Catalog) HolderID(h Holder) (HolderID, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	id, ok := c.table.holder[h]
	return id, ok
}
