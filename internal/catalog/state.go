package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	v1 "clusterbackup/api/v1"
)

var stateKey = []byte("state")

// errOlder: an earlier program made it, in a format of its own.
var errOlder = errors.New("catalog is of an earlier format")

func (s *state) store(tx *bolt.Tx) error {
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return tx.Bucket(metaBucket).Put(stateKey, value)
}

func (s *state) load(tx *bolt.Tx) error {
	if err := json.Unmarshal(tx.Bucket(metaBucket).Get(stateKey), s); err != nil {
		return fmt.Errorf("%w: state: %w", ErrCorrupt, err)
	}
	switch {
	case s.Format < format:
		return fmt.Errorf("%w: format %d", errOlder, s.Format)
	case s.Format > format:
		return fmt.Errorf("catalog has format %d, this program knows %d: use the newer program, or move the file away to begin anew", s.Format, format)
	}
	return nil
}

func (c *Catalog) now() state {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.state
}

// UID is drawn when the catalog is created.
func (c *Catalog) UID() string { return c.now().UID }

// Generation is the newest one.
func (c *Catalog) Generation() v1.Generation {
	s := c.now()
	return v1.Generation{Epoch: s.Epoch, Seq: s.Seq}
}

// Begun is the epoch that the catalog was created in.
func (c *Catalog) Begun() uint64 { return c.now().Begun }

// Whole tells whether all that was known elsewhere has been told to it once, after it was found to be amnesic.
func (c *Catalog) Whole() bool { return c.now().Whole }

// Created is when the catalog was.
func (c *Catalog) Created() time.Time { return time.Unix(0, int64(c.now().Begun)) }

// Scanned tells whether a scan was ever complete and clean.
func (c *Catalog) Scanned() bool { return c.now().Scanned }

// Current tells whether a scan was complete, clean and believed since the catalog was opened. Until then what the catalog lacks may be
// there: it may be an older one that was put back.
func (c *Catalog) Current() bool { return c.current.Load() }

// Amnesic tells whether the mark of [Tx.SetAmnesic] stands.
func (c *Catalog) Amnesic() bool { return c.now().Amnesic }

// Held is what the latest scan found gone and did not believe, or else the orphans, as long as they are not approved.
func (c *Catalog) Held() Held {
	s := c.now()
	if s.Held.Why == "" && !s.Orphans.Approved {
		return s.Orphans
	}
	return s.Held
}

// Orphans are files that holders have replicas of and that this catalog has never seen, too many to be believed to be deleted.
func (c *Catalog) Orphans() Held { return c.now().Orphans }

// HoldOrphans notes how many they are; 0: there are none, and the next ones need an approval of their own.
func (c *Catalog) HoldOrphans(files int64) error {
	return c.setState(func(st *state) bool {
		now := Held{}
		if files > 0 {
			now = Held{Files: files, Why: HeldOrphans}
		}
		if st.Orphans == now {
			return false
		}
		st.Orphans = now
		return true
	})
}

// Version names the state of everything that a manifest shows. Digests come one by one, so that only their number's
// magnitude shows in it, and when all are known.
func (c *Catalog) Version() string {
	s := c.now()
	if !s.Scanned {
		return ""
	}
	files, _ := c.Total()
	digested := 0
	for n := s.Digested; n > 0; n >>= 1 {
		digested++
	}
	if int64(s.Digested) >= files {
		digested = 64
	}
	return fmt.Sprintf("%x-%d-%d", s.Epoch, s.Changes, digested)
}
