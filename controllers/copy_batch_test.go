package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/ask"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
	"clusterbackup/internal/rsync"
)

// roomy is a location that takes whatever came; published are the files that are to have come whole.
type roomy struct {
	Location
	published map[v1.RelPath]bool
}

func (r roomy) UID() string                                 { return "uid" }
func (r roomy) Space() location.Space                       { return location.Space{Capacity: 1000, Free: 1000} }
func (r roomy) Reserve(int64, int) (Reservation, error)     { return room{in: r}, nil }
func (r roomy) SourceDir(v1.SourceName) string              { return "/photos" }
func (r roomy) Confirmed(v1.SourceName, []v1.RelPath) error { return nil }
func (r roomy) TakeOver(v1.SourceName, []location.Record) error {
	return nil
}

func (r roomy) Get(_ v1.SourceName, path v1.RelPath) (location.Record, bool, error) {
	return location.Record{Path: path, Digest: v1.Digest{1}}, r.published[path], nil
}

type room struct {
	Batch
	in roomy
}

func (r room) Release() {}
func (r room) Begin(context.Context, v1.SourceName, location.BatchOptions) (Batch, error) {
	return r, nil
}
func (r room) Dir() string                                         { return "/partial" }
func (r room) Guard(ctx context.Context) (context.Context, func()) { return ctx, func() {} }
func (r room) Close() error                                        { return nil }
func (r room) Publish(_ context.Context, files []location.Incoming) ([]location.Published, error) {
	published := make([]location.Published, len(files))
	for i, f := range files {
		published[i].Record, _, _ = r.in.Get("photos", f.Path)
		if !r.in.published[f.Path] {
			published[i].Err = location.ErrVanished
		}
	}
	return published, nil
}

func (r roomy) GetAll(s v1.SourceName, paths []v1.RelPath) ([]location.Record, []bool, error) {
	return each(r.Get, s, paths)
}

// each gets records one by one.
func each(get func(v1.SourceName, v1.RelPath) (location.Record, bool, error), s v1.SourceName, paths []v1.RelPath) ([]location.Record, []bool, error) {
	records, held := make([]location.Record, len(paths)), make([]bool, len(paths))
	for i, path := range paths {
		var err error
		if records[i], held[i], err = get(s, path); err != nil {
			return nil, nil, err
		}
	}
	return records, held, nil
}

// source is a coordinator that gives two files and says yes to all that is confirmed.
type source struct {
	Coordinator
	mu        sync.Mutex
	given     int // batches
	confirmed []v1.RelPath
	released  map[v1.RelPath]string
	reasons   []string
}

func (s *source) Claim(context.Context, *coordinator.Claim) (*coordinator.ClaimAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given++; s.given > 6 {
		return &coordinator.ClaimAnswer{RetryAfter: time.Second}, nil
	}
	return &coordinator.ClaimAnswer{Files: []coordinator.Claimed{{Path: "came"}, {Path: "did-not"}}, Lease: time.Minute}, nil
}

