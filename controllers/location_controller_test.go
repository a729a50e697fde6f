package controllers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/location"
)

// wanted is a desired state as it stands.
type wanted struct {
	sources   []*v1.Source
	locations []*v1.Location
}

func (w *wanted) Sources() []*v1.Source     { return w.sources }
func (w *wanted) Locations() []*v1.Location { return w.locations }
func (w *wanted) Hosts() []*v1.Host         { return nil }
func (w *wanted) Cluster() *v1.Cluster {
	return &v1.Cluster{Spec: v1.ClusterSpec{PollInterval: &metav1.Duration{Duration: time.Second}}}
}

// house is a location of host "a" that is kept by its loop, and the tree of a source of that host.
type house struct {
	*testing.T
	want    *wanted
	loop    *LocationReconciler
	wall    time.Time
	up      time.Duration
	spare   []v1.RelPath
	deleted bool
	root    string
	source  string
}

const photos = v1.SourceName("photos")

func newHouse(t *testing.T, host v1.HostName, deleted time.Duration) *house {
	dir := t.TempDir()
	h := &house{T: t, want: &wanted{}, wall: time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC), root: filepath.Join(dir, "disk"), source: filepath.Join(dir, "source")}
	h.want.locations = []*v1.Location{{ObjectMeta: metav1.ObjectMeta{Name: "usb"}, Spec: v1.LocationSpec{Host: "a", Path: h.root}}}
	most := int32(10)
	keep := &metav1.Duration{Duration: deleted}
	h.want.sources = []*v1.Source{{ObjectMeta: metav1.ObjectMeta{Name: string(photos)},
		Spec: v1.SourceSpec{Host: host, Path: h.source, Retention: &v1.Retention{Deleted: keep, Versions: keep, MaxVersions: &most}}}}
	h.loop = &LocationReconciler{
		Desired: h.want, Host: "a", Set: &LocationSet{}, Log: logr.Discard(), Opened: func() {},
		Config: location.Config{ClusterUID: "one", IndexDir: filepath.Join(dir, "index"), Clock: func() time.Time { return h.wall },
			Uptime: func() time.Duration { return h.up }},
		SourceDeleted: func(v1.SourceName) bool { return h.deleted },
		Spare: func(_ context.Context, _ v1.SourceName, _ v1.LocationName, paths []v1.RelPath) ([]v1.RelPath, error) {
			return slices.DeleteFunc(slices.Clone(paths), func(p v1.RelPath) bool { return !slices.Contains(h.spare, p) }), nil
		},
		Event: func(v1.LocationName, bool, string, string) {},
	}
	t.Cleanup(h.loop.Set.Close)
	return h
}

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// keep runs the loop once, with everything due that is done now and then.
func (h *house) keep() *location.Location {
	h.Helper()
	h.loop.expired = nil
	_, err := h.loop.Reconcile(h.Context(), "usb")
	h.must(err)
	open, done := h.loop.Set.Use()
	defer done()
	if len(open) != 1 {
		h.Fatalf("%d locations are open", len(open))
	}
	return open[0].Disk
}

func (h *house) put(l *location.Location, paths ...v1.RelPath) {
	h.Helper()
	b, err := l.Begin(h.Context(), photos, location.BatchOptions{})
	h.must(err)
	var in []location.Incoming
	for _, path := range paths {
		at := filepath.Join(b.Dir(), string(path))
		h.must(os.MkdirAll(filepath.Dir(at), 0o755))
		h.must(os.WriteFile(at, []byte(path), 0o644))
		info, err := os.Stat(at)
		h.must(err)
		in = append(in, location.Incoming{Path: path, Gen: v1.Generation{Epoch: 1, Seq: 1}, Size: info.Size(), ModTime: info.ModTime().UnixNano()})
	}
	published, err := b.Publish(h.Context(), in)
	h.must(err)
	for _, p := range published {
		h.must(p.Err)
	}
	h.must(b.Close())
}

func (h *house) held(l *location.Location) (replicas, versions []string) {
	h.Helper()
	for r, err := range l.Records(photos, "") {
		h.must(err)
		replicas = append(replicas, string(r.Path))
	}
	for v, err := range l.Versions(photos, "") {
		h.must(err)
		versions = append(versions, string(v.Path))
	}
	return replicas, versions
}

func (h *house) holds(l *location.Location, what string, replicas, versions []string) {
	h.Helper()
	if r, v := h.held(l); !slices.Equal(r, replicas) || !slices.Equal(v, versions) {
		h.Errorf("%s: replicas %q, versions %q, want %q, %q", what, r, v, replicas, versions)
	}
}

