package location

import (
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"

	v1 "clusterbackup/api/v1"
)

// update is one durable change of the index. The counts follow it, in the index and in memory.
type update struct {
	tx      *bbolt.Tx
	sources map[v1.SourceName]*sourceTx
}

func (u *update) source(name v1.SourceName) (*sourceTx, error) {
	if s := u.sources[name]; s != nil {
		return s, nil
	}
	s, err := writeSource(u.tx, name)
	if err == nil {
		u.sources[name] = s
	}
	return s, err
}

// commit runs change in a transaction that is durable when commit returns nil. then is given what the totals changed by, and runs
// once the change is durable.
func (l *Location) commit(change func(*update) error, then func(delta totals)) error {
	u := update{sources: map[v1.SourceName]*sourceTx{}}
	var delta totals
	err := l.db.Update(func(tx *bbolt.Tx) error {
		u.tx = tx
		if err := change(&u); err != nil {
			return err
		}
		for _, s := range u.sources {
			delta.add(s.delta)
			if err := s.finish(); err != nil {
				return err
			}
		}
		return l.stampClock(tx)
	})
	if err != nil {
		return err
	}
	if then == nil {
		then = l.space.changed
	}
	then(delta)
	return nil
}

// finish writes what is kept per source beside the records.
func (s *sourceTx) finish() error {
	if s.delta != (totals{}) {
		sum := s.totals()
		sum.add(s.delta)
		if err := s.b.Put(keyTotals, sum.append(nil)); err != nil {
			return err
		}
	}
	if s.highest.Compare(s.highestKnown()) > 0 {
		b := binary.BigEndian.AppendUint64(nil, s.highest.Epoch)
		if err := s.b.Put(keyHighest, binary.AppendUvarint(b, s.highest.Seq)); err != nil {
			return err
		}
	}
	if !s.changed {
		return nil
	}
	return s.b.Put(keyChanged, binary.AppendUvarint(nil, s.counter(keyChanged)+1))
}

// stampClock remembers the latest time that was seen, and the clock of retention.
func (l *Location) stampClock(tx *bbolt.Tx) error {
	now := l.now().Unix()
	return errors.Join(tx.Bucket(bucketMeta).Put(keyClock, binary.AppendVarint(nil, now)), l.putAge(tx))
}
