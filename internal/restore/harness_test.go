package restore_test

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
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/location"
	"clusterbackup/internal/manifest"
	"clusterbackup/internal/restore"
	"clusterbackup/internal/stream"
)

const source = v1.SourceName("photos")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// holder is a location, and a server of its files.
type holder struct {
	*location.Location
	addr      string
	off       func()
	noAnswers bool // it does not even tell what it holds
}

// cluster is some holders.
type cluster struct {
	testing.TB
	holders map[v1.HostName]*holder
	names   []v1.HostName
}

func newCluster(t testing.TB, names ...v1.HostName) *cluster {
	c := &cluster{TB: t, holders: map[v1.HostName]*holder{}, names: names}
	for _, name := range names {
		c.holders[name] = c.start(t.TempDir())
	}
	return c
}

func (c *cluster) start(dir string) *holder {
	l, err := location.Open(location.Config{Root: filepath.Join(dir, "loc"), Name: "disk", ClusterUID: "uid", IndexDir: filepath.Join(dir, "state"), Init: true})
	must(c, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(c, err)
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				_ = stream.Serve(ctx, conn, stream.Folder{Root: l.Root()}) // what arrives is what counts
			})
		}
	})
	off := func() { cancel(); listener.Close(); serving.Wait() }
	c.Cleanup(func() { off(); l.Close() })
	return &holder{Location: l, addr: listener.Addr().String(), off: off}
}

// file is content at a path, of a generation.
type file struct {
	path    v1.RelPath
	content string
	seq     uint64
}

func (f file) modTime() int64 {
	return time.Date(2024, 1, 1, 0, 0, 0, 123456789, time.UTC).Add(time.Duration(f.seq) * time.Hour).UnixNano()
}

func (f file) gen() v1.Generation { return v1.Generation{Epoch: 5, Seq: f.seq} }

// put gives a holder replicas.
func (h *holder) put(t testing.TB, files ...file) {
	t.Helper()
	b, err := h.Begin(t.Context(), source, location.BatchOptions{KeepVersions: time.Hour})
	must(t, err)
	var in []location.Incoming
	for _, f := range files {
		name := filepath.Join(b.Dir(), string(f.path))
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(f.content), 0o640))
		must(t, os.Chtimes(name, time.Time{}, time.Unix(0, f.modTime())))
		in = append(in, location.Incoming{Path: f.path, Gen: f.gen(), Size: int64(len(f.content)), ModTime: f.modTime(), Mode: 0o640})
	}
	out, err := b.Publish(t.Context(), in)
	must(t, err)
	for _, p := range out {
		must(t, p.Err)
	}
	must(t, b.Close())
}

// list gives a holder a listing of the files, and what else there is.
func (h *holder) list(t testing.TB, seq uint64, files []file, other ...manifest.Entry) {
	t.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeList(w, seq, files, other)) }()
	must(t, h.PutManifest(t.Context(), source, fmt.Sprint(seq), r))
}

var rootEntry = manifest.Entry{Type: manifest.Folder, Mode: 0o751, ModTime: 1_400_000_000_000000007, UID: 12, GID: 34}

func writeList(w io.Writer, seq uint64, files []file, other []manifest.Entry) error {
	m, err := manifest.NewWriter(w, manifest.Header{Source: source, Generation: v1.Generation{Epoch: 5, Seq: seq}, Time: time.Unix(int64(1e9+seq), 0).UTC(), Root: &rootEntry})
	if err != nil {
		return err
	}
	for i := range other {
		err = errors.Join(err, m.Write(&other[i]))
	}
	for _, f := range files {
		err = errors.Join(err, m.Write(&manifest.Entry{
			Path: f.path, Type: manifest.File, Size: int64(len(f.content)), ModTime: f.modTime(), Mode: 0o4750, UID: 12, GID: 34,
			Digest: digestOf(f.content), Generation: f.gen(), Xattrs: map[string][]byte{"user.color": []byte("blue")},
		}))
	}
	return errors.Join(err, m.Close())
}

// Holders implements restore.Cluster.
func (c *cluster) Holders(context.Context, v1.SourceName) (all []restore.Holder, err error) {
	for _, name := range c.names {
		all = append(all, restore.Holder{Host: name, Location: "disk"})
	}
	return all, nil
}

// Manifest implements restore.Cluster.
func (c *cluster) Manifest(ctx context.Context, source v1.SourceName, h restore.Holder) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		r, err := c.holders[h.Host].OpenManifest(ctx, source)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		buf := make([]byte, 100)
		for {
			n, err := r.Read(buf)
			if err == io.EOF || !yield(buf[:n], err) || err != nil {
				return
			}
		}
	}
}

// Holdings implements restore.Cluster.
func (c *cluster) Holdings(_ context.Context, source v1.SourceName, holder restore.Holder, prefix v1.RelPath) iter.Seq2[restore.Holding, error] {
	h := c.holders[holder.Host]
	return func(yield func(restore.Holding, error) bool) {
		if h.noAnswers {
			yield(restore.Holding{}, errors.New("no answer"))
			return
		}
		for rec, err := range h.Records(source, string(prefix)) {
			if !yield(holding(rec), err) {
				return
			}
		}
		for v, err := range h.Versions(source, string(prefix)) {
			g := holding(v.Record)
			g.Version, g.Until = v.Below(source), v.Since.UnixNano()
			if !yield(g, err) {
				return
			}
		}
	}
}

func holding(r location.Record) restore.Holding {
	return restore.Holding{Path: r.Path, Gen: r.Gen, Digest: r.Digest, Size: r.Size, ModTime: r.ModTime, Mode: r.Mode}
}

// Dial implements restore.Cluster.
func (c *cluster) Dial(ctx context.Context, h restore.Holder) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", c.holders[h.Host].addr)
}

// outcome is what a restore did and said.
type outcome struct {
	restore.Result
	to    string
	err   error
	items map[string]restore.Outcome
	last  restore.Progress
}

func (c *cluster) restore(opts restore.Options) *outcome {
	c.Helper()
	o := &outcome{items: map[string]restore.Outcome{}}
	opts.Source = source
	if opts.To == "" {
		opts.To = filepath.Join(c.TempDir(), "made", "to")
	}
	o.to = opts.To
	c.Cleanup(func() { writable(o.to) })
	opts.Report = func(it restore.Item) {
		o.items[string(it.Path)] = it.Outcome
		c.Logf("%s %q: %s", it.Outcome, it.Path, it.Message)
	}
	opts.Progress = func(p restore.Progress) { o.last = p }
	o.Result, o.err = restore.Run(c.Context(), c, opts)
	return o
}

// writable lets the test's folders be removed whatever modes were restored.
func writable(dir string) {
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
}

// tree reads everything below a folder: content of files, targets of links.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) && p == dir {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")
		switch {
		case name == "":
		case d.IsDir():
			all[name] = "folder"
		case d.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(p)
			all[name] = "-> " + target
			return err
		default:
			data, err := os.ReadFile(p)
			all[name] = string(data)
			return err
		}
		return nil
	})
	must(t, err)
	return all
}
