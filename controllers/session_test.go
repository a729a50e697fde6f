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

func (h holding) GetAll(s v1.SourceName, paths []v1.RelPath) ([]location.Record, []bool, error) {
	return each(h.Get, s, paths)
}

// slow is a coordinator that takes long for its first answer.
type slow struct {
	Coordinator
	hellos    []coordinator.Hello
	meanwhile func()
}

func (s *slow) Hello(_ context.Context, q *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	if s.hellos = append(s.hellos, *q); len(s.hellos) == 1 {
		s.meanwhile()
	}
	return &coordinator.HelloAnswer{Claimable: true, NeedInventory: true}, nil
}

// filling is an only location, in which replicas come.
type filling struct {
	roomy
	replicas int64
}

func (f *filling) Use() ([]*OpenLocation, func()) {
	return []*OpenLocation{{Location: f, Name: "disk"}}, func() {}
}
func (f *filling) UseOne(v1.LocationName) (*OpenLocation, func()) {
	return &OpenLocation{Location: f, Name: "disk"}, func() {}
}
func (f *filling) Waiting(v1.LocationName, v1.SourceName, string)     {}
func (f *filling) ManifestVersion(v1.SourceName) (string, error)      { return "", nil }
func (f *filling) Highest(v1.SourceName) (g v1.Generation, err error) { return g, nil }
func (f *filling) Held(v1.SourceName) (held location.Held, err error) {
	held.Replicas = f.replicas
	return held, nil
}

// TestWhatCameWhileNobodyAnsweredIsTold: by a Hello that knows of it, in a session of its own, before anything else is asked.
func TestWhatCameWhileNobodyAnsweredIsTold(t *testing.T) {
	peer, disk := &slow{}, &filling{}
	sessions := &Sessions{Dial: func(Client) Coordinator { return peer }}
	r := &CopyReconciler{Sessions: sessions, Locations: disk, Wanted: func(Client) bool { return true }, Allowed: func() bool { return false }, Shortage: &Shortage{}}
	client := Client{Source: "photos", Coordinator: "a"}
	peer.meanwhile = func() {
		disk.replicas = 5
		sessions.outdate("photos", false)
	}
	if _, err := r.Reconcile(t.Context(), client); err != nil { // an inventory would panic
		t.Fatal(err)
	}
	sessions.Get(client).peer = answeringHello{peer}
	if _, err := r.Reconcile(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if first, second := peer.hellos[0], peer.hellos[1]; first.Session == second.Session || first.Holds || !second.Holds {
		t.Errorf("first %+v, then %+v", first, second)
	}
}

// answeringHello wants nothing told.
type answeringHello struct{ *slow }

func (a answeringHello) Hello(ctx context.Context, q *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	_, err := a.slow.Hello(ctx, q)
	return &coordinator.HelloAnswer{}, err
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
