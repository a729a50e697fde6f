package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin/admintest"
)

type connected struct{ *admintest.Fake }

func (connected) Close() error { return nil }

// A watch prints a row when something that it shows has changed, and when its object is gone; that time passes is no change.
func TestWatch(t *testing.T) {
	for _, c := range []struct {
		args                         string
		added, quiet, changed, ended string // substrings of what comes then; "" is nothing
	}{
		{"get hosts -w", "rpi1   Ready", "", "rpi1   Ready,Cordoned", "rpi1   Deleted"},
		{"get host rpi1 -w -o wide", "rpi1   Ready", "", "rpi1   Ready,Cordoned", "rpi1   Deleted"},
		{"get hosts -w -o name", "host/rpi1\n", "", "host/rpi1\n", "host/rpi1 deleted\n"},
		{"get hosts -w -o json --output-watch-events", `"type": "ADDED"`, `"type": "MODIFIED"`, `"type": "MODIFIED"`, `"type": "DELETED"`},
		{"get host rpi1 -w -o yaml", "---\nmetadata:", "lastSeen:", "cordoned: true", "host/rpi1 deleted\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { watchOne(t, strings.Fields(c.args), c.added, c.quiet, c.changed, c.ended) })
		})
	}
}

func watchOne(t *testing.T, args []string, steps ...string) {
	fake := &admintest.Fake{Now: time.Now()}
	host := &v1.Host{ObjectMeta: metav1.ObjectMeta{Name: "rpi1"}, Spec: v1.HostSpec{Address: "rpi1:7420"}}
	host.Status.Conditions = []metav1.Condition{{Type: v1.ConditionReady, Status: metav1.ConditionTrue}}
	fake.Put(host)
	var out bytes.Buffer
	p := &Program{Out: &out, Err: &out, Connect: func(context.Context, Target) (Connection, error) { return connected{fake}, nil }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() { done <- p.Run(ctx, args) }()
	change := func(change func(*v1.Host)) func() {
		return func() { fake.Update(v1.KindHost, "rpi1", func(obj v1.Object) { change(obj.(*v1.Host)) }) }
	}
	for i, act := range []func(){
		func() {},
		change(func(h *v1.Host) { h.Status.LastSeen = &metav1.Time{Time: time.Now()} }),
		change(func(h *v1.Host) { h.Spec.Cordoned = true }),
		func() { _ = fake.Delete(ctx, v1.KindHost, "rpi1", true) },
	} {
		act()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := out.String(); !strings.Contains(got, steps[i]) || steps[i] == "" && got != "" {
			t.Errorf("step %d: got\n%s\nwant %q", i, got, steps[i])
		}
		out.Reset()
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
}
