package controllers

import (
	"testing"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
)

// spacious is a location of which only the space matters.
type spacious struct {
	Location
	space location.Space
}

func (s spacious) Space() location.Space { return s.space }

func TestWishAsksASourceForWhatNoOtherHasTakenOn(t *testing.T) {
	me, other, third := Client{Source: "a", Coordinator: "h1"}, Client{Source: "b", Coordinator: "h2"}, Client{Source: "c", Coordinator: "h3"}
	acting := Client{Source: "a", Coordinator: "h4", Acting: true}
	const disk = v1.LocationName("disk")
	full := location.Space{Capacity: 100, Used: 100}
	over := location.Space{Capacity: 100, Used: 90, Reserved: 50}
	for name, c := range map[string]struct {
		space    location.Space
		draining bool
		surplus  bool
		shortage map[Client]shortage
		want     wish
	}{
		"nothing":                          {space: full},
		"surplus":                          {space: full, surplus: true, want: wish{reason: coordinator.ReasonSurplus}},
		"draining":                         {space: over, draining: true, want: wish{coordinator.ReasonDraining, 70, 70}},
		"over capacity":                    {space: over, surplus: true, want: wish{coordinator.ReasonOverCapacity, 40, 40}},
		"over, some of it taken on":        {space: over, shortage: map[Client]shortage{other: {accepted: 30}}, want: wish{coordinator.ReasonOverCapacity, 40, 10}},
		"its own part does not count":      {space: over, shortage: map[Client]shortage{me: {accepted: 30}}, want: wish{coordinator.ReasonOverCapacity, 40, 40}},
		"who acts for it does not count":   {space: full, shortage: map[Client]shortage{acting: {wanted: 20}}, want: wish{coordinator.ReasonStarving, 20, 0}},
		"another starves":                  {space: full, shortage: map[Client]shortage{other: {wanted: 20}}, want: wish{coordinator.ReasonStarving, 20, 20}},
		"another starves, a third helps":   {space: full, shortage: map[Client]shortage{other: {wanted: 20}, third: {accepted: 15}}, want: wish{coordinator.ReasonStarving, 20, 5}},
		"it starves: only what is surplus": {space: full, shortage: map[Client]shortage{me: {wanted: 20}}, want: wish{coordinator.ReasonStarving, 20, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &DropReconciler{Shortage: &Shortage{}}
			for client, part := range c.shortage {
				r.Shortage.want(client, disk, part.wanted, 0)
				r.Shortage.accept(client, disk, part.accepted)
			}
			l := &OpenLocation{Location: spacious{space: c.space}, Name: disk, Draining: c.draining}
			if got := r.wish(me, l, location.Held{Replicas: 1, ReplicaBytes: 70}, c.surplus); got != c.want {
				t.Errorf("wish %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestShortageKnowsWhoWaitsForRoom(t *testing.T) {
	var s Shortage
	a, b := Client{Source: "a", Coordinator: "h1"}, Client{Source: "b", Coordinator: "h2"}
	s.want(b, "disk", 5, 0)
	s.want(a, "disk", 3, 0)
	s.accept(a, "other", 7)
	if got := s.waiting("disk"); len(got) != 2 || got[0] != a || got[1] != b {
		t.Errorf("waiting %v", got)
	}
	if got := s.waiting("other"); len(got) != 0 {
		t.Errorf("waiting for another location: %v", got)
	}
	s.want(b, "disk", 0, 0)
	s.forget(a)
	if got := s.lacking("disk"); got != 0 {
		t.Errorf("%d bytes still lacking", got)
	}
	if _, accepted := s.others(b, "other"); accepted != 0 {
		t.Errorf("%d bytes still accepted", accepted)
	}
}

func TestRoomIsKeptForTheLargestFileOfAnotherSource(t *testing.T) {
	var s Shortage
	a, b, c := Client{Source: "a", Coordinator: "h1"}, Client{Source: "b", Coordinator: "h2"}, Client{Source: "c", Coordinator: "h3"}
	s.want(a, "disk", 0, 900)
	s.want(b, "disk", 0, 300)
	s.want(c, "elsewhere", 0, 5000)
	for _, x := range []struct {
		client     Client
		free, want int64
	}{{a, 1000, 0}, {b, 1000, 900}, {c, 1000, 900}, {c, 800, 300}, {c, 100, 0}} {
		if got := s.keep(x.client, "disk", x.free); got != x.want {
			t.Errorf("%s is to leave %d of %d bytes, want %d", x.client, got, x.free, x.want)
		}
	}
}

// What a client was at work on when it ceased to be wanted is forgotten: nobody makes room for it for ever.
func TestUnwantedClientLacksNothing(t *testing.T) {
	r := &CopyReconciler{Shortage: &Shortage{}, Wanted: func(Client) bool { return false }}
	c := Client{Source: "photos", Coordinator: "b", Acting: true}
	r.Shortage.want(c, "disk", 5, 5)
	if _, err := r.Reconcile(t.Context(), c); err != nil || r.Shortage.lacking("disk") != 0 {
		t.Errorf("%d bytes are lacking, %v", r.Shortage.lacking("disk"), err)
	}
}
