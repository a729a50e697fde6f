package daemon

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/ask"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/rsync"
	"clusterbackup/internal/stream"
)

// askTimeout bounds how long a peer may take to say what it wants served.
const askTimeout = 30 * time.Second

// senders serves the connections that files are read over: each is confined to the root of one source or one location of this host.
type senders struct {
	tool      rsync.Tool
	scratch   string
	sources   *controllers.SourceSet
	locations *controllers.LocationSet
	sent      *sentBytes
	// limit waits until that many bytes may be sent to another host.
	limit func(ctx context.Context, bytes int) error
	log   logr.Logger
}

// sentBytes counts what was sent, by source; under "" what was sent from locations. The zero value is empty.
type sentBytes struct {
	mu sync.Mutex
	by map[v1.SourceName]int64
}

func (s *sentBytes) add(source v1.SourceName, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[v1.SourceName]int64{}
	}
	s.by[source] += int64(n)
}

func (s *sentBytes) all() map[v1.SourceName]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.by)
}

func (s *sentBytes) total() (sum int64) {
	for _, n := range s.all() {
		sum += n
	}
	return sum
}

// member answers one connection to the port.
func (s *senders) member(ctx context.Context, conn net.Conn) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return
	}
	state := secured.ConnectionState()
	if who, err := pki.PeerOf(&state); err == nil {
		s.serve(ctx, conn, state.NegotiatedProtocol, who.Kind == pki.KindAdmin)
	}
}

// sendingConn counts the bytes that leave, as they do, and holds them to the host's limit.
type sendingConn struct {
	net.Conn
	ctx   context.Context // of the one connection that it is
	limit func(ctx context.Context, bytes int) error
	sent  func(bytes int)
}

func (c *sendingConn) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), sendChunk)]
		if c.limit != nil {
			if err := c.limit(c.ctx, len(part)); err != nil {
				return written, err
			}
		}
		n, err := c.Conn.Write(part)
		c.sent(n)
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// sendChunk is how much is sent between two looks at the limit.
const sendChunk = 64 << 10

// CloseWrite ends this side's half.
func (c *sendingConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// serve answers one connection, which speaks alpnRsync or alpnFiles. Hosts may read sources and locations, administrators locations:
// what a restore needs.
func (s *senders) serve(ctx context.Context, conn net.Conn, protocol string, admin bool) {
	request, err := ask.Receive(conn, askTimeout)
	if err != nil {
		return
	}
	from, until, done, err := s.folder(request, admin)
	if err != nil {
		refuse := ask.Decline
		if errors.Is(err, ask.ErrDenied) {
			refuse = ask.Deny
		}
		refuse(conn, err.Error())
		return
	}
	defer done()
	ctx, stop := controllers.Until(ctx, until)
	defer stop()
	if ask.Accept(conn) != nil {
		return
	}
	out := s.sending(ctx, conn, request, admin)
	if protocol == alpnFiles {
		err = stream.Serve(ctx, out, from)
	} else {
		err = rsync.ServeModule(ctx, out, s.tool, rsync.Module{Root: from.Root, Scratch: s.scratch})
	}
	if err != nil && ctx.Err() == nil {
		s.log.V(1).Info("Sender ended", "reason", err.Error())
	}
}

// sending is the connection as it is counted and, unless an administrator is waiting for a restore, held to the host's limit. What
// goes to this host's own socket leaves nothing.
func (s *senders) sending(ctx context.Context, conn net.Conn, request ask.Request, admin bool) net.Conn {
	if _, leaves := conn.(*tls.Conn); !leaves {
		return conn
	}
	var source v1.SourceName
	if request.Kind == ask.KindSource {
		source = v1.SourceName(request.Name)
	}
	out := &sendingConn{Conn: conn, ctx: ctx, limit: s.limit, sent: func(n int) { s.sent.add(source, n) }}
	if admin {
		out.limit = nil
	}
	return out
}

// folder is what a request is about. It stays in use until done is called, which is to be soon after the end of until.
func (s *senders) folder(request ask.Request, admin bool) (from stream.Folder, until context.Context, done func(), err error) {
	switch request.Kind {
	case ask.KindSource:
		if admin {
			return from, nil, nil, fmt.Errorf("source %s: %w: only hosts copy from sources", request.Name, ask.ErrDenied)
		}
		running, done := s.sources.Use(v1.SourceName(request.Name))
		if running == nil {
			done()
			return from, nil, nil, fmt.Errorf("source %s is not open on this host", request.Name)
		}
		if err := running.Check(); err != nil {
			done()
			return from, nil, nil, fmt.Errorf("source %s: %w", request.Name, err)
		}
		from.Root, from.OneFileSystem = running.Root, running.OneFileSystem
		if summer := running.Summer(); summer != nil {
			from.Watch = summer
		}
		return from, running.Until, done, nil
	case ask.KindLocation:
		l, done := s.locations.UseOne(v1.LocationName(request.Name))
		if l == nil {
			done()
			return from, nil, nil, fmt.Errorf("location %s is not open on this host", request.Name)
		}
		if err := l.Disk.Check(context.Background()); err != nil {
			done()
			return from, nil, nil, err
		}
		return stream.Folder{Root: l.Disk.Root()}, l.Until, done, nil
	}
	return from, nil, nil, fmt.Errorf("%s %s: %w", request.Kind, request.Name, ask.ErrDenied)
}

// relay serves the socket's connections for files: the first line names the host that is to serve; what follows is carried there.
// A restore on this host thereby reaches every other one without keys of its own.
func (s *senders) relay(ctx context.Context, conn net.Conn, p *peers) {
	conn.SetReadDeadline(time.Now().Add(askTimeout))
	host, err := readLine(conn)
	conn.SetReadDeadline(time.Time{})
	if err != nil {
		return
	}
	if v1.HostName(host) == p.identity.Host() {
		s.serve(ctx, conn, alpnFiles, true)
		return
	}
	far, err := p.dial(ctx, v1.HostName(host), alpnFiles)
	if err != nil {
		ask.Receive(conn, askTimeout)
		ask.Decline(conn, err.Error())
		return
	}
	defer context.AfterFunc(ctx, func() { conn.Close(); far.Close() })()
	splice(conn, far)
}

// readLine reads a short line byte by byte: what follows it is another's.
func readLine(conn net.Conn) (string, error) {
	r := bufio.NewReaderSize(io.LimitReader(oneByte{conn}, 256), 16)
	line, err := r.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// oneByte reads one byte at a time, so that a buffer above it never takes more than it is asked for.
type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(len(p), 1)]) }

// splice carries bytes both ways until one side ends or fails.
func splice(a, b net.Conn) {
	var carrying sync.WaitGroup
	carry := func(to, from net.Conn) {
		io.Copy(to, from)
		a.Close()
		b.Close()
	}
	carrying.Go(func() { carry(a, b) })
	carrying.Go(func() { carry(b, a) })
	carrying.Wait()
}
