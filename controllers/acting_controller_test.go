package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
	"clusterbackup/internal/manifest"
)

func TestWhoActs(t *testing.T) {
	at := func(host v1.HostName, seq uint64, minute int) ListingAt {
		return ListingAt{Host: host, Location: v1.LocationName(host + "-disk"), Generation: v1.Generation{Epoch: 5, Seq: seq},
			Time: time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)}
	}
	acting, failed := at("z", 7, 1), at("a", 7, 1)
	acting.Acting, failed.Failed = true, true
	for name, c := range map[string]struct {
		listings []ListingAt
		want     v1.HostName
	}{
		"nobody has any":           {nil, ""},
		"none has a listing":       {[]ListingAt{{Host: "a"}, {Host: "b"}}, ""},
		"the first by name":        {[]ListingAt{at("c", 7, 1), at("b", 7, 1)}, "b"},
		"the newest":               {[]ListingAt{at("b", 6, 9), at("c", 7, 1)}, "c"},
		"the later of the same":    {[]ListingAt{at("b", 7, 1), at("c", 7, 2)}, "c"},
		"who acts already":         {[]ListingAt{at("b", 7, 1), acting}, "z"},
		"not who acts from an old": {[]ListingAt{at("b", 8, 1), acting}, "b"},
		"not who failed to":        {[]ListingAt{failed, at("b", 7, 1)}, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := whoActs(c.listings)
			slices.Reverse(c.listings)
			again, _ := whoActs(c.listings)
			if got.Host != c.want || ok != (c.want != "") || got != again {
				t.Errorf("%s and %s, want %s", got.Host, again.Host, c.want)
			}
		})
	}
}

// plainDesired is desired state as it is given.
type plainDesired struct {
	sources []*v1.Source
	hosts   []*v1.Host
	cluster *v1.Cluster
}

func (d plainDesired) Sources() []*v1.Source     { return d.sources }
func (d plainDesired) Locations() []*v1.Location { return nil }
func (d plainDesired) Hosts() []*v1.Host         { return d.hosts }
func (d plainDesired) Cluster() *v1.Cluster      { return d.cluster }

// stage is a reconciler of host b with a listing of source photos of host a.
type stage struct {
	*ActingReconciler
	desired  *plainDesired
	seen     time.Time
	listing  string
	listings []ListingAt
	chosen   v1.HostName
}

