package desired

// Deleted tells whether a resource is known to have been deleted, which is more than not to be known here.
func (s *Files) Deleted(kind, name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.all[keyOf(kind, name)]
	return r != nil && !r.live()
}
