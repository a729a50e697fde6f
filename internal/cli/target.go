package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/stream"
	"clusterbackup/transport"
)

// Target says which daemon to ask.
type Target struct {
	// State is the state directory of a daemon on this host.
	State string
	// Server is HOST:PORT of another; Identity is the file that proves an administrator there.
	Server, Identity string
}

// answerTimeout bounds one answer, or the beginning of one that is a stream: a daemon that hangs is told from one that works.
const answerTimeout = 2 * time.Minute

// connection is a Client with what it owns.
type connection struct {
	*admin.Client
	t *transport.Client
}

// Close implements Connection.
func (c *connection) Close() error { return c.t.Close() }

// connect reaches the daemon that target says: the first question connects.
func connect(_ context.Context, target Target) (Connection, error) {
	dial, err := target.dialer(admin.SocketDatagrams, transport.ALPN)
	if err != nil {
		return nil, err
	}
	t := transport.Dial(target.String(), transport.DialFunc(dial), transport.FailFast(), transport.Timeout(answerTimeout))
	return &connection{admin.NewClient(t), t}, nil
}

// String is the target for people.
func (t Target) String() string {
	if t.Server != "" {
		return t.Server
	}
	return "unix:" + t.State
}

// dialer returns the function that connects: to the socket, where one byte names the protocol, or to the server, where ALPN does.
func (t Target) dialer(socketProtocol byte, alpn string) (func(context.Context) (net.Conn, error), error) {
	if t.Server == "" {
		if t.Identity != "" {
			return nil, usagef("--identity is for --server: name the host to ask")
		}
		return func(ctx context.Context) (net.Conn, error) { return admin.DialSocket(ctx, t.State, socketProtocol) }, nil
	}
	return t.dialerOf("", t.Server, alpn)
}

// dialerOf connects to a host of the cluster as the administrator whom the identity names; host "": whichever answers.
func (t Target) dialerOf(host v1.HostName, address, alpn string) (func(context.Context) (net.Conn, error), error) {
	credential, err := t.credential()
	if err != nil {
		return nil, err
	}
	config := credential.ClientTLS(host, alpn)
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, serverError(address, err)
		}
		return conn, nil
	}, nil
}

func (t Target) credential() (*pki.Credential, error) {
	if t.Identity == "" {
		return nil, usagef("--identity is missing: a server asks for an administrator's credential (cbctl create identity)")
	}
	data, err := os.ReadFile(t.Identity)
	if err != nil {
		return nil, fileFault(t.Identity, err)
	}
	credential, err := pki.ParseCredential(data)
	if err != nil {
		return nil, admin.Errorf(admin.Invalid, t.Identity, "%v", err)
	}
	if expires := credential.Expires(); time.Now().After(expires) {
		return nil, admin.Errorf(admin.Denied, t.Identity, "ran out at %s", expires.Local().Format("2006-01-02 15:04")).
			WithHint("make another at a host of the cluster: cbctl create identity NAME --out FILE")
	}
	return credential, nil
}

func serverError(address string, err error) error {
	switch {
	case errors.Is(err, pki.ErrStranger):
		return admin.Errorf(admin.Denied, address, "what answers there is not of the cluster that the identity is for")
	case errors.Is(err, pki.ErrWrongHost):
		return admin.Errorf(admin.Denied, address, "another host answers there")
	}
	return admin.Errorf(admin.Unavailable, address, "%v", err).WithHint("is the daemon running there, and the port right (7420 by default)? any other host of the cluster will do")
}

// dialFiles connects to where files are read from a host: through the daemon on this host, which relays, or straight to it as an
// administrator.
func (t Target) dialFiles(ctx context.Context, host v1.HostName, address string) (net.Conn, error) {
	if t.Server != "" {
		dial, err := t.dialerOf(host, address, stream.ALPN)
		if err != nil {
			return nil, err
		}
		return dial(ctx)
	}
	conn, err := admin.DialSocket(ctx, t.State, admin.SocketFiles)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "%s\n", host); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("ask the daemon for %s: %w", host, err)
	}
	return conn, nil
}
