package location

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	v1 "clusterbackup/api/v1"
)

// Listing says how far a source had come when a listing of it was made: generations only grow, so what has a greater one came later.
type Listing struct {
	Time int64 // Unix nanoseconds
	Gen  v1.Generation
}

// keepListings is for how long it is remembered.
const keepListings = 400 * 24 * time.Hour

// NoteListing remembers when a listing of a source was made and what its greatest generation is.
func (l *Location) NoteListing(source v1.SourceName, listing Listing) error {
	leave, err := l.enter()
	if err != nil {
		return fmt.Errorf("note listing of %s: %w", source, err)
	}
	defer leave()
	known, err := l.Listings(source)
	if err != nil {
		return err
	}
	if n := len(known); n > 0 && (known[n-1].Gen.Compare(listing.Gen) >= 0 || known[n-1].Time >= listing.Time) {
		return nil // nothing has come
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commit(func(u *update) error {
		s, err := u.source(source)
		if err != nil {
			return err
		}
		b, err := s.b.CreateBucketIfNotExists(bucketListings)
		if err != nil {
			return err
		}
		for _, old := range known {
			if old.Time >= listing.Time-int64(keepListings) {
				break
			}
			if err := b.Delete(listingKey(old.Time)); err != nil {
				return err
			}
		}
		gen := binary.BigEndian.AppendUint64(nil, listing.Gen.Epoch)
		return b.Put(listingKey(listing.Time), binary.AppendUvarint(gen, listing.Gen.Seq))
	}, nil)
}

func listingKey(at int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(at)) }

// Listings are those of a source that are remembered, in the order of time and of generations.
func (l *Location) Listings(source v1.SourceName) (all []Listing, err error) {
	if err := l.state(); err != nil {
		return nil, err
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		s := readSource(tx, source)
		if s == nil || s.b.Bucket(bucketListings) == nil {
			return nil
		}
		return s.b.Bucket(bucketListings).ForEach(func(k, v []byte) error {
			key, value := reader{b: k}, reader{b: v}
			one := Listing{Time: int64(key.fixed()), Gen: v1.Generation{Epoch: value.fixed(), Seq: value.uvarint()}}
			if key.bad || value.bad {
				return errRecord
			}
			all = append(all, one)
			return nil
		})
	})
	return all, err
}

// Seen tells when the first of some listings was made that had a generation, and when the last that had not; 0: none is known. Another
// epoch's tell nothing: what was there before has new generations in it.
func Seen(listings []Listing, gen v1.Generation) (seen, absent int64) {
	i, _ := slices.BinarySearchFunc(listings, gen, func(l Listing, gen v1.Generation) int { return l.Gen.Compare(gen) })
	if i < len(listings) && listings[i].Gen.Epoch == gen.Epoch {
		seen = listings[i].Time
	}
	if i > 0 && listings[i-1].Gen.Epoch == gen.Epoch {
		absent = listings[i-1].Time
	}
	return seen, absent
}
