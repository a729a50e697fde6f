package catalog

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

// Options of Open.
type Options struct {
	// Clock is for epochs and the times of deletions. Nil: time.Now.
	Clock func() time.Time
}

// Catalog is one source's. All methods may be called at once from several goroutines.
type Catalog struct {
	db *bolt.DB
}

// Open opens the catalog in a file, or makes a new one.
func Open(path string, opts Options) (*Catalog, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType, Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	return &Catalog{db: db}, nil
}

// Close ends it.
func (c *Catalog) Close() error { return c.db.Close() }
