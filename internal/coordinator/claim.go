package coordinator

import (
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// lease is how long a claim lasts without being renewed.
const lease = 2 * time.Minute

// claim is a lock on (file, host) while it copies. Claims are in memory: after a restart a copy that was made without one may
// be confirmed just the same.
type claim struct {
	key      catalog.Key
	path     v1.RelPath
	host     v1.HostName
	location v1.LocationName
	size     int64
	until    time.Time
	class    uint32
}

// claims finds claims by file, and counts the claimed files of each class and the claims of each host.
type claims struct {
	byKey   map[catalog.Key][]*claim
	byClass map[uint32]sum
	byHost  map[v1.HostName]sum
	total   int64
}

type sum struct{ files, bytes int64 }

// count counts a file of that size in (by 1) or out (by -1); who has none is not there.
func count[K comparable](sums map[K]sum, of K, size, by int64) {
	s := sums[of]
	s.files += by
	s.bytes += by * size
	if s.files == 0 {
		delete(sums, of)
		return
	}
	sums[of] = s
}

func (cs *claims) add(n *claim) {
	if cs.byKey == nil {
		cs.byKey, cs.byClass, cs.byHost = make(map[catalog.Key][]*claim), make(map[uint32]sum), make(map[v1.HostName]sum)
	}
	if len(cs.byKey[n.key]) == 0 {
		count(cs.byClass, n.class, n.size, 1)
	}
	cs.byKey[n.key] = append(cs.byKey[n.key], n)
	count(cs.byHost, n.host, n.size, 1)
	cs.total++
}

// of finds a host's claim on a file.
func (cs *claims) of(key catalog.Key, host v1.HostName) *claim {
	for _, n := range cs.byKey[key] {
		if n.host == host {
			return n
		}
	}
	return nil
}

// remove takes a claim away, if it stands.
func (cs *claims) remove(key catalog.Key, host v1.HostName) bool {
	list := cs.byKey[key]
	for i, n := range list {
		if n.host != host {
			continue
		}
		cs.total--
		count(cs.byHost, host, n.size, -1)
		if len(list) == 1 {
			delete(cs.byKey, key)
			count(cs.byClass, n.class, n.size, -1)
			return true
		}
		cs.byKey[key] = append(list[:i:i], list[i+1:]...)
		return true
	}
	return false
}

// drop takes all of a host's away.
func (cs *claims) drop(host v1.HostName) {
	for key := range cs.byKey {
		cs.remove(key, host)
	}
}

// move follows a file into another class.
func (cs *claims) move(key catalog.Key, to uint32) (claimed bool) {
	list := cs.byKey[key]
	if len(list) == 0 {
		return false
	}
	size := list[0].size
	count(cs.byClass, list[0].class, size, -1)
	for _, n := range list {
		n.class = to
	}
	count(cs.byClass, to, size, 1)
	return true
}

// expire takes away those whose time is over.
func (cs *claims) expire(now time.Time) (did bool) {
	for key, list := range cs.byKey {
		for _, n := range list {
			if now.After(n.until) {
				cs.remove(key, n.host)
				did = true
			}
		}
	}
	return did
}

// moved is told by the catalog which files changed their class.
func (c *Coordinator) moved(version uint64, moved []catalog.Moved) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = version
	for _, m := range moved {
		if !c.claims.move(catalog.Key(m.Key), m.To) {
			c.stale = true
		}
	}
}