func (s *source) Confirm(_ context.Context, q *coordinator.Confirm) (*coordinator.ConfirmAnswer, error) {
	a := &coordinator.ConfirmAnswer{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range q.Files {
		s.confirmed = append(s.confirmed, f.Path)
		a.Answers = append(a.Answers, coordinator.Confirmation{Outcome: coordinator.OutcomeYes})
	}
	return a, nil
}

func (s *source) Release(_ context.Context, q *coordinator.Release) (*coordinator.ReleaseAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range q.Files {
		s.released[f.Path] = f.Reason
		s.reasons = append(s.reasons, f.Reason)
	}
	return &coordinator.ReleaseAnswer{}, nil
}

func TestWhatCameBeforeATransferBrokeOffIsTaken(t *testing.T) {
	for name, c := range map[string]struct {
		ended   error
		refused bool
		reason  string
	}{
		"the connection broke":     {ask.ErrBroken, false, reasonInterrupted},
		"a file is at fault":       {rsync.ErrFailed, false, coordinator.ReasonFailed},
		"it came to its end":       {nil, false, coordinator.ReasonVanished},
		"a file can't be had here": {nil, true, coordinator.ReasonFailed},
	} {
		t.Run(name, func(t *testing.T) {
			peer := &source{released: map[v1.RelPath]string{}}
			r := &CopyReconciler{
				Fetch: func(_ context.Context, _ Client, f Fetch) error {
					if c.refused {
						f.Refused("did-not", errors.New("the disk knows no such names"))
					}
					return c.ended
				},
				Retention: func(v1.SourceName) v1.Retention { return RetentionOf(nil) },
				Shortage:  &Shortage{}, Counters: &Counters{},
			}
			l := &OpenLocation{Location: roomy{published: map[v1.RelPath]bool{"came": true}}, Name: "disk"}
			n, err := r.batch(t.Context(), &Session{client: Client{Source: "photos", Coordinator: "mini"}, peer: peer, mu: r.Env.lock()}, l, false, new(atomic.Int64))
			if n != 1 || !errors.Is(err, c.ended) {
				t.Errorf("%d files, %v", n, err)
			}
			if diff := cmp.Diff([]v1.RelPath{"came"}, peer.confirmed); diff != "" {
				t.Errorf("confirmed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[v1.RelPath]string{"did-not": c.reason}, peer.released); diff != "" {
				t.Errorf("released (-want +got):\n%s", diff)
			}
		})
	}
}

// picky is a location of which the disk refuses to take what it is given, if it is broken. asked are the entries that room was asked for.
type picky struct {
	roomy
	broken error
	asked  *[]int
}

func (p picky) Reserve(_ int64, entries int) (Reservation, error) {
	if p.asked != nil {
		*p.asked = append(*p.asked, entries)
	}
	return refusing{room{in: p.roomy}, p.broken}, nil
}

type refusing struct {
	room
	broken error
}

func (r refusing) Begin(context.Context, v1.SourceName, location.BatchOptions) (Batch, error) {
	return r, nil
}

func (r refusing) Publish(ctx context.Context, files []location.Incoming) ([]location.Published, error) {
	if r.broken != nil {
		return nil, r.broken
	}
	return r.room.Publish(ctx, files)
}

func TestLocationThatTakesNothingKeepsNothingFromTheOthers(t *testing.T) {
	peer := &source{released: map[v1.RelPath]string{}}
	var events []string
	r := &CopyReconciler{
		Fetch: func(context.Context, Client, Fetch) error { return nil }, Allowed: func() bool { return true },
		Retention: func(v1.SourceName) v1.Retention { return RetentionOf(nil) }, Shortage: &Shortage{}, Counters: &Counters{},
		Event: func(name v1.LocationName, _ bool, reason, message string) {
			events = append(events, string(name)+" "+reason+": "+message)
		},
	}
	at := func(name v1.LocationName, broken error) *OpenLocation {
		return &OpenLocation{Name: name, Location: picky{roomy{published: map[v1.RelPath]bool{"came": true}}, broken, nil}}
	}
	s := &Session{client: Client{Source: "photos", Coordinator: "mini"}, peer: peer, mu: r.Env.lock()}
	answer := &coordinator.HelloAnswer{Claimable: true}
	full := fmt.Errorf("make folder: %w", unix.ENOSPC)
	for range 2 {
		peer.given = 0
		copied, _, err := r.copy(t.Context(), s, answer, []*OpenLocation{at("broken", full), at("good", nil)})
		if copied == 0 || err != nil {
			t.Fatalf("%d files came, %v", copied, err)
		}
	}
	if want := []string{"broken CopyFailed: source photos: make folder: no space left on device"}; !slices.Equal(events, want) {
		t.Errorf("events: %q", events)
	}
	if !slices.Contains(peer.reasons, coordinator.ReasonNoRoom) {
		t.Errorf("released as %v", peer.reasons)
	}
	peer.given = 0
	if _, _, err := r.copy(t.Context(), s, answer, []*OpenLocation{at("broken", full)}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("where nothing can be copied at all: %v", err)
	}
}

// Folders need room as well.
func TestRoomIsTakenForFolders(t *testing.T) {
	var asked []int
	b := &copyBatch{location: &OpenLocation{Location: picky{asked: &asked}}}
	b.reserve([]coordinator.Claimed{{Path: "a/b/1"}, {Path: "a/b/2"}, {Path: "a/3"}, {Path: "4"}, {Path: "c/5"}})
	if want := []int{5 + 2*3}; !slices.Equal(asked, want) {
		t.Errorf("room for %d files and folders was asked for, want %d", asked, want)
	}
}
