package controllers

import (
	"cmp"
	"slices"
	"sync"

	v1 "clusterbackup/api/v1"
)

// Shortage is the room that sources lack in this host's locations, or will: what other sources have taken on to clear there for them,
// and what these are to leave. The copy loop and the drop loop share it. The zero value: nothing is lacking.
type Shortage struct {
	mu     sync.Mutex
	of     map[v1.LocationName]map[Client]shortage
	needed map[Client]int64 // bytes that a source lacks, on whatever host
}

// shortage is one client's part in one location, in bytes.
type shortage struct {
	wanted   int64 // so much more room would let the location take files that have no other place
	largest  int64 // so large is the largest file that the location could be given
	accepted int64 // so much of what it holds is being copied elsewhere
}

// change changes a client's part.
func (s *Shortage) change(c Client, l v1.LocationName, change func(*shortage)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[v1.LocationName]map[Client]shortage{}
	}
	if s.of[l] == nil {
		s.of[l] = map[Client]shortage{}
	}
	part := s.of[l][c]
	change(&part)
	s.of[l][c] = part
	if part == (shortage{}) {
		delete(s.of[l], c)
	}
}

// need notes how many bytes a source lacks in all, on whatever host.
func (s *Shortage) need(c Client, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.needed == nil {
		s.needed = map[Client]int64{}
	}
	s.needed[c] = bytes
}

// sought is how many bytes the sources other than c's lack: they look for a place on this host too. Who acts for c's source is none of them.
func (s *Shortage) sought(c Client) (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, needed := range s.needed {
		if other.Source != c.Source {
			bytes += needed
		}
	}
	return bytes
}

// want notes how many bytes of room in a location would let it take files of a source that have no other place, and how large the
// largest file is that it could be given.
func (s *Shortage) want(c Client, l v1.LocationName, bytes, largest int64) {
	s.change(c, l, func(part *shortage) { part.wanted, part.largest = bytes, largest })
}

// keep is how many of the free bytes in a location a source is to leave: room for the largest file of those sources that have a larger
// one than it has. Else smaller files, of whichever source comes first, would take the only places where it fits; and since the
// source with the largest file leaves none, somebody always goes on.
func (s *Shortage) keep(c Client, l v1.LocationName, free int64) (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := s.of[l][c].largest
	for other, part := range s.of[l] {
		if other != c && part.largest > mine && part.largest <= free {
			bytes = max(bytes, part.largest)
		}
	}
	return bytes
}

// accept notes how many bytes of a source's replicas in a location are being copied elsewhere, so that they can be dropped.
func (s *Shortage) accept(c Client, l v1.LocationName, bytes int64) {
	s.change(c, l, func(part *shortage) { part.accepted = bytes })
}

// lacking is how many bytes of room in a location its sources lack, all together.
func (s *Shortage) lacking(l v1.LocationName) (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range s.of[l] {
		bytes += part.wanted
	}
	return bytes
}

// others is what the sources other than c's lack in a location, and what they have accepted. Who acts for c's source is none of them.
func (s *Shortage) others(c Client, l v1.LocationName) (wanted, accepted int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, part := range s.of[l] {
		if other.Source != c.Source {
			wanted += part.wanted
			accepted += part.accepted
		}
	}
	return wanted, accepted
}

// waiting lists the clients whose source lacks room in a location, in an order that is always the same.
func (s *Shortage) waiting(l v1.LocationName) (clients []Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, part := range s.of[l] {
		if part.wanted > 0 {
			clients = append(clients, c)
		}
	}
	slices.SortFunc(clients, func(a, b Client) int { return cmp.Compare(a.String(), b.String()) })
	return clients
}

// forget takes a client's part away, everywhere.
func (s *Shortage) forget(c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.needed, c)
	for _, parts := range s.of {
		delete(parts, c)
	}
}
