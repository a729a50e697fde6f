package desired

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"

	"github.com/google/go-cmp/cmp"
)

// host is a store with its folder, its own clock, and what it said.
type host struct {
	*Files
	t      *testing.T
	dir    string
	now    time.Time
	events []Event
}

var start = time.Date(2026, 11, 22, 15, 4, 5, 123456789, time.UTC)

func newHost(t *testing.T, name v1.HostName) *host {
	t.Helper()
	h := &host{t: t, dir: filepath.Join(t.TempDir(), "resources"), now: start}
	h.reopen(name)
	return h
}

func (h *host) reopen(name v1.HostName) {
	h.t.Helper()
	if err := h.open(name); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) open(name v1.HostName) (err error) {
	h.Files, err = Open(h.dir, Options{
		Host: name, Clock: func() time.Time { return h.now },
		Events: func(e Event) { h.events = append(h.events, e) },
	})
	return err
}

func source(name, path string) *v1.Source {
	s := &v1.Source{Spec: v1.SourceSpec{Host: "mini", Path: path}}
	s.Name = name
	return s
}

func (h *host) apply(obj v1.Object) v1.Object {
	h.t.Helper()
	applied, err := h.Apply(h.t.Context(), obj, ApplyOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return applied.Object
}

func (h *host) source(name string) *v1.Source {
	h.t.Helper()
	s, err := Get[v1.Source](h.t.Context(), h, name)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *host) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

func (h *host) refresh() {
	h.t.Helper()
	if err := h.Refresh(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// reasons are of the events since the last call.
func (h *host) reasons() []string {
	var reasons []string
	for _, e := range h.events {
		reasons = append(reasons, e.Reason)
	}
	h.events = nil
	return reasons
}

// pull takes in what the other has.
func (h *host) pull(other *host) Merged {
	h.t.Helper()
	merged, err := h.Merge(context.Background(), other.Diff(h.Have()))
	if err != nil {
		h.t.Fatal(err)
	}
	return merged
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func wantReasons(t *testing.T, h *host, want ...string) {
	t.Helper()
	events := h.events
	if got := h.reasons(); !slices.Equal(got, want) {
		t.Errorf("events are %v, want %v: %+v", got, want, events)
	}
}

// A file reads like what the user wrote.
func TestFileReadsLikeAUsers(t *testing.T) {
	h := newHost(t, "mini")
	docs, err := v1.Decode([]byte(`{apiVersion: clusterbackup/v1, kind: Source, metadata: {name: photos, labels: {tier: gold}},
  spec: {host: mini, path: /tank/photos, minReplicas: 2, exclude: ["*.tmp", "15m0s"], scanInterval: 15m,
    retention: {deleted: 720h, versions: 1h30m, maxVersions: 10}, verify: {interval: 720h, sampleAbove: 64Mi}}}`), "photos.yaml")
	if err != nil {
		t.Fatal(err)
	}
	applied := h.apply(docs[0].Object)
	want := `apiVersion: clusterbackup/v1
kind: Source
metadata:
  creationTimestamp: "2026-11-22T15:04:05Z"
  generation: 1
  labels:
    tier: gold
  name: photos
  resourceVersion: ` + applied.GetResourceVersion() + `
  uid: ` + string(applied.GetUID()) + `
spec:
  exclude:
  - '*.tmp'
  - 15m0s
  host: mini
  minReplicas: 2
  path: /tank/photos
  retention:
    deleted: 720h
    maxVersions: 10
    versions: 1h30m
  scanInterval: 15m
  verify:
    interval: 720h
    sampleAbove: 64Mi
`
	if diff := cmp.Diff(want, h.read("source.photos.yaml")); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(applied.GetResourceVersion(), "20261122T150405.123456Z/0/mini/") || !strings.HasSuffix(applied.GetResourceVersion(), "/mini=1") {
		t.Errorf("resourceVersion is %s", applied.GetResourceVersion())
	}
}

func TestReopenFindsTheSame(t *testing.T) {
	h := newHost(t, "mini")
	h.apply(source("photos", "/tank/photos"))
	h.apply(source("music", "/tank/music"))
	h.apply(source("gone", "/tank/gone"))
	if err := h.Delete(t.Context(), v1.KindSource, "gone", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	digest, photos, files := h.Digest(), h.source("photos"), h.files()
	h.reopen("mini")
	if h.Digest() != digest {
		t.Error("another digest")
	}
	if diff := cmp.Diff(photos, h.source("photos")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(files, h.files()); diff != "" {
		t.Error(diff)
	}
	wantReasons(t, h)
}

// files is every file with its bytes.
func (h *host) files() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(h.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(h.dir, path)
		all[name] = h.read(name)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// A crash between the two steps of a deletion, or of making a resource again, leaves both forms: the newer counts.
func TestInterruptedBetweenForms(t *testing.T) {
	h := newHost(t, "mini")
	h.apply(source("photos", "/tank/photos"))
	alive := h.read("source.photos.yaml")
	if err := h.Delete(t.Context(), v1.KindSource, "photos", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	digest := h.Digest()
	h.write("source.photos.yaml", alive)
	h.reopen("mini")
	if _, err := h.Get(t.Context(), v1.KindSource, "photos"); !errors.Is(err, ErrNotFound) || h.Digest() != digest {
		t.Errorf("a deleted resource is back: %v", err)
	}
	tombstone := h.read("deleted/source.photos.yaml")
	h.apply(source("photos", "/tank/again"))
	digest = h.Digest()
	h.write("deleted/source.photos.yaml", tombstone)
	h.reopen("mini")
	if got := h.source("photos"); got.Spec.Path != "/tank/again" || h.Digest() != digest {
		t.Errorf("got %+v", got)
	}
	if got := slices.Sorted(maps.Keys(h.files())); !slices.Equal(got, []string{"source.photos.yaml"}) {
		t.Errorf("files are %v", got)
	}
}

func TestCorruptedFileIsRefusedAtStart(t *testing.T) {
	h := newHost(t, "mini")
	h.apply(source("music", "/tank/music"))
	h.apply(source("photos", "/tank/photos"))
	if err := h.Delete(t.Context(), v1.KindSource, "music", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"source.photos.yaml", "deleted/source.music.yaml"} {
		good := h.read(name)
		for how, bad := range map[string]string{
			"empty":         "",
			"cut":           good[:len(good)/2],
			"zeros":         strings.Repeat("\x00", len(good)),
			"binary":        "\xff\xfe\x01",
			"field unknown": strings.Replace(good, "path:", "pfad:", 1),
			"invalid value": strings.Replace(good, "/tank/", "tank/", 1),
			"wrong type":    strings.Replace(good, "host: mini", "host: [mini]", 1),
			"field twice":   good + "spec: {}\n",
			"two resources": good + "---\n" + good,
			"other's name":  strings.ReplaceAll(strings.ReplaceAll(good, "photos", "films"), "name: music", "name: films"),
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				h.t = t
				h.write(name, bad)
				defer h.write(name, good)
				before := h.files()
				err := h.open("mini")
				wantErr(t, err, ErrCorrupt)
				if !strings.Contains(err.Error(), filepath.Join(h.dir, name)) {
					t.Errorf("%q does not name the file", err)
				}
				if diff := cmp.Diff(before, h.files()); diff != "" {
					t.Errorf("files were changed: %s", diff)
				}
			})
		}
	}
	h.t = t
	h.reopen("mini")
}

// Files that are no resources, as editors leave them, are nobody's business.
func TestOthersFilesAreLeftAlone(t *testing.T) {
	h := newHost(t, "mini")
	h.apply(source("photos", "/tank/photos"))
	others := map[string]string{".source.photos.yaml.swp": "swap", "source.photos.yaml~": "old", "README": "mine", "#x#": "x"}
	for name, text := range others {
		h.write(name, text)
	}
	h.write("notes.yaml", "just: notes\n")
	h.reopen("mini")
	h.refresh()
	h.refresh()
	h.apply(source("music", "/tank/music"))
	for name, text := range others {
		if h.read(name) != text {
			t.Errorf("%s was changed", name)
		}
	}
	if p := h.Problems(); len(p) != 1 || !strings.HasSuffix(p[0].File, "notes.yaml") {
		t.Errorf("problems are %+v", p)
	}
	wantReasons(t, h, "FileRefused")
}

func TestTombstonesAreForgotten(t *testing.T) {
	a, b := newHost(t, "mini"), newHost(t, "rpi1")
	a.apply(source("photos", "/tank/photos"))
	b.pull(a)
	if err := a.Delete(t.Context(), v1.KindSource, "photos", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.now = start.Add(89 * 24 * time.Hour)
	b.now = a.now
	a.reopen("mini")
	b.pull(a)
	if _, err := b.Get(t.Context(), v1.KindSource, "photos"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deletion of 89 days ago did not arrive: %v", err)
	}
	a.now = start.Add(91 * 24 * time.Hour)
	a.reopen("mini")
	if got := a.files(); len(got) != 0 {
		t.Errorf("files are %v", got)
	}
	// b has not looked yet, but does not hand on what is over.
	b.now = a.now
	if a.Digest() != b.Digest() || a.pull(b).Taken != 0 {
		t.Error("a forgotten deletion comes back")
	}
}

// A resource of a newer release is kept, passed on and shown as a problem, through a restart too.
func TestNewerReleasesResource(t *testing.T) {
	newer := newHost(t, "mini")
	newer.apply(source("photos", "/tank/photos"))
	items := newer.Diff(nil)
	fields, err := parseFields(items[0].Resource)
	if err != nil {
		t.Fatal(err)
	}
	fields["spec"].(map[string]any)["compress"] = "zstd"
	fieldKnown := stamped(t, fields, "photos")
	fields["kind"], fields["spec"] = "Schedule", map[string]any{"ratio": 1.5, "count": int64(12345678901234567), "whole": 2.0, "text": "on"}
	kindUnknown := stamped(t, fields, "nightly")

	h, other := newHost(t, "rpi1"), newHost(t, "rpi2")
	merged, err := h.Merge(t.Context(), []Item{fieldKnown, kindUnknown})
	if err != nil || merged.Taken != 2 {
		t.Fatalf("merged %+v, %v", merged, err)
	}
	digest := h.Digest()
	h.reopen("rpi1")
	other.pull(h)
	if h.Digest() != digest || other.Digest() != digest {
		t.Error("it did not survive being stored and passed on")
	}
	if !strings.Contains(other.read("source.photos.yaml"), "compress: zstd") {
		t.Error("a field that this release does not know was lost")
	}
	if h.source("photos").Spec.Path != "/tank/photos" {
		t.Error("what is known of it has no effect")
	}
	if p := h.Problems(); len(p) != 1 || !strings.HasSuffix(p[0].File, "schedule.nightly.yaml") {
		t.Errorf("problems are %+v", p)
	}
}

// stamped gives a resource the version that its maker would have given it.
func stamped(t *testing.T, fields map[string]any, name string) Item {
	t.Helper()
	meta := fields["metadata"].(map[string]any)
	meta["name"] = name
	v := Version{Time: start.Truncate(time.Microsecond), Host: "mini", Digest: digestOf(fields), Made: map[v1.HostName]uint32{"mini": 7}}
	meta["resourceVersion"] = v.String()
	return Item{Resource: canonical(t, fields)}
}

func TestHostOfABadNameIsRefused(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{Host: "a/b"}); err == nil {
		t.Error("opened")
	}
}

// To have been deleted is more than not to be known, and ends when the resource is made again.
func TestDeleted(t *testing.T) {
	h := newHost(t, "mini")
	want := func(deleted bool) {
		t.Helper()
		if h.Deleted(v1.KindSource, "photos") != deleted {
			t.Errorf("deleted is %t", !deleted)
		}
	}
	want(false)
	h.apply(source("photos", "/tank/photos"))
	want(false)
	if err := h.Delete(t.Context(), v1.KindSource, "photos", DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want(true)
	h.reopen("mini")
	want(true)
	h.apply(source("photos", "/tank/photos"))
	want(false)
}
