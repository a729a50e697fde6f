// Package storetest is the suite that every desired.Store has to pass.
package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/desired"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Run runs the suite. Open makes an empty store that lives as long as the test.
func Run(t *testing.T, open func(t *testing.T) desired.Store) {
	for name, test := range map[string]func(*testing.T, desired.Store){
		"Nothing":          nothing,
		"Create":           create,
		"EveryKind":        everyKind,
		"Configure":        configure,
		"Unchanged":        unchanged,
		"Metadata":         metadata,
		"SystemAnnotation": systemAnnotation,
		"DryRun":           dryRun,
		"Conflicts":        conflicts,
		"Invalid":          invalid,
		"Delete":           remove,
		"CreateAgain":      createAgain,
		"Copies":           copies,
		"Watch":            watch,
		"AtOnce":           atOnce,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Source is a valid source to test with.
func Source(name string) *v1.Source {
	s := &v1.Source{Spec: v1.SourceSpec{Host: "mini", Path: "/tank/" + name}}
	s.Name = name
	return s
}

func apply(t *testing.T, s desired.Store, obj v1.Object, opts desired.ApplyOptions, want desired.Result) v1.Object {
	t.Helper()
	applied, err := s.Apply(t.Context(), obj, opts)
	if err != nil {
		t.Fatal(err)
	}
	if applied.Result != want {
		t.Fatalf("%s was %s, want %s", v1.RefOf(obj), applied.Result, want)
	}
	return applied.Object
}

func get(t *testing.T, s desired.Store, name string) *v1.Source {
	t.Helper()
	source, err := desired.Get[v1.Source](t.Context(), s, name)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func nothing(t *testing.T, s desired.Store) {
	_, err := s.Get(t.Context(), v1.KindSource, "photos")
	wantErr(t, err, desired.ErrNotFound)
	wantErr(t, s.Delete(t.Context(), v1.KindSource, "photos", desired.DeleteOptions{}), desired.ErrNotFound)
	if all, err := s.List(t.Context(), v1.KindSource); err != nil || len(all) != 0 {
		t.Fatalf("list of nothing: %v, %v", all, err)
	}
}

func create(t *testing.T, s desired.Store) {
	source := Source("photos")
	source.Labels = map[string]string{"tier": "gold"}
	source.Status.Files = 7
	before := time.Now().Add(-2 * time.Second)
	made := apply(t, s, source, desired.ApplyOptions{}, desired.Created)
	got := get(t, s, "photos")
	if diff := cmp.Diff(made, v1.Object(got)); diff != "" {
		t.Errorf("Apply and Get differ: %s", diff)
	}
	if got.UID == "" || got.ResourceVersion == "" || got.Generation != 1 || got.CreationTimestamp.Time.Before(before) {
		t.Errorf("metadata is %+v", got.ObjectMeta)
	}
	if got.Kind != v1.KindSource || got.APIVersion != v1.APIVersion {
		t.Errorf("type is %+v", got.TypeMeta)
	}
	if got.Status.Files != 0 {
		t.Error("status was stored")
	}
	if diff := cmp.Diff(source.Spec, got.Spec); diff != "" {
		t.Error(diff)
	}
	if source.UID != "" || source.Status.Files != 7 {
		t.Error("Apply changed what it was given")
	}
}

// everyKind uses each field type there is.
func everyKind(t *testing.T, s desired.Store) {
	q := func(text string) *resource.Quantity { v := resource.MustParse(text); return &v }
	d := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	n := int32(3)
	no := false
	source := Source("photos")
	source.Spec = v1.SourceSpec{
		Host: "mini", Path: "/tank/photos", MinReplicas: 2, MaxReplicas: 3, Spread: "site", Exclude: []string{"*.tmp", "15m0s", "yes", "0644", "ü: #x"},
		OneFileSystem: &no, ScanInterval: d(15 * time.Minute),
		Retention: &v1.Retention{Deleted: d(720 * time.Hour), Versions: d(90 * time.Minute), MaxVersions: &n},
		Verify:    &v1.VerifyPolicy{Interval: d(0), SampleAbove: q("64Mi")},
	}
	location := &v1.Location{Spec: v1.LocationSpec{Host: "rpi1", Path: "/srv/backup", Capacity: q("700Gi"), Reserve: q("50Gi"), Cordoned: true}}
	location.Name = "rpi1-usb"
	host := &v1.Host{Spec: v1.HostSpec{Address: "rpi1.lan:7420", Limits: &v1.Limits{Upload: q("20Mi"), Windows: []string{"22:00-06:00"}}}}
	host.Name = "rpi1"
	host.Spec.CordonedUntil = &metav1.Time{Time: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)}
	cluster := &v1.Cluster{Spec: v1.ClusterSpec{MinReplicas: 2, PollInterval: d(15 * time.Second)}}
	cluster.Name = v1.ClusterName
	for _, obj := range []v1.Object{source, location, host, cluster} {
		apply(t, s, obj, desired.ApplyOptions{}, desired.Created)
		got, err := s.Get(t.Context(), v1.KindOf(obj), obj.GetName())
		if err != nil {
			t.Fatal(err)
		}
		apply(t, s, got, desired.ApplyOptions{}, desired.Unchanged)
		if all, err := s.List(t.Context(), v1.KindOf(obj)); err != nil || len(all) != 1 {
			t.Errorf("%s: list has %d, %v", v1.KindOf(obj), len(all), err)
		}
		opts := cmp.Options{cmp.Comparer(func(a, b metav1.ObjectMeta) bool { return a.Name == b.Name }),
			cmp.Comparer(func(a, b metav1.TypeMeta) bool { return true }), cmp.Comparer(func(a, b resource.Quantity) bool { return a.Cmp(b) == 0 }),
			cmp.Comparer(func(a, b metav1.Time) bool { return a.Time.Equal(b.Time) })}
		if diff := cmp.Diff(obj, got, opts); diff != "" {
			t.Errorf("%s: %s", v1.KindOf(obj), diff)
		}
	}
}

func configure(t *testing.T, s desired.Store) {
	first := apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Created)
	changed := Source("photos")
	changed.Spec.MinReplicas = 3
	second := apply(t, s, changed, desired.ApplyOptions{}, desired.Configured)
	if second.GetGeneration() != 2 || second.GetUID() != first.GetUID() || second.GetResourceVersion() == first.GetResourceVersion() {
		t.Errorf("metadata went from %+v to %+v", first, second)
	}
	if got := get(t, s, "photos"); got.Spec.MinReplicas != 3 {
		t.Errorf("spec is %+v", got.Spec)
	}
	apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Configured)
	if got := get(t, s, "photos"); got.Spec.MinReplicas != 0 {
		t.Error("a field that is left out stays")
	}
}

