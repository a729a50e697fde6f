package controllers

import (
	"context"
	"testing"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
)

// holding is a location of which only one replica matters.
type holding struct {
	Location
	record location.Record
}

func (h holding) Get(_ v1.SourceName, path v1.RelPath) (location.Record, bool, error) {
	return h.record, path == h.record.Path, nil
}

// slow is a coordinator that is told something while it answers.
type slow struct {
	Coordinator
	sessions  []uint64
	meanwhile func()
}

func (s *slow) Hello(_ context.Context, q *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	s.sessions = append(s.sessions, q.Session)
	if len(s.sessions) == 1 {
		s.meanwhile()
	}
	return &coordinator.HelloAnswer{}, nil
}

// TestHelloIsRepeatedIfItIsOutdated: what came while a frozen host was to answer is told before anything is claimed from it.
func TestHelloIsRepeatedIfItIsOutdated(t *testing.T) {
	peer := &slow{}
	sessions := &Sessions{Dial: func(Client) Coordinator { return peer }}
	peer.meanwhile = func() { sessions.outdate("photos", false) }
	s := sessions.Get(Client{Source: "photos", Coordinator: "a"})
	if _, err := s.hello(t.Context(), &coordinator.Hello{}); err != nil || len(peer.sessions) != 2 || peer.sessions[0] == peer.sessions[1] {
		t.Errorf("hello was said in sessions %d, %v", peer.sessions, err)
	}
}

func TestOnlyWhatIsStillHeldIsTold(t *testing.T) {
	was := location.Record{Path: "a", Gen: v1.Generation{Epoch: 1, Seq: 1}, Digest: v1.Digest{1}, Size: 5, ModTime: 7, Verified: 100}
	for name, c := range map[string]struct {
		change func(*location.Record)
		held   bool
	}{
		"the same":      {func(*location.Record) {}, true},
		"read again":    {func(r *location.Record) { r.Verified = 200 }, true},
		"replaced":      {func(r *location.Record) { r.Gen.Seq = 2 }, false},
		"found corrupt": {func(r *location.Record) { r.Bad = true }, false},
		"dropped":       {func(r *location.Record) { r.Path = "b" }, false},
		"other bytes":   {func(r *location.Record) { r.Digest = v1.Digest{2} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			now := was
			c.change(&now)
			held, index, err := (&Session{}).stillHeld(&OpenLocation{Location: holding{record: now}}, []coordinator.Record{recordOf(was)})
			if err != nil || len(held) != len(index) || (len(held) == 1) != c.held {
				t.Errorf("held %v, %v, want %v", held, err, c.held)
			}
		})
	}
}
