package desired

import "strings"

// Knows tells whether there is any resource of a kind, or was one that is known to have been deleted.
func (s *Files) Knows(kind string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for k := range s.all {
		if k.kind == strings.ToLower(kind) {
			return true
		}
	}
	return false
}

// Deleted tells whether a resource is known to have been deleted, which is more than not to be known here.
func (s *Files) Deleted(kind, name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.all[keyOf(kind, name)]
	return r != nil && !r.live()
}