func unchanged(t *testing.T, s desired.Store) {
	first := apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Created)
	again := Source("photos")
	again.Labels, again.Status.Files = map[string]string{}, 3
	second := apply(t, s, again, desired.ApplyOptions{}, desired.Unchanged)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error(diff)
	}
}

func metadata(t *testing.T, s desired.Store) {
	made := apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Created)
	labelled := Source("photos")
	labelled.Labels = map[string]string{"tier": "gold"}
	labelled.UID, labelled.Generation, labelled.ResourceVersion = "mine", 99, "mine"
	labelled.CreationTimestamp = metav1.Unix(0, 0)
	got := apply(t, s, labelled, desired.ApplyOptions{}, desired.Configured)
	if got.GetGeneration() != 1 || got.GetUID() != made.GetUID() || got.GetCreationTimestamp() != made.GetCreationTimestamp() {
		t.Errorf("metadata is %+v", got)
	}
	if got.GetLabels()["tier"] != "gold" {
		t.Error("label is missing")
	}
}

func systemAnnotation(t *testing.T, s desired.Store) {
	const mark = desired.SystemPrefix + "member"
	user := Source("photos")
	user.Annotations = map[string]string{mark: "forged", "note": "mine"}
	apply(t, s, user, desired.ApplyOptions{}, desired.Created)
	if got := get(t, s, "photos").Annotations; got[mark] != "" || got["note"] != "mine" {
		t.Fatalf("annotations are %v", got)
	}
	system := Source("photos")
	system.Annotations = map[string]string{mark: "true", "note": "mine"}
	apply(t, s, system, desired.ApplyOptions{System: true}, desired.Configured)
	apply(t, s, user, desired.ApplyOptions{}, desired.Unchanged)
	apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Configured)
	if got := get(t, s, "photos").Annotations; got[mark] != "true" || got["note"] != "" {
		t.Fatalf("annotations are %v", got)
	}
	apply(t, s, Source("photos"), desired.ApplyOptions{System: true}, desired.Configured)
	if got := get(t, s, "photos").Annotations; len(got) != 0 {
		t.Fatalf("annotations are %v", got)
	}
}

