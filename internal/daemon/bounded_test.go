package daemon

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	v1 "clusterbackup/api/v1"
)

// TestChangedLimitReachesWhatIsUnderWay: what waits by one limit goes on by the next.
func TestChangedLimitReachesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[v1.Limits]
		set := func(upload *resource.Quantity) { now.Store(&v1.Limits{Upload: upload}) }
		set(resource.NewQuantity(1000, resource.DecimalSI))
		may := bounded(func() v1.Limits { return *now.Load() }, uploadLimit)
		took := func(bytes int) time.Duration {
			start := time.Now()
			if err := may(t.Context(), bytes); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		took(limitBurst) // what may go at once
		if d := took(10_000); d < 9*time.Second || d > 11*time.Second {
			t.Errorf("10 kB at 1 kB/s took %v", d)
		}
		done := make(chan time.Duration)
		go func() { done <- took(1_000_000) }()
		time.Sleep(10 * time.Second)
		set(resource.NewQuantity(1_000_000, resource.DecimalSI))
		if d := <-done; d > 13*time.Second {
			t.Errorf("1 MB, faster after 10 s, took %v", d)
		}
		set(nil)
		if d := took(1 << 30); d > time.Second {
			t.Errorf("without a limit it took %v", d)
		}
	})
}

func TestSendingIsCountedAndLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		go func() { // reads until the other side is closed
			buf := make([]byte, 1<<20)
			for {
				if _, err := far.Read(buf); err != nil {
					return
				}
			}
		}()
		var sent sentBytes
		limits := v1.Limits{Upload: resource.NewQuantity(100<<10, resource.BinarySI)}
		c := &sendingConn{Conn: near, ctx: t.Context(), limit: bounded(func() v1.Limits { return limits }, uploadLimit),
			sent: func(n int) { sent.add("photos", n) }}
		start := time.Now()
		if n, err := c.Write(make([]byte, 1<<20)); n != 1<<20 || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
		if took := time.Since(start); took < 7*time.Second || took > 11*time.Second {
			t.Errorf("1 MiB at 100 KiB/s took %v", took)
		}
		if sent.total() != 1<<20 || sent.all()["photos"] != 1<<20 {
			t.Errorf("counted %v", sent.all())
		}
		ctx, cancel := context.WithCancel(t.Context())
		c.ctx = ctx
		cancel()
		if _, err := c.Write(make([]byte, 1<<20)); err == nil {
			t.Error("a transfer that is to end goes on")
		}
		near.Close()
		synctest.Wait()
	})
}
