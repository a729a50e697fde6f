package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/admin/admintest"
	"clusterbackup/transport"
)

// serve answers on the socket of a state directory as a daemon does, until the test ends, and returns the directory.
func serve(t testing.TB, b admin.Backend, allow func(transport.Peer) error) string {
	t.Helper()
	state := t.TempDir()
	l, err := admin.ListenSocket(state)
	if err != nil {
		t.Fatal(err)
	}
	server, err := transport.Listen("127.0.0.1:0", transport.Insecure())
	if err != nil {
		t.Fatal(err)
	}
	admin.Register(server, b, allow)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var protocol [1]byte
			if _, err := io.ReadFull(conn, protocol[:]); err != nil || protocol[0] != admin.SocketDatagrams {
				conn.Close()
				continue
			}
			go server.ServeConn(conn)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
		server.Close()
	})
	return state
}

func client(t testing.TB, state string) *admin.Client {
	t.Helper()
	dial := func(ctx context.Context) (net.Conn, error) {
		return admin.DialSocket(ctx, state, admin.SocketDatagrams)
	}
	c := transport.Dial("unix:"+state, transport.DialFunc(dial), transport.FailFast(), transport.Timeout(20*time.Second))
	t.Cleanup(func() { c.Close() })
	return admin.NewClient(c)
}

func everyone(transport.Peer) error { return nil }

func source(name string) *v1.Source {
	s := v1.New(v1.KindSource).(*v1.Source)
	s.Name = name
	above := resource.MustParse("64Mi")
	s.Spec = v1.SourceSpec{Host: "mini", Path: "/tank/" + name, ScanInterval: &metav1.Duration{Duration: time.Minute}, Verify: &v1.VerifyPolicy{SampleAbove: &above}}
	scanned := metav1.NewTime(time.Unix(1700000000, 0))
	s.Status = v1.SourceStatus{Files: 3, Replicas: []int64{0, 1, 2}, LastScan: &scanned, Conditions: []metav1.Condition{{Type: v1.ConditionProtected, Status: metav1.ConditionTrue}}}
	return s
}

func TestResourcesCrossTheWireWhole(t *testing.T) {
	fake := &admintest.Fake{Now: time.Unix(1700000000, 0)}
	fake.Put(source("photos"), source("music"))
	c := client(t, serve(t, fake, everyone))
	ctx := t.Context()

	want, err := fake.Get(ctx, v1.KindSource)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(ctx, v1.KindSource)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects changed on the way:\n%s", diff)
	}

	applied, err := c.Apply(ctx, []v1.Object{source("photos"), source("films")}, admin.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(applied) != 2 || applied[0].Action != admin.Unchanged || applied[1].Action != admin.Created || applied[1].Object.GetName() != "films" {
		t.Errorf("applied = %+v", applied)
	}
	if err := c.Delete(ctx, v1.KindSource, "music", false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, v1.KindSource, "music"); admin.ReasonOf(err) != admin.NotFound {
		t.Errorf("get of what was deleted: %v", err)
	}
	_, err = c.Apply(ctx, []v1.Object{source("photos")}, admin.ApplyOptions{Create: true})
	var e *admin.Error
	if !errors.As(err, &e) || e.Reason != admin.Conflict || e.What != "source/photos" || e.Why != "exists already" {
		t.Errorf("create of what exists: %#v", err)
	}
}

func file(path string) v1.File {
	f := v1.File{Spec: v1.FileSpec{Source: "photos", Path: path, Size: 5, ModTime: "2024-01-02T03:04:05.123456789Z", Mode: "0644"},
		Status: v1.FileStatus{Service: v1.Served, Replicas: []v1.ReplicaStatus{{Host: "a", Location: "a-usb", State: v1.ReplicaConfirmed}}}}
	f.Name = "photos/" + path
	v1.SetKind(&f)
	return f
}

func TestFilesStreamInPagesAndGoOn(t *testing.T) {
	fake := &admintest.Fake{}
	for i := range 1000 {
		fake.AllFiles = append(fake.AllFiles, file(fmt.Sprintf("f%04d", i)))
	}
	strange := file(`"\xff"`)
	strange.Spec.PathBase64 = []byte("z\xff\n")
	fake.AllFiles = append(fake.AllFiles, strange)
	c := client(t, serve(t, fake, everyone))

	var all []v1.File
	rounds := 0
	for query := (admin.FileQuery{Source: "photos", Limit: 300}); ; rounds++ {
		before := len(all)
		for page, err := range c.Files(t.Context(), query) {
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Files) == 0 || len(page.Files) > admin.PageSize {
				t.Fatalf("a page of %d files", len(page.Files))
			}
			all = append(all, page.Files...)
			query.Continue = page.Continue
		}
		if n := len(all) - before; n > 300 {
			t.Fatalf("%d files in one answer", n)
		}
		if query.Continue == "" {
			break
		}
	}
	if diff := cmp.Diff(fake.AllFiles, all); diff != "" || rounds != 3 {
		t.Errorf("after %d rounds:\n%s", rounds, diff)
	}
	got, err := c.File(t.Context(), "photos", "z\xff\n")
	if err != nil || string(got.Spec.PathBase64) != "z\xff\n" {
		t.Errorf("file with a strange name: %+v, %v", got, err)
	}
}

