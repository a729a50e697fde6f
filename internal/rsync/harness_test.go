package rsync_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/ask"
	"clusterbackup/internal/rsync"
	"go.uber.org/goleak"
)

// TestMain plays "cbd rsh" where rsync starts this binary as its remote shell.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "rsh" {
		os.Exit(rsh(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "pull" {
		os.Exit(pullForever(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// rsh is what a program does to be a remote shell: argv is ADDR KIND NAME and what rsync adds.
func rsh(args []string) int {
	conn, err := tls.Dial("tcp", args[0], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return rsync.ExitCode(err)
	}
	in, out, err := rsync.Standard()
	if err == nil {
		err = ask.Ask(context.Background(), conn, ask.Request{Kind: args[1], Name: args[2]}, 10*time.Second)
	}
	if err == nil {
		err = rsync.Shell(context.Background(), in, out, conn)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return rsync.ExitCode(err)
}

// pullForever is a holder that copies slowly: argv is SELF ADDR DEST FILE.
func pullForever(args []string) int {
	tool, err := rsync.Find(context.Background())
	if err == nil {
		p := rsync.Pull{Tool: tool, Shell: []string{args[0], "rsh", args[1], ask.KindSource, "photos"}, Host: "mini", Dest: args[2],
			Files: []v1.RelPath{v1.RelPath(args[3])}, BandwidthLimit: 1 << 20}
		_, err = p.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// server serves one folder as source "photos" over TLS on loopback.
type server struct {
	addr  string
	mu    sync.Mutex
	errs  []error
	conns []net.Conn
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
	req, err := ask.Receive(conn, 10*time.Second)
	switch {
	case err != nil:
		conn.Close()
	case req.Name == "absent":
		err = ask.Decline(conn, "not mounted")
		conn.Close()
	case req != ask.Request{Kind: ask.KindSource, Name: "photos"}:
		err = ask.Deny(conn, "not yours")
		conn.Close()
	default:
		if err = ask.Accept(conn); err == nil {
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
	p := rsync.Pull{Tool: tool(t), Shell: []string{self(t), "rsh", s.addr, ask.KindSource, "photos"}, Host: "mini", Dest: dest}
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

// self is this binary, also for a user who cannot reach the folder it was built in.
func self(t testing.TB) string {
	t.Helper()
	if exe := fmt.Sprintf("/proc/%d/exe", os.Getpid()); os.Geteuid() != 0 {
		if _, err := os.Stat(exe); err == nil {
			return exe
		}
	}
	exe, err := os.Executable()
	must(t, err)
	return exe
}

// asUser tells whether the test goes on here: somebody who isn't root runs it. Root has it run by a child that isn't.
func asUser(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp", "GOCOVERDIR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("cannot run as another user: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("as another user: %v\n%s", err, out)
	}
	return false
}

// running lists the processes that have text in their command line.
func running(t testing.TB, text string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), text) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// eventually waits until the condition holds, at most 20 s.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// ended waits until so many connections were served, and returns how.
func (s *server) ended(t testing.TB, n int) []error {
	t.Helper()
	var errs []error
	eventually(t, "the server ends its work", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		errs = s.errs
		return len(errs) >= n
	})
	return errs
}
