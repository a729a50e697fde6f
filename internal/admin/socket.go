package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// SocketName is the socket's name in the state directory.
const SocketName = "cbd.sock"

// What a program says first on the socket, one byte: which protocol follows.
const (
	// SocketDatagrams: the transport's datagrams, answered by Register.
	SocketDatagrams = 'd'
	// SocketFiles: a line with the name of the host that is to serve, then what internal/ask and internal/stream say.
	SocketFiles = 'f'
)

// maxSocketPath is what every system takes as a socket's path; a longer one is reached through a short link.
const maxSocketPath = 100

// DialSocket connects to the daemon of a state directory on this host and says which protocol follows. An error is an *Error that
// tells a daemon that isn't running from one that may not be asked.
func DialSocket(ctx context.Context, state string, protocol byte) (net.Conn, error) {
	dir, done, err := shortened(state)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(dir, SocketName))
	if err != nil {
		return nil, socketError(filepath.Join(state, SocketName), err)
	}
	if _, err := conn.Write([]byte{protocol}); err != nil {
		_ = conn.Close()
		return nil, socketError(filepath.Join(state, SocketName), err)
	}
	return conn, nil
}

func socketError(path string, err error) error {
	reason := err
	var op *net.OpError
	if errors.As(err, &op) {
		reason = op.Err
	}
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return Errorf(Unavailable, "daemon", "is not running here (nothing listens on %s)", path).
			WithHint("start it with `cbd run` or your service manager; name another state directory with --state, or ask another host with --server")
	case errors.Is(err, os.ErrPermission):
		return Errorf(Denied, "daemon", "%s may not be opened by this user", path).
			WithHint("run this as the user of the daemon (sudo), or use --server with --identity")
	}
	return Errorf(Unavailable, "daemon", "connect to %s: %v", path, reason)
}

// ListenSocket listens in a state directory for programs on this host. Whoever may open the socket is an administrator: it is
// never there with a mode other than 0600. One that an earlier daemon left is replaced, so the caller holds the state directory's
// lock. Close removes it.
func ListenSocket(state string) (net.Listener, error) {
	private, err := os.MkdirTemp(state, ".socket-")
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(private) }()
	dir, done, err := shortened(private)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	path := filepath.Join(state, SocketName)
	if err = os.Chmod(filepath.Join(private, "s"), 0o600); err == nil {
		err = os.Rename(filepath.Join(private, "s"), path)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("make socket: %w", err)
	}
	return &socket{Listener: l, path: path}, nil
}

type socket struct {
	net.Listener
	path   string
	remove sync.Once
}

// Close removes the socket, the first time alone (by the second another daemon's may be there), and ends the listening.
func (s *socket) Close() error {
	s.remove.Do(func() { _ = os.Remove(s.path) })
	return s.Listener.Close()
}

// shortened is a folder's path, or where that is too long for a socket in it, a short link to it until done is called.
func shortened(dir string) (short string, done func(), err error) {
	if len(filepath.Join(dir, SocketName)) <= maxSocketPath {
		return dir, func() {}, nil
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, fmt.Errorf("find %s: %w", dir, err)
	}
	private, err := os.MkdirTemp("/tmp", "cbd-")
	if err != nil {
		return "", nil, fmt.Errorf("shorten %s: %w", dir, err)
	}
	link := filepath.Join(private, "s")
	if err := os.Symlink(absolute, link); err != nil {
		_ = os.RemoveAll(private)
		return "", nil, fmt.Errorf("shorten %s: %w", dir, err)
	}
	return link, func() { _ = os.RemoveAll(private) }, nil
}
