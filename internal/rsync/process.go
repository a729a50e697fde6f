package rsync

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// environment is what an rsync of ours sees: nothing that changes what it does (RSYNC_…, HOME's popt aliases, locale).
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, key := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_DIR"} {
		if value, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// prepare makes cmd the leader of its own process group, so that ending it ends what it started.
func prepare(cmd *exec.Cmd) {
	cmd.Env = environment()
	cmd.SysProcAttr = attributes()
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.WaitDelay = 5 * time.Second
}

func killGroup(p *os.Process) error {
	err := syscall.Kill(-p.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// runHere calls run on a thread of its own that outlives the processes run starts: on Linux they are told to die when the
// thread that started them does, and what run does to its thread stays with them alone.
func runHere(run func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		done <- run()
	}()
	return <-done
}

// head keeps the first bytes written to it, up to limit, and drops the rest.
type head struct {
	mu    sync.Mutex
	limit int
	buf   bytes.Buffer
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if room := h.limit - h.buf.Len(); room > 0 {
		h.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// lines are the lines written, without empty ones.
func (h *head) lines() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []string
	for line := range strings.Lines(h.buf.String()) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