func dryRun(t *testing.T, s desired.Store) {
	dry := desired.ApplyOptions{DryRun: true}
	apply(t, s, Source("photos"), dry, desired.Created)
	_, err := s.Get(t.Context(), v1.KindSource, "photos")
	wantErr(t, err, desired.ErrNotFound)
	made := apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Created)
	changed := Source("photos")
	changed.Spec.MinReplicas = 3
	if would := apply(t, s, changed, dry, desired.Configured); would.GetGeneration() != 2 {
		t.Errorf("would have generation %d", would.GetGeneration())
	}
	if err := s.Delete(t.Context(), v1.KindSource, "photos", desired.DeleteOptions{DryRun: true}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(made, v1.Object(get(t, s, "photos"))); diff != "" {
		t.Errorf("a dry run changed something: %s", diff)
	}
}

func conflicts(t *testing.T, s desired.Store) {
	_, err := s.Apply(t.Context(), Source("photos"), desired.ApplyOptions{IfResourceVersion: "x"})
	wantErr(t, err, desired.ErrConflict)
	first := apply(t, s, Source("photos"), desired.ApplyOptions{MustCreate: true}, desired.Created)
	_, err = s.Apply(t.Context(), Source("photos"), desired.ApplyOptions{MustCreate: true})
	wantErr(t, err, desired.ErrConflict)
	changed := Source("photos")
	changed.Spec.MinReplicas = 3
	second := apply(t, s, changed, desired.ApplyOptions{IfResourceVersion: first.GetResourceVersion()}, desired.Configured)
	_, err = s.Apply(t.Context(), Source("photos"), desired.ApplyOptions{IfResourceVersion: first.GetResourceVersion()})
	wantErr(t, err, desired.ErrConflict)
	err = s.Delete(t.Context(), v1.KindSource, "photos", desired.DeleteOptions{IfResourceVersion: first.GetResourceVersion()})
	wantErr(t, err, desired.ErrConflict)
	if diff := cmp.Diff(second, v1.Object(get(t, s, "photos"))); diff != "" {
		t.Errorf("a conflict changed something: %s", diff)
	}
	if err := s.Delete(t.Context(), v1.KindSource, "photos", desired.DeleteOptions{IfResourceVersion: second.GetResourceVersion()}); err != nil {
		t.Error(err)
	}
}

func invalid(t *testing.T, s desired.Store) {
	nameless := Source("")
	relative := Source("photos")
	relative.Spec.Path = "tank"
	observed := &v1.File{}
	observed.Name = "photos"
	for _, obj := range []v1.Object{nameless, relative, observed, Source("../etc"), Source("Photos")} {
		_, err := s.Apply(t.Context(), obj, desired.ApplyOptions{})
		wantErr(t, err, desired.ErrInvalid)
	}
	if all, err := s.List(t.Context(), v1.KindSource); err != nil || len(all) != 0 {
		t.Errorf("list: %v, %v", all, err)
	}
}