func TestHoldingsAndProgressKeepStrangePaths(t *testing.T) {
	key := admin.HolderKey{Host: "a", Location: "a-usb"}
	holding := admin.Holding{Path: "\xff\x00x", Gen: v1.Generation{Epoch: 1 << 63, Seq: 7}, Digest: v1.Digest{1, 2, 31: 9}, Size: 1, ModTime: -5, Mode: 0o644, Version: "\xff~1", Since: 1, Until: 2, Expires: 3, Seen: 4, Absent: 5}
	progress := admin.VerifyProgress{Files: 3, Done: true, Problems: []admin.VerifyProblem{{Source: "photos", Path: "\xfe", Location: "a-usb", Host: "a", Kind: "Corrupt"}}}
	fake := &admintest.Fake{Progress: []admin.VerifyProgress{progress}, AllHoldings: map[admin.HolderKey][]admin.Holding{key: {}}, Manifests: map[admin.HolderKey][]byte{key: []byte(strings.Repeat("manifest", 1000))}}
	for range 1200 {
		fake.AllHoldings[key] = append(fake.AllHoldings[key], holding)
	}
	c := client(t, serve(t, fake, everyone))
	if diff := cmp.Diff(fake.AllHoldings[key], collect(t, c.Holdings(t.Context(), "photos", key, ""))); diff != "" {
		t.Errorf("holdings:\n%.2000s", diff)
	}
	if diff := cmp.Diff(fake.Progress, collect(t, c.Verify(t.Context(), admin.VerifyQuery{Source: "photos"}))); diff != "" {
		t.Errorf("progress:\n%s", diff)
	}
	var manifest []byte
	for _, chunk := range collect(t, c.Manifest(t.Context(), "photos", key)) {
		manifest = append(manifest, chunk...)
	}
	if string(manifest) != string(fake.Manifests[key]) {
		t.Errorf("manifest of %d bytes arrived with %d", len(fake.Manifests[key]), len(manifest))
	}
}

func collect[T any](t *testing.T, items iter.Seq2[T, error]) []T {
	t.Helper()
	var all []T
	for item, err := range items {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, item)
	}
	return all
}

func TestTheRestCrossesToo(t *testing.T) {
	now := time.Unix(1700000000, 5).UTC()
	fake := &admintest.Fake{
		Now: now, Held: map[v1.SourceName]int64{"photos": 7}, Tops: []admin.TopRow{{Name: "a", Upload: 1.5, Reachable: true}},
		AllEvents:  []admin.Event{{First: now, Last: now, Count: 2, Kind: v1.KindSource, Name: "photos", Message: "x"}},
		AllHolders: []admin.Holder{{HolderKey: admin.HolderKey{Host: "a", Location: "l"}, Live: true, ManifestTime: now}},
	}
	c := client(t, serve(t, fake, everyone))
	ctx := t.Context()
	same(t, "version", call(c.Version(ctx)), call(fake.Version(ctx)))
	same(t, "token", call(c.CreateToken(ctx, time.Hour)), call(fake.CreateToken(ctx, time.Hour)))
	same(t, "identity", call(c.CreateIdentity(ctx, "ada")), call(fake.CreateIdentity(ctx, "ada")))
	same(t, "top", call(c.Top(ctx, v1.KindHost)), call(fake.Top(ctx, v1.KindHost)))
	same(t, "holders", call(c.Holders(ctx, "photos")), call(fake.Holders(ctx, "photos")))
	same(t, "events", call(c.Events(ctx, admin.EventQuery{})), call(fake.Events(ctx, admin.EventQuery{})))
	same(t, "approve", call(c.Approve(ctx, "photos")), outcome[int64]{7, nil})
	if _, err := c.Approve(ctx, "photos"); admin.ReasonOf(err) != admin.Conflict {
		t.Errorf("approve again: %v", err)
	}
}

type outcome[T any] struct {
	Value T
	Err   error
}

func call[T any](value T, err error) outcome[T] { return outcome[T]{value, err} }

func same[T any](t *testing.T, what string, got, want outcome[T]) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

func TestWhoIsNotAllowedLearnsOnlyThat(t *testing.T) {
	fake := &admintest.Fake{AllFiles: []v1.File{file("a")}}
	fake.Put(source("photos"))
	c := client(t, serve(t, fake, func(transport.Peer) error { return errors.New("you are no administrator") }))
	objs, err := c.Get(t.Context(), v1.KindSource)
	if admin.ReasonOf(err) != admin.Denied || objs != nil {
		t.Errorf("get: %v, %v", objs, err)
	}
	for page, err := range c.Files(t.Context(), admin.FileQuery{}) {
		if admin.ReasonOf(err) != admin.Denied || len(page.Files) > 0 {
			t.Errorf("files: %v, %v", page, err)
		}
	}
}

func TestSocket(t *testing.T) {
	// A state directory whose path is too long for a socket's address is no trouble.
	state := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds what the first left
		l, err := admin.ListenSocket(state)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(state, admin.SocketName))
		if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&os.ModeSocket == 0 {
			t.Fatalf("socket: %v, %v", info, err)
		}
		conn, err := admin.DialSocket(t.Context(), state, admin.SocketFiles)
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		var first [1]byte
		if _, err := io.ReadFull(accepted, first[:]); err != nil || first[0] != admin.SocketFiles {
			t.Errorf("first byte %q, %v", first, err)
		}
		conn.Close()
		accepted.Close()
		admin.Abandon(l)
	}
	if left, err := filepath.Glob(filepath.Join(state, ".socket-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	c := client(t, state)
	_, err := c.Version(t.Context())
	var e *admin.Error
	if !errors.As(err, &e) || e.Reason != admin.Unavailable || e.Hint == "" || !strings.Contains(e.Why, "not running") {
		t.Errorf("nobody listens: %#v", err)
	}
}
