package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/placement"
)

// content stands for a file's bytes: equal contents have equal numbers.
type content uint64

// digest is what SHA-256 is to real bytes.
func (c content) digest() (d v1.Digest) {
	binary.BigEndian.PutUint64(d[:], uint64(c)+1)
	d[31] = 1
	return d
}

// replica is a file on a holder's disk, and what the holder's index says of it.
type replica struct {
	gen      v1.Generation
	content  content // what lies there
	was      content // what was published; differs once bits have flipped
	size     int64
	modTime  int64
	bad      bool  // found to differ from what was published
	verified int64 // Unix seconds
}

// version is an earlier or deleted replica that is kept for a while.
type version struct {
	size  int64
	until time.Duration
}

// disk is a location.
type disk struct {
	h        *host
	uid      string
	capacity int64 // as given
	others   int64 // what somebody else wrote there
	away     bool  // pulled out
	reserved int64
	bytes    int64 // of replicas
	kept     int64 // of versions
	replicas map[v1.SourceName]map[v1.RelPath]*replica
	bytesOf  map[v1.SourceName]int64         // of replicas
	highest  map[v1.SourceName]v1.Generation // ever held
	versions []version
	batches  int
	partial  map[string]map[v1.RelPath]arrival // what has come over, by the batch's folder
}

func newDisk(h *host, capacity int64) *disk {
	return &disk{h: h, uid: fmt.Sprint(h.name, "-", h.w.rng.Uint64()), capacity: capacity, replicas: make(map[v1.SourceName]map[v1.RelPath]*replica),
		bytesOf: make(map[v1.SourceName]int64), highest: make(map[v1.SourceName]v1.Generation), partial: make(map[string]map[v1.RelPath]arrival)}
}

// allowed is how many bytes may lie here now.
func (d *disk) allowed() int64 { return d.capacity - d.others }

func (d *disk) used() int64 { return d.bytes + d.kept }

func (d *disk) free() int64 { return max(d.allowed()-d.used()-d.reserved, 0) }

func (d *disk) get(s v1.SourceName, path v1.RelPath) *replica { return d.replicas[s][path] }

func (d *disk) put(s v1.SourceName, path v1.RelPath, r *replica) {
	if d.replicas[s] == nil {
		d.replicas[s] = make(map[v1.RelPath]*replica)
	}
	d.remove(s, path)
	d.bytes += r.size
	d.bytesOf[s] += r.size
	d.replicas[s][path] = r
	d.know(s, r.gen)
}

// know notes a generation that is held.
func (d *disk) know(s v1.SourceName, g v1.Generation) {
	if g.Compare(d.highest[s]) > 0 {
		d.highest[s] = g
	}
}

// remove deletes a replica.
func (d *disk) remove(s v1.SourceName, path v1.RelPath) *replica {
	r := d.replicas[s][path]
	if r != nil {
		d.bytes -= r.size
		d.bytesOf[s] -= r.size
		delete(d.replicas[s], path)
	}
	return r
}

// retire makes a replica a version.
func (d *disk) retire(s v1.SourceName, path v1.RelPath, until time.Duration) {
	if r := d.remove(s, path); r != nil && r.size > 0 {
		d.versions = append(d.versions, version{r.size, until})
		d.kept += r.size
	}
}

// expire deletes versions whose time is over.
func (d *disk) expire(now time.Duration) {
	left := d.versions[:0]
	for _, v := range d.versions {
		if v.until > now {
			left = append(left, v)
		} else {
			d.kept -= v.size
		}
	}
	d.versions = left
}

// v1Size prints bytes for people.
func v1Size(bytes int64) string { return placement.Size(bytes) }
