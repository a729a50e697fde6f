package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/location"
	"clusterbackup/transport"
)

// manifests keeps the newest manifest of each source of this host in a file, so that it is made once for all its holders.
type manifests struct {
	dir string
	// cluster is the cluster's UID, which goes into each.
	cluster string

	mu       sync.Mutex
	versions map[v1.SourceName]string
}

// open returns a source's manifest as it stands now, made anew if the catalog has changed since the last one.
func (m *manifests) open(ctx context.Context, running *controllers.RunningSource) (*os.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path := filepath.Join(m.dir, string(running.Name)+".jsonl.zst")
	version := running.Coordinator.ManifestVersion()
	if m.versions[running.Name] == version {
		if file, err := os.Open(path); !errors.Is(err, os.ErrNotExist) {
			return file, err
		}
	}
	if err := m.write(ctx, running, path); err != nil {
		return nil, fmt.Errorf("write manifest of %s: %w", running.Name, err)
	}
	if m.versions == nil {
		m.versions = map[v1.SourceName]string{}
	}
	m.versions[running.Name] = version
	return os.Open(path)
}

func (m *manifests) write(ctx context.Context, running *controllers.RunningSource, path string) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(m.dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if err := errors.Join(running.Coordinator.WriteManifest(ctx, m.cluster, tmp), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

type manifestRequest struct{ Source v1.SourceName }

// registerManifests hands the manifests of this host's sources to other hosts, and those from which it acts for them.
func registerManifests(server *transport.Server, l *loops) {
	handleManifests(server, ownPrefix, func(ctx context.Context, source v1.SourceName) (io.ReadCloser, error) {
		running, done := l.sources.Use(source)
		defer done()
		if running == nil {
			return nil, &transport.Error{Code: codeNoSource, Msg: fmt.Sprintf("source %s is not open on this host", source)}
		}
		return l.manifests.open(ctx, running)
	})
	handleManifests(server, actingPrefix, l.openActing)
}

func handleManifests(server *transport.Server, prefix string, open func(context.Context, v1.SourceName) (io.ReadCloser, error)) {
	transport.HandleStream(server, prefix+"Manifest", func(ctx context.Context, peer transport.Peer, q manifestRequest) iter.Seq2[[]byte, error] {
		if _, err := hostOf(peer); err != nil {
			return failing[[]byte](err)
		}
		return func(yield func([]byte, error) bool) {
			file, err := open(ctx, q.Source)
			if err != nil {
				yield(nil, err)
				return
			}
			defer file.Close()
			streamChunks(file, yield)
		}
	})
}

// fetchManifest brings a source's manifest into a location.
func (l *loops) fetchManifest(ctx context.Context, c controllers.Client, into *controllers.OpenLocation, version string) error {
	r, err := l.openManifest(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	put := into.Disk.PutManifest
	if c.Acting {
		put = into.Disk.AddManifest
	}
	if err := put(ctx, c.Source, version, r); c.Acting && errors.Is(err, location.ErrTaken) {
		return nil
	} else if err != nil {
		return err
	}
	header, err := manifestHeader(ctx, into, c.Source)
	if err != nil {
		return fmt.Errorf("read manifest of %s: %w", c.Source, err)
	}
	return into.Disk.NoteListing(c.Source, location.Listing{Time: header.Time.UnixNano(), Gen: header.Generation})
}

// openManifest reads a source's manifest at the coordinator.
func (l *loops) openManifest(ctx context.Context, c controllers.Client) (io.ReadCloser, error) {
	prefix := ownPrefix
	if c.Acting {
		if c.Coordinator == l.host.identity.Host() {
			return l.openActing(ctx, c.Source)
		}
		prefix = actingPrefix
	}
	return newChunkReader(transport.CallStream[[]byte](ctx, l.host.peers.client(c.Coordinator), prefix+"Manifest", manifestRequest{c.Source})), nil
}

// chunkReader reads a stream of chunks.
type chunkReader struct {
	next func() ([]byte, error, bool)
	stop func()
	rest []byte
}

func newChunkReader(chunks iter.Seq2[[]byte, error]) *chunkReader {
	next, stop := iter.Pull2(chunks)
	return &chunkReader{next: next, stop: stop}
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		chunk, err, more := c.next()
		if !more {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		c.rest = chunk
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *chunkReader) Close() error {
	c.stop()
	return nil
}
