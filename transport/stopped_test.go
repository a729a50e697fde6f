//go:build unix

package transport

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestStoppedProcess has a real process stop (SIGSTOP), as a hung machine does,
// and then die.
func TestStoppedProcess(t *testing.T) {
	if addr := os.Getenv("TRANSPORT_TEST_SERVER"); addr != "" {
		s, err := Listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		s.Each(4, echo)
		return
	}
	sock := t.TempDir() + "/s"
	child := exec.Command(os.Args[0], "-test.run=^TestStoppedProcess$")
	child.Env = append(os.Environ(), "TRANSPORT_TEST_SERVER=unix:"+sock)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	c := Dial("unix:"+sock, Keepalive(200*time.Millisecond, 300*time.Millisecond))
	defer c.Close()
	d := c.Datagram("x")
	if !d.Send() {
		t.Fatal(d.Err())
	}
	child.Process.Signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(child.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatal("the server does not stop:", err)
	}
	start := time.Now()
	big := c.Datagram(make([]byte, 4<<20))
	if d.Send() || !errors.Is(d.Err(), Unavailable) {
		t.Fatal(d.Err())
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Fatal(took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start = time.Now()
	if big.SendContext(ctx); time.Since(start) > 2*time.Second {
		t.Fatal("a deadline was missed by", time.Since(start))
	}
	child.Process.Signal(syscall.SIGCONT)
	if d = c.Datagram("again"); !d.Send() || d.Value() != "again" {
		t.Fatal(d.Err())
	}
	child.Process.Kill()
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	child.Process.Wait()
	if d.SendContext(ctx) || !errors.Is(d.Err(), Unavailable) {
		t.Fatal(d.Err())
	}
}