func remove(t *testing.T, s desired.Store) {
	apply(t, s, Source("music"), desired.ApplyOptions{}, desired.Created)
	apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Created)
	if err := s.Delete(t.Context(), v1.KindSource, "photos", desired.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(t.Context(), v1.KindSource, "photos")
	wantErr(t, err, desired.ErrNotFound)
	wantErr(t, s.Delete(t.Context(), v1.KindSource, "photos", desired.DeleteOptions{}), desired.ErrNotFound)
	if all, err := desired.List[v1.Source](t.Context(), s); err != nil || len(all) != 1 || all[0].Name != "music" {
		t.Errorf("left are %v, %v", all, err)
	}
}

func createAgain(t *testing.T, s desired.Store) {
	first := apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Created)
	if err := s.Delete(t.Context(), v1.KindSource, "photos", desired.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	second := apply(t, s, Source("photos"), desired.ApplyOptions{MustCreate: true}, desired.Created)
	if second.GetUID() == first.GetUID() || second.GetGeneration() != 1 || second.GetDeletionTimestamp() != nil {
		t.Errorf("metadata is %+v", second)
	}
}

func copies(t *testing.T, s desired.Store) {
	source := Source("photos")
	source.Spec.Exclude = []string{"*.tmp"}
	applied := apply(t, s, source, desired.ApplyOptions{}, desired.Created).(*v1.Source)
	got := get(t, s, "photos")
	listed, err := desired.List[v1.Source](t.Context(), s)
	if err != nil || len(listed) != 1 {
		t.Fatalf("list: %v, %v", listed, err)
	}
	for _, held := range []*v1.Source{source, applied, got, &listed[0]} {
		held.Spec.Exclude[0] = "everything"
	}
	if got := get(t, s, "photos"); got.Spec.Exclude[0] != "*.tmp" {
		t.Error("the store shares memory with its callers")
	}
}

func watch(t *testing.T, s desired.Store) {
	var mu sync.Mutex
	var seen []desired.Change
	stop := s.Watch(func(c desired.Change) {
		_, err := s.Get(t.Context(), c.Kind, c.Name)
		if found := err == nil; found == c.Deleted {
			t.Errorf("told of %+v, but Get says %v", c, err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, c)
	})
	apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Created)
	apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Unchanged)
	changed := Source("photos")
	changed.Spec.MinReplicas = 3
	apply(t, s, changed, desired.ApplyOptions{DryRun: true}, desired.Configured)
	apply(t, s, changed, desired.ApplyOptions{}, desired.Configured)
	if err := s.Delete(t.Context(), v1.KindSource, "photos", desired.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []desired.Change{{Kind: v1.KindSource, Name: "photos"}, {Kind: v1.KindSource, Name: "photos"}, {Kind: v1.KindSource, Name: "photos", Deleted: true}}
	await(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) >= len(want) })
	stop()
	apply(t, s, Source("music"), desired.ApplyOptions{}, desired.Created)
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}

// atOnce lets many callers count up in one resource; with IfResourceVersion none of the steps may be lost.
func atOnce(t *testing.T, s desired.Store) {
	const callers, steps = 4, 5
	apply(t, s, Source("photos"), desired.ApplyOptions{}, desired.Created)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for done := 0; done < steps; {
				source, err := desired.Get[v1.Source](t.Context(), s, "photos")
				if err != nil {
					t.Error(err)
					return
				}
				source.Spec.MinReplicas++
				_, err = s.Apply(t.Context(), source, desired.ApplyOptions{IfResourceVersion: source.ResourceVersion})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, desired.ErrConflict):
					t.Error(err)
					return
				}
			}
			_, err := s.Apply(t.Context(), Source(fmt.Sprintf("own%d", i)), desired.ApplyOptions{MustCreate: true})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := get(t, s, "photos"); got.Spec.MinReplicas != callers*steps || got.Generation != callers*steps+1 {
		t.Errorf("after %d steps the count is %d, the generation %d", callers*steps, got.Spec.MinReplicas, got.Generation)
	}
	if all, err := s.List(t.Context(), v1.KindSource); err != nil || len(all) != callers+1 {
		t.Errorf("%d sources, %v", len(all), err)
	}
}
