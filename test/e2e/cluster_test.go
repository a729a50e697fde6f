// Package e2e runs the real programs: cbd and cbctl as processes on loopback, real rsync, real TLS, real files.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// patience bounds every wait; nothing is timed.
const patience = 90 * time.Second

var programs struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}

// program builds cbd and cbctl once and returns the path of one of them.
func program(t *testing.T, name string) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "clusterbackup-e2e-"); programs.err != nil {
			return
		}
		// What a test has looked at is what go test runs it again for: what the programs are built from.
		programs.err = filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "go.mod") {
				_, err = os.Stat(path)
			}
			return err
		})
		if programs.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", programs.dir+"/", "clusterbackup/cmd/cbd", "clusterbackup/cmd/cbctl")
		if out, err := build.CombinedOutput(); err != nil {
			programs.err = fmt.Errorf("build programs: %w\n%s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, name)
}

// host is one daemon and its folders.
type host struct {
	t       *testing.T
	name    string
	dir     string
	address string
	http    string
	process *exec.Cmd
	ended   chan error
}

// cluster is several hosts. Everything lies in one temporary folder and is ended with the test.
type cluster struct {
	t     *testing.T
	dir   string
	hosts []*host
}

// newCluster starts hosts with these names; the first one made the cluster, the others joined it.
func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	for _, name := range names {
		c.add(name)
	}
	c.hosts[0].apply(`
apiVersion: clusterbackup/v1
kind: Cluster
metadata: {name: cluster}
spec: {pollInterval: 300ms, hostTimeout: 4s, repairAfter: 1h}
`)
	return c
}

func (c *cluster) add(name string) *host {
	c.t.Helper()
	h := &host{t: c.t, name: name, dir: filepath.Join(c.dir, name), address: freeAddress(c.t), http: freeAddress(c.t)}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	if len(c.hosts) == 0 {
		h.mustRun("cbd", "init", "--state", h.state(), "--name", name, "--listen", h.address, "--advertise", h.address)
	} else {
		token := strings.Fields(c.hosts[0].ctl("create", "token"))
		h.mustRun("cbd", "join", c.hosts[0].address, "--token", token[len(token)-1], "--state", h.state(), "--name", name,
			"--listen", h.address, "--advertise", h.address)
	}
	c.hosts = append(c.hosts, h)
	c.t.Cleanup(func() {
		if c.t.Failed() {
			h.showLog()
		}
	})
	h.start()
	return h
}

