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
	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/rsync"
)

// askTimeout bounds how long a peer may take to say what it wants from rsync.
const askTimeout = 30 * time.Second

// senders serves rsync connections: each is confined to the root of one source or one location of this host.
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
		s.serve(ctx, conn, who.Kind == pki.KindAdmin)
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

// serve answers one connection. Hosts may read sources and locations, administrators locations: what a restore needs.
func (s *senders) serve(ctx context.Context, conn net.Conn, admin bool) {
	request, err := rsync.Receive(conn, askTimeout)
	if err != nil {
		return
	}
	root, done, err := s.root(request, admin)
	if err != nil {
		refuse := rsync.Decline
		if errors.Is(err, rsync.ErrDenied) {
			refuse = rsync.Deny
		}
		refuse(conn, err.Error())
		return
	}
	defer done()
	if rsync.Accept(conn) != nil {
		return
	}
	if err := rsync.ServeModule(ctx, s.sending(ctx, conn, request, admin), s.tool, rsync.Module{Root: root, Scratch: s.scratch}); err != nil && ctx.Err() == nil {
		s.log.V(1).Info("Sender ended", "reason", err.Error())
	}
}

// sending is the connection as it is counted and, unless an administrator is waiting for a restore, held to the host's limit. What
// goes to this host's own socket leaves nothing.
func (s *senders) sending(ctx context.Context, conn net.Conn, request rsync.Request, admin bool) net.Conn {
	if _, leaves := conn.(*tls.Conn); !leaves {
		return conn
	}
	var source v1.SourceName
	if request.Kind == rsync.KindSource {
		source = v1.SourceName(request.Name)
	}
	out := &sendingConn{Conn: conn, ctx: ctx, limit: s.limit, sent: func(n int) { s.sent.add(source, n) }}
	if admin {
		out.limit = nil
	}
	return out
}

// root is the folder that a request is about. It stays in use until done is called.
func (s *senders) root(request rsync.Request, admin bool) (root string, done func(), err error) {
	switch request.Kind {
	case rsync.KindSource:
		if admin {
			return "", nil, fmt.Errorf("source %s: %w: only hosts copy from sources", request.Name, rsync.ErrDenied)
		}
		running, done := s.sources.Use(v1.SourceName(request.Name))
		if running == nil {
			done()
			return "", nil, fmt.Errorf("source %s is not open on this host", request.Name)
		}
		if err := running.Check(); err != nil {
			done()
			return "", nil, fmt.Errorf("source %s: %w", request.Name, err)
		}
		return running.Root, done, nil
	case rsync.KindLocation:
		open, done := s.locations.Use()
		for _, l := range open {
			if l.Name == v1.LocationName(request.Name) {
				if err := l.Disk.Check(context.Background()); err != nil {
					done()
					return "", nil, err
				}
				return l.Disk.Root(), done, nil
			}
		}
		done()
		return "", nil, fmt.Errorf("location %s is not open on this host", request.Name)
	}
	return "", nil, fmt.Errorf("%s %s: %w", request.Kind, request.Name, rsync.ErrDenied)
}

// relay serves the socket's rsync connections: the first line names the host that is to serve; what follows is carried there.
// A restore on this host thereby reaches every other one without keys of its own.
func (s *senders) relay(ctx context.Context, conn net.Conn, p *peers) {
	conn.SetReadDeadline(time.Now().Add(askTimeout))
	host, err := readLine(conn)
	conn.SetReadDeadline(time.Time{})
	if err != nil {
		return
	}
	if v1.HostName(host) == p.identity.Host() {
		s.serve(ctx, conn, true)
		return
	}
	far, err := p.dial(ctx, v1.HostName(host), alpnRsync)
	if err != nil {
		rsync.Receive(conn, askTimeout)
		rsync.Decline(conn, err.Error())
		return
	}
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

// splice carries bytes both ways until both sides have said their last.
func splice(a, b net.Conn) {
	defer a.Close()
	defer b.Close()
	var carrying sync.WaitGroup
	carry := func(to, from net.Conn) {
		io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
			return
		}
		to.Close()
	}
	carrying.Go(func() { carry(a, b) })
	carrying.Go(func() { carry(b, a) })
	carrying.Wait()
}

// rshCommand is rsync's remote shell over the cluster's own port.
func (p *program) rshCommand() *cobra.Command {
	var host, address, kind, name string
	cmd := &cobra.Command{
		Use:    "rsh --host HOST --address ADDR:PORT --kind source|location --name NAME [ignored …]",
		Short:  "Internal: rsync's remote shell",
		Hidden: true,
		Args:   cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := rsh(cmd.Context(), p.state, v1.HostName(host), address, rsync.Request{Kind: kind, Name: name})
			if err != nil {
				p.exit = rsync.ExitCode(err)
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&host, "host", "", "the `HOST` to reach")
	cmd.Flags().StringVar(&address, "address", "", "`ADDR:PORT` where it is")
	cmd.Flags().StringVar(&kind, "kind", "", "source or location")
	cmd.Flags().StringVar(&name, "name", "", "its `NAME`")
	return cmd
}

func rsh(ctx context.Context, state string, host v1.HostName, address string, request rsync.Request) error {
	identity, err := pki.Open(state, pki.Options{})
	if err != nil {
		return err
	}
	p := newPeers(identity, func(v1.HostName) string { return address }, nil)
	conn, err := p.dial(ctx, host, alpnRsync)
	if err != nil {
		return fmt.Errorf("%w: %w", rsync.ErrUnreachable, err)
	}
	if err := rsync.Ask(conn, request, askTimeout); err != nil {
		conn.Close()
		return err
	}
	in, out, err := rsync.Standard()
	if err != nil {
		return err
	}
	return rsync.Shell(ctx, in, out, conn)
}
