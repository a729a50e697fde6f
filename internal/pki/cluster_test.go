package pki

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCluster is a first host that admits others on a real port of the loopback, and the Host resources it keeps of them.
type testCluster struct {
	t       *testing.T
	id      *Identity
	server  *JoinServer
	address string

	mu    sync.Mutex
	hosts map[v1.HostName]*v1.Host
	lose  int // that many answers are cut off
}

func newTestCluster(t *testing.T, opts Options) *testCluster {
	t.Helper()
	c := &testCluster{t: t, hosts: map[v1.HostName]*v1.Host{}}
	id, err := Init(filepath.Join(t.TempDir(), "mini"), InitOptions{
		Options: opts, Name: "mini", Listen: "127.0.0.1:7420",
		Prepare: func(m Member) error { _, err := c.bind(m); return err },
	})
	if err != nil {
		t.Fatal(err)
	}
	c.id = id
	c.server = &JoinServer{Identity: id, Admit: func(_ context.Context, m Member) ([]byte, error) { return c.bind(m) }}
	c.listen()
	return c
}

func (c *testCluster) bind(m Member) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	host, err := Bind(c.hosts[m.Name], m)
	if err != nil {
		return nil, err
	}
	c.hosts[m.Name] = host
	return []byte("everything"), nil
}

func (c *testCluster) host(name v1.HostName) *v1.Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[name]
}

func (c *testCluster) remove(name v1.HostName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.hosts, name)
}

func (c *testCluster) allowed(p Peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Recognise(c.hosts[p.Host()], p) == nil
}

// listen serves JoinProtocol, and on "echo" one byte back.
func (c *testCluster) listen() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { c.serve(ctx, conn) })
		}
	})
	c.t.Cleanup(func() { cancel(); l.Close(); serving.Wait() })
}

func (c *testCluster) serve(ctx context.Context, raw net.Conn) {
	defer raw.Close()
	conn := tls.Server(raw, c.id.ServerTLS(c.allowed, "echo", JoinProtocol))
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if conn.HandshakeContext(ctx) != nil {
		return
	}
	if conn.ConnectionState().NegotiatedProtocol != JoinProtocol {
		var b [1]byte
		if _, err := conn.Read(b[:]); err == nil {
			conn.Write(b[:])
		}
		return
	}
	c.mu.Lock()
	lose := c.lose > 0
	c.lose--
	c.mu.Unlock()
	if lose {
		_ = c.server.ServeConn(ctx, &deafConn{Conn: conn})
		return
	}
	_ = c.server.ServeConn(ctx, conn)
}

// deafConn loses what is written to it.
type deafConn struct{ net.Conn }

func (*deafConn) Write(b []byte) (int, error) { return 0, errors.New("connection lost") }

func (c *testCluster) token() string {
	c.t.Helper()
	token, _, err := c.id.Tokens().Create(0)
	if err != nil {
		c.t.Fatal(err)
	}
	return token
}

// join makes a host join with a state directory of its own.
func (c *testCluster) join(name v1.HostName, change ...func(*JoinOptions)) (*Identity, error) {
	return c.joinFrom(filepath.Join(c.t.TempDir(), string(name)), name, change...)
}

func (c *testCluster) joinFrom(state string, name v1.HostName, change ...func(*JoinOptions)) (*Identity, error) {
	opts := JoinOptions{Address: c.address, Name: name, Listen: ":7420"}
	for _, f := range change {
		f(&opts)
	}
	if opts.Token == "" {
		opts.Token = c.token()
	}
	return Join(context.Background(), state, opts)
}

// call connects with a configuration and has one byte echoed.
func (c *testCluster) call(config *tls.Config) error {
	raw, err := net.Dial("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	conn := tls.Client(raw, config)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("?")); err != nil {
		return err
	}
	var b [1]byte
	_, err = conn.Read(b[:])
	return err
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}