func newStage(t *testing.T) *stage {
	t.Helper()
	source, cluster := &v1.Source{}, &v1.Cluster{}
	source.Name, source.Spec.Host = "photos", "a"
	v1.Default(cluster, nil)
	v1.Default(source, &cluster.Spec)
	a := &v1.Host{}
	a.Name = "a"
	s := &stage{desired: &plainDesired{[]*v1.Source{source}, []*v1.Host{a}, cluster}}
	var text strings.Builder
	w, err := manifest.NewWriter(&text, manifest.Header{Source: "photos", Generation: v1.Generation{Epoch: 5, Seq: 3}})
	for _, e := range []manifest.Entry{
		{Path: "d", Type: manifest.Folder},
		{Path: "d/known", Type: manifest.File, Size: 4, Digest: v1.Digest{1}, Generation: v1.Generation{Epoch: 5, Seq: 1}},
		{Path: "d/link", Type: manifest.Symlink, Target: "known"},
		{Path: "unread", Type: manifest.File, Size: 4, Generation: v1.Generation{Epoch: 5, Seq: 2}},
	} {
		err = errors.Join(err, w.Write(&e))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	s.listing = text.String()
	s.listings = []ListingAt{{Host: "b", Location: "b-disk", Generation: v1.Generation{Epoch: 5, Seq: 3}}}
	s.ActingReconciler = &ActingReconciler{
		Desired: s.desired, Host: "b", Set: &SourceSet{}, Catalogs: filepath.Join(t.TempDir(), "acting"),
		Coordinator: coordinator.Config{Hosts: func() []coordinator.HostInfo { return []coordinator.HostInfo{{Name: "a"}, {Name: "b"}, {Name: "c"}} }, Log: logr.Discard()},
		LastSeen:    func(v1.HostName) time.Time { return s.seen },
		Listings:    func(context.Context, v1.SourceName) ([]ListingAt, error) { return s.listings, nil },
		Open: func(context.Context, v1.SourceName, v1.LocationName) (io.ReadCloser, string, error) {
			return io.NopCloser(strings.NewReader(s.listing)), "v1", nil
		},
		Chosen: func(_ v1.SourceName, by v1.HostName) { s.chosen = by },
		Event:  func(v1.SourceName, bool, string, string) {}, Answering: func(v1.SourceName) {}, Log: logr.Discard(),
	}
	t.Cleanup(s.Set.Close)
	// It has listened for long.
	s.looked, s.listening = time.Now(), time.Now().Add(-24*time.Hour)
	return s
}

// reconcile reconciles once and tells whether b acts then.
func (s *stage) reconcile(t *testing.T) (acts bool, err error) {
	t.Helper()
	_, err = s.Reconcile(t.Context(), "photos")
	running, done := s.Set.Use("photos")
	done()
	if (s.chosen == "b") != (running != nil) {
		t.Errorf("%q is said to act, and b does: %v", s.chosen, running != nil)
	}
	return running != nil, err
}

func TestActsWhileTheHostIsSilentOnly(t *testing.T) {
	s := newStage(t)
	step := func(what string, want bool) {
		t.Helper()
		if acts, err := s.reconcile(t); acts != want || err != nil {
			t.Errorf("%s: acts %v, %v", what, acts, err)
		}
	}
	s.seen = time.Now().Add(-59 * time.Minute)
	step("silent for less than repairAfter", false)
	s.seen = time.Now().Add(-61 * time.Minute)
	until := metav1.NewTime(time.Now().Add(time.Minute))
	s.desired.hosts[0].Spec.CordonedUntil = &until
	step("in maintenance", false)
	s.desired.hosts[0].Spec.CordonedUntil = nil
	step("silent", true)
	running, done := s.Set.Use("photos")
	files, _ := running.Catalog.Total()
	status := running.Coordinator.Status()
	done()
	if files != 1 || status.Files != 1 {
		t.Errorf("%d files are known, not the one that has a digest", files)
	}
	step("still silent", true)
	s.seen = time.Now()
	step("back", false)
	s.seen = time.Time{}
	step("not heard of since the start, which is long ago", true)
	s.looked = time.Now().Add(-time.Hour)
	step("this host slept", false)
}

func TestActsNotWithAListingThatIsCutShort(t *testing.T) {
	s := newStage(t)
	whole := s.listing
	s.listing = whole[:len(whole)-8]
	if acts, err := s.reconcile(t); acts || err == nil || !s.Set.Failed("photos") {
		t.Errorf("acts %v, %v", acts, err)
	}
	s.listings = []ListingAt{{Host: "c", Generation: v1.Generation{Epoch: 5, Seq: 2}}}
	if acts, err := s.reconcile(t); acts || err != nil || s.chosen != "c" || !s.Set.Failed("photos") {
		t.Errorf("acts %v, %v; %q was chosen", acts, err, s.chosen)
	}
}

// liar is a coordinator that says everything that one which acts may not.
type liar struct{ Coordinator }

func (liar) Hello(context.Context, *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	return &coordinator.HelloAnswer{SourceUID: "x", Epoch: 9, Seq: 9, Life: 3, Turn: 4, Claimable: true, Extra: true, Retire: true, Surplus: true}, nil
}

func (liar) Inventory(context.Context, *coordinator.Inventory) (*coordinator.InventoryAnswer, error) {
	return &coordinator.InventoryAnswer{Want: []string{"d"}, Verdicts: []coordinator.Verdict{{Path: "d/a", Action: coordinator.ActionUnknown}}}, nil
}

func (liar) Claim(context.Context, *coordinator.Claim) (*coordinator.ClaimAnswer, error) {
	good := coordinator.Claimed{Path: "good", Gen: v1.Generation{Epoch: 9, Seq: 9}, Digest: v1.Digest{1}}
	held, extra, unknown := good, good, good
	held.Held, extra.Extra, unknown.Digest = true, true, v1.Digest{}
	return &coordinator.ClaimAnswer{Files: []coordinator.Claimed{held, good, extra, unknown}, Wanted: 5, Origin: &coordinator.Origin{Host: "b", Location: "b-disk"}}, nil
}

func (liar) Confirm(context.Context, *coordinator.Confirm) (*coordinator.ConfirmAnswer, error) {
	a := &coordinator.ConfirmAnswer{}
	for o := coordinator.OutcomeUnclear; o <= coordinator.OutcomeGone; o++ {
		a.Answers = append(a.Answers, coordinator.Confirmation{Outcome: o, Gen: v1.Generation{Epoch: 9, Seq: 9}})
	}
	return a, nil
}

func (liar) Drop(context.Context, *coordinator.Drop) (*coordinator.DropAnswer, error) {
	return &coordinator.DropAnswer{Grants: []coordinator.Grant{{Path: "good", For: time.Hour}}}, nil
}

func (liar) Retire(context.Context, *coordinator.Retire) (*coordinator.RetireAnswer, error) {
	return &coordinator.RetireAnswer{Files: []coordinator.Retiree{{Path: "good"}}}, nil
}

func (liar) Relieve(context.Context, *coordinator.Relieve) (*coordinator.RelieveAnswer, error) {
	return &coordinator.RelieveAnswer{Accepted: 7}, nil
}

func TestWhoActsIsHeardOfCopiesOnly(t *testing.T) {
	sessions := &Sessions{Dial: func(Client) Coordinator { return liar{} }}
	peer := sessions.Get(Client{Source: "photos", Coordinator: "b", Acting: true}).peer
	ctx := t.Context()
	hello, _ := peer.Hello(ctx, nil)
	if hello.Retire || hello.Surplus || hello.Extra || hello.Epoch != 0 || hello.Seq != 0 || !hello.Claimable || hello.Life != 3 || hello.Turn != 4 {
		t.Errorf("hello: %+v", hello)
	}
	if a, _ := peer.Inventory(ctx, nil); len(a.Verdicts) != 0 || len(a.Want) != 1 {
		t.Errorf("inventory: %+v", a)
	}
	if a, _ := peer.Claim(ctx, nil); len(a.Files) != 1 || a.Files[0].Held || a.Files[0].Extra || a.Files[0].Digest.IsZero() || !a.Files[0].Gen.IsZero() || a.Wanted != 0 {
		t.Errorf("claim: %+v", a)
	}
	confirmed, _ := peer.Confirm(ctx, nil)
	for o, a := range confirmed.Answers {
		want := coordinator.OutcomeStale
		if coordinator.Outcome(o) == coordinator.OutcomeYes {
			want = coordinator.OutcomeYes
		}
		if a.Outcome != want || !a.Gen.IsZero() {
			t.Errorf("confirm: %d: %+v", o, a)
		}
	}
	drop, _ := peer.Drop(ctx, nil)
	retire, _ := peer.Retire(ctx, nil)
	relieve, _ := peer.Relieve(ctx, nil)
	if len(drop.Grants)+len(retire.Files) > 0 || relieve.Accepted != 0 {
		t.Errorf("%+v, %+v, %+v", drop, retire, relieve)
	}
}

// adding is a location that takes one file, and notes how.
type adding struct {
	roomy
	began    *location.BatchOptions
	incoming *[]location.Incoming
	set      *[]location.Record
}

func (a adding) Get(_ v1.SourceName, path v1.RelPath) (location.Record, bool, error) {
	return location.Record{Path: path, Gen: known, Digest: v1.Digest{1}}, true, nil
}

func (a adding) GetAll(s v1.SourceName, paths []v1.RelPath) ([]location.Record, []bool, error) {
	return each(a.Get, s, paths)
}

func (a adding) Reserve(int64, int) (Reservation, error) {
	return addingRoom{room{in: a.roomy}, a}, nil
}
func (a adding) TakeOver(_ v1.SourceName, records []location.Record) error {
	*a.set = append(*a.set, records...)
	return nil
}

// known is the generation that a record has before it is confirmed.
var known = v1.Generation{Epoch: 7, Seq: 7}

type addingRoom struct {
	room
	to adding
}

func (r addingRoom) Begin(_ context.Context, _ v1.SourceName, o location.BatchOptions) (Batch, error) {
	*r.to.began = o
	return r, nil
}

func (r addingRoom) Publish(_ context.Context, files []location.Incoming) ([]location.Published, error) {
	*r.to.incoming = files
	published := make([]location.Published, len(files))
	for i, f := range files {
		published[i].Record, _, _ = r.to.Get("photos", f.Path)
	}
	return published, nil
}

// TestCopyForOneThatActs: it comes from the holder that is named, is checked, replaces nothing, gets no generation, and the source's own
// coordinator is told of it when it is back.
func TestCopyForOneThatActs(t *testing.T) {
	var from Fetch
	var began location.BatchOptions
	var incoming []location.Incoming
	var set []location.Record
	sessions := &Sessions{Dial: func(c Client) Coordinator {
		return confirming{liar{}}
	}}
	r := &CopyReconciler{
		Sessions:  sessions,
		Fetch:     func(_ context.Context, _ Client, f Fetch) error { from = f; return nil },
		Retention: func(v1.SourceName) v1.Retention { return RetentionOf(nil) },
		Shortage:  &Shortage{}, Counters: &Counters{},
	}
	l := &OpenLocation{Name: "disk", Location: adding{roomy{}, &began, &incoming, &set}}
	own := sessions.Get(Client{Source: "photos", Coordinator: "a"})
	n, err := r.batch(t.Context(), sessions.Get(Client{Source: "photos", Coordinator: "b", Acting: true}), l, false, new(atomic.Int64))
	if n != 1 || err != nil {
		t.Fatalf("%d files, %v", n, err)
	}
	if from.Origin == nil || *from.Origin != (coordinator.Origin{Host: "b", Location: "b-disk"}) {
		t.Errorf("fetched from %+v", from.Origin)
	}
	if !began.AddOnly || fmt.Sprint(incoming[0].Digest) != fmt.Sprint(v1.Digest{1}) || !incoming[0].Gen.IsZero() {
		t.Errorf("published as %+v, with %+v", incoming[0], began)
	}
	for _, record := range set {
		if record.Gen != known {
			t.Errorf("another generation was set: %+v", record)
		}
	}
	before := own.id
	if own.refresh(); own.id == before {
		t.Error("the source's own coordinator would not ask what is held")
	}
	before = own.id
	if own.refresh(); own.id != before {
		t.Error("it would ask twice")
	}
}

// confirming says yes, with a generation.
type confirming struct{ liar }

func (confirming) Confirm(_ context.Context, q *coordinator.Confirm) (*coordinator.ConfirmAnswer, error) {
	a := &coordinator.ConfirmAnswer{Answers: make([]coordinator.Confirmation, len(q.Files))}
	for i := range a.Answers {
		a.Answers[i] = coordinator.Confirmation{Outcome: coordinator.OutcomeYes, Gen: v1.Generation{Epoch: 9, Seq: 9}}
	}
	return a, nil
}

func (confirming) Release(context.Context, *coordinator.Release) (*coordinator.ReleaseAnswer, error) {
	return &coordinator.ReleaseAnswer{}, nil
}

func (confirming) Renew(context.Context, *coordinator.Renew) (*coordinator.RenewAnswer, error) {
	return &coordinator.RenewAnswer{}, nil
}