func (c *cluster) host(name string) *host {
	c.t.Helper()
	i := slices.IndexFunc(c.hosts, func(h *host) bool { return h.name == name })
	if i < 0 {
		c.t.Fatalf("no host %s", name)
	}
	return c.hosts[i]
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (h *host) state() string    { return filepath.Join(h.dir, "state") }
func (h *host) location() string { return filepath.Join(h.dir, "backup") }
func (h *host) source() string   { return filepath.Join(h.dir, "source") }

// start runs the daemon and waits until it answers.
func (h *host) start() {
	h.t.Helper()
	h.launch()
	h.eventually("daemon answers", func() error {
		_, err := h.tryCtl("version")
		return err
	})
}

// launch runs the daemon.
func (h *host) launch() {
	h.t.Helper()
	log, err := os.OpenFile(filepath.Join(h.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	h.process = exec.Command(program(h.t, "cbd"), "run", "--state", h.state(), "--http", h.http, "--log-level", "debug")
	h.process.Stdout, h.process.Stderr = log, log
	if err := h.process.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.ended = make(chan error, 1)
	go func(p *exec.Cmd, ended chan<- error) { ended <- p.Wait() }(h.process, h.ended)
	h.t.Cleanup(h.kill)
}

func (h *host) showLog() {
	log, _ := os.ReadFile(filepath.Join(h.dir, "log"))
	lines := strings.Split(string(log), "\n")
	h.t.Logf("log of %s (last lines):\n%s", h.name, strings.Join(lines[max(0, len(lines)-40):], "\n"))
}

// kill ends the daemon as a power cut would, as far as the process goes. A host that isn't running stays so.
func (h *host) kill() { h.end(syscall.SIGKILL) }

// stop ends the daemon as systemd would, and fails the test if it doesn't end well.
func (h *host) stop() {
	h.t.Helper()
	if err := h.end(syscall.SIGTERM); err != nil {
		h.t.Errorf("stop %s: %v", h.name, err)
	}
}

func (h *host) end(signal syscall.Signal) error {
	if h.process == nil {
		return nil
	}
	h.process.Process.Signal(signal)
	select {
	case err := <-h.ended:
		h.process = nil
		return err
	case <-time.After(patience):
		h.process.Process.Kill()
		h.process = nil
		return fmt.Errorf("still running %s after signal %v", patience, signal)
	}
}

// run runs one of the programs to its end.
func (h *host) run(stdin, name string, args ...string) (stdout, stderr string, exit int) {
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(h.t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		return out.String(), err.Error(), -1
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (h *host) mustRun(name string, args ...string) string {
	h.t.Helper()
	out, errs, exit := h.run("", name, args...)
	if exit != 0 {
		h.t.Fatalf("%s %s: exit %d\n%s%s", name, strings.Join(args, " "), exit, out, errs)
	}
	return out
}

// ctl runs cbctl against this host and fails the test if it fails.
func (h *host) ctl(args ...string) string {
	h.t.Helper()
	return h.mustRun("cbctl", append([]string{"--state", h.state()}, args...)...)
}

func (h *host) tryCtl(args ...string) (string, error) {
	out, errs, exit := h.run("", "cbctl", append([]string{"--state", h.state()}, args...)...)
	if exit != 0 {
		return out, fmt.Errorf("cbctl %s: exit %d: %s", strings.Join(args, " "), exit, strings.TrimSpace(errs))
	}
	return out, nil
}

func (h *host) apply(yaml string) {
	h.t.Helper()
	out, errs, exit := h.run(yaml, "cbctl", "--state", h.state(), "apply", "-f", "-")
	if exit != 0 {
		h.t.Fatalf("cbctl apply: exit %d\n%s%s", exit, out, errs)
	}
}

func (h *host) eventually(what string, check func() error) {
	h.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	h.t.Fatalf("%s: not within %s: %v", what, patience, err)
}

// files returns what `get files` says, by path.
func (h *host) files(args ...string) map[string]v1.File {
	h.t.Helper()
	var list v1.FileList
	if err := json.Unmarshal([]byte(h.ctl(append([]string{"get", "files", "-o", "json"}, args...)...)), &list); err != nil {
		h.t.Fatal(err)
	}
	byPath := map[string]v1.File{}
	for _, f := range list.Items {
		byPath[f.Spec.Path] = f
	}
	return byPath
}

func (h *host) waitProtected(source string) {
	h.t.Helper()
	h.ctl("wait", "source/"+source, "--for=condition=Protected", "--timeout", patience.String())
}

// write makes a file, and the folders above it.
func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// content is size bytes that differ from name to name.
func content(name string, size int) []byte {
	line := []byte(name + " 0123456789abcdef\n")
	return bytes.Repeat(line, size/len(line)+1)[:size]
}

// sameTree compares two trees as `diff -r --no-dereference` does.
func sameTree(t *testing.T, want, got string) {
	t.Helper()
	if out, err := exec.Command("diff", "-r", "--no-dereference", want, got).CombinedOutput(); err != nil {
		t.Errorf("%s and %s differ:\n%.2000s", want, got, out)
	}
}

// create declares a location on each of these hosts.
func (c *cluster) locations(capacity string, names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.hosts[0].ctl("create", "location", name+"-disk", "--host", name, "--path", c.host(name).location(), "--capacity", capacity)
	}
}
