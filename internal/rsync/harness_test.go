package rsync_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/rsync"
	"go.uber.org/goleak"
)

// TestMain plays "cbd rsh" where rsync starts this binary as its remote shell, and a whole test run as somebody else where
// asUser started it.
func TestMain(m *testing.M) {
	if addr := os.Getenv("TEST_RSH"); addr != "" || len(os.Args) > 1 && os.Args[1] == "rsh" {
		os.Exit(rsh(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// rsh is what a program does to be a remote shell: argv is ADDR KIND NAME and what rsync adds.
func rsh(args []string) int {
	conn, err := tls.Dial("tcp", args[0], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return rsync.ExitUnreachable
	}
	in, out, err := rsync.Standard()
	if err == nil {
		err = rsync.Ask(conn, rsync.Request{Kind: args[1], Name: args[2]}, 10*time.Second)
	}
	if err == nil {
		err = rsync.Shell(context.Background(), in, out, conn)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return rsync.ExitCode(err)
}

// server serves one folder as source "photos" over TLS on loopback.
type server struct {
	addr  string
	mu    sync.Mutex
	errs  []error
	conns []net.Conn
	bytes int64
}

func tool(t testing.TB) rsync.Tool {
	t.Helper()
	tool, err := rsync.Find(t.Context())
	if errors.Is(err, rsync.ErrMissing) {
		t.Skip(err)
	}
	must(t, err)
	return tool
}

func serve(t testing.TB, root string) *server {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"test"}})
	must(t, err)
	s := &server{addr: l.Addr().String()}
	tool := tool(t)
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			serving.Go(func() { s.one(ctx, conn, tool, root) })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); serving.Wait() })
	return s
}

func (s *server) one(ctx context.Context, conn net.Conn, tool rsync.Tool, root string) {
	req, err := rsync.Receive(conn, 10*time.Second)
	switch {
	case err != nil:
		conn.Close()
	case req.Name == "absent":
		err = rsync.Decline(conn, "not mounted")
		conn.Close()
	case req != rsync.Request{Kind: rsync.KindSource, Name: "photos"}:
		err = rsync.Deny(conn, "not yours")
		conn.Close()
	default:
		if err = rsync.Accept(conn); err == nil {
			err = rsync.ServeModule(ctx, conn, tool, rsync.Module{Root: root})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

// breakAll cuts every connection, as a network that goes away does.
func (s *server) breakAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		conn.(*tls.Conn).NetConn().Close()
	}
}

func (s *server) pull(t testing.TB, dest string, files ...string) rsync.Pull {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	p := rsync.Pull{Tool: tool(t), Shell: []string{self, "rsh", s.addr, rsync.KindSource, "photos"}, Host: "mini", Dest: dest}
	for _, file := range files {
		p.Files = append(p.Files, v1.RelPath(file))
	}
	return p
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

var _ = json.Marshal
var _ = strconv.Itoa
var _ syscall.Errno