// TestOwnReplicasAreRetired: what a location holds of a source that came to be on its own host is set aside, file by file, when it is not
// needed there, and is gone after the retention.
func TestOwnReplicasAreRetired(t *testing.T) {
	h := newHouse(t, "b", 100*time.Hour)
	l := h.keep()
	h.put(l, "d/one", "d/two", "three")
	h.spare = []v1.RelPath{"d/one", "three"}
	l = h.keep()
	h.holds(l, "of another host's source", []string{"three", "d/one", "d/two"}, nil)
	h.want.sources[0].Spec.Host = "a"
	l = h.keep()
	h.holds(l, "two are spare", []string{"d/two"}, []string{"three", "d/one"})
	h.up += 99 * time.Hour
	l = h.keep()
	h.holds(l, "kept for its retention", []string{"d/two"}, []string{"three", "d/one"})
	h.up += 2 * time.Hour
	l = h.keep()
	h.holds(l, "and no longer", []string{"d/two"}, nil)
	h.spare = []v1.RelPath{"d/two"}
	l = h.keep()
	h.holds(l, "the last one", nil, []string{"d/two"})
}

// TestOwnReplicasThatAreTheSource: a source whose path leads to where its replicas lie is left alone.
func TestOwnReplicasThatAreTheSource(t *testing.T) {
	h := newHouse(t, "a", 100*time.Hour)
	l := h.keep()
	h.put(l, "d/one")
	h.spare = []v1.RelPath{"d/one"}
	h.must(os.Symlink(l.SourceDir(photos), h.source))
	l = h.keep()
	h.holds(l, "the source itself", []string{"d/one"}, nil)
	h.must(os.Remove(h.source))
	l = h.keep()
	h.holds(l, "the source is elsewhere", nil, []string{"d/one"})
}

// TestVersionsAreThinnedOutAtOnce: what is over maxVersions goes in the next round, not when versions are looked at for their age.
func TestVersionsAreThinnedOutAtOnce(t *testing.T) {
	h := newHouse(t, "b", 9000*time.Hour)
	most := int32(2)
	h.want.sources[0].Spec.Retention.MaxVersions = &most
	l := h.keep()
	for seq := range uint64(5) {
		b, err := l.Begin(t.Context(), photos, location.BatchOptions{KeepVersions: 9000 * time.Hour, MaxVersions: int(most)})
		h.must(err)
		content := []byte{byte('a' + seq)}
		h.must(os.WriteFile(filepath.Join(b.Dir(), "f"), content, 0o644))
		h.must(os.Chtimes(filepath.Join(b.Dir(), "f"), time.Time{}, h.wall))
		out, err := b.Publish(t.Context(), []location.Incoming{{Path: "f", Gen: v1.Generation{Epoch: 1, Seq: seq + 1}, Size: 1, ModTime: h.wall.UnixNano()}})
		h.must(err)
		h.must(out[0].Err)
		h.must(b.Close())
		h.must(l.Confirmed(photos, []v1.RelPath{"f"}))
		h.wall = h.wall.Add(time.Minute)
	}
	_, err := h.loop.Reconcile(t.Context(), "usb")
	h.must(err)
	h.holds(l, "more versions than are wanted", []string{"f"}, []string{"f", "f"})
}

// TestRetentionOutlivesItsSource: the time that deleted files were to be kept holds for those of a source that is deleted itself, and
// runs by the location's own clock.
func TestRetentionOutlivesItsSource(t *testing.T) {
	h := newHouse(t, "b", 9000*time.Hour)
	l := h.keep()
	h.put(l, "one")
	h.keep()
	h.want.sources, h.deleted = nil, true
	l = h.keep()
	h.holds(l, "the source is deleted", nil, []string{"one"})
	h.wall = h.wall.AddDate(70, 0, 0)
	h.up += 8999 * time.Hour
	l = h.keep()
	h.holds(l, "before its time", nil, []string{"one"})
	h.up += 2 * time.Hour
	l = h.keep()
	h.holds(l, "after it", nil, nil)
}

// Who uses a location for long is told when it is to be closed; who uses another one goes on.
func TestLocationIsClosedUnderItsUsers(t *testing.T) {
	h := newHouse(t, "a", time.Hour)
	h.keep()
	set := h.loop.Set
	l, done := set.UseOne("usb")
	working, stop := Until(t.Context(), l.Until)
	defer stop()
	go func() {
		<-working.Done()
		done()
	}()
	if none, done := set.UseOne("other"); none != nil {
		done()
		t.Fatal("there is no other location")
	}
	h.must(h.loop.drop("usb", false))
	if why := context.Cause(working); !errors.Is(why, location.ErrClosed) {
		t.Errorf("its user was told %v", why)
	}
	if gone, _ := set.UseOne("usb"); gone != nil {
		t.Error("it is still to be had")
	}
}
