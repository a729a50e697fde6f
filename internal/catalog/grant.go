package catalog

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Grant is an outstanding permission to delete one replica.
type Grant struct {
	ID     uint64
	Holder HolderID
	Key    Key
	// Until is when its holder must have made use of it, by this host's clock.
	Until time.Time
}

// AddGrant records a grant and gives it its number.
func (tx *Tx) AddGrant(h HolderID, key Key, until time.Time) (uint64, error) {
	tx.state.NextGrant++
	tx.dirty = true
	id := tx.state.NextGrant
	value := binary.BigEndian.AppendUint16(nil, uint16(h))
	value = binary.BigEndian.AppendUint64(value, uint64(until.UnixNano()))
	return id, tx.b.Bucket(grantBucket).Put(be64(id), append(value, key...))
}

// Grant finds one; ok is false if it is not outstanding.
func (tx *Tx) Grant(id uint64) (g Grant, ok bool, err error) {
	value := tx.b.Bucket(grantBucket).Get(be64(id))
	if value == nil {
		return g, false, nil
	}
	g, err = decodeGrant(id, value)
	return g, err == nil, err
}

// RemoveGrant forgets one.
func (tx *Tx) RemoveGrant(id uint64) error { return tx.b.Bucket(grantBucket).Delete(be64(id)) }

// Grants visits the outstanding ones in the order they were given; visit returns false to end. It may not change grants.
func (tx *Tx) Grants(visit func(Grant) bool) error {
	cur := tx.b.Bucket(grantBucket).Cursor()
	for k, v := cur.First(); k != nil; k, v = cur.Next() {
		g, err := decodeGrant(binary.BigEndian.Uint64(k), v)
		if err != nil {
			return err
		}
		if !visit(g) {
			return nil
		}
	}
	return nil
}

func decodeGrant(id uint64, value []byte) (Grant, error) {
	if len(value) < 10+9 {
		return Grant{}, fmt.Errorf("%w: grant %d", ErrCorrupt, id)
	}
	return Grant{ID: id, Holder: HolderID(binary.BigEndian.Uint16(value)), Until: time.Unix(0, int64(binary.BigEndian.Uint64(value[2:]))),
		Key: Key(value[10:])}, nil
}
