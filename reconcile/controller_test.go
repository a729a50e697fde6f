package reconcile_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"clusterbackup/reconcile"
)

const patience = 10 * time.Second

// start runs a controller for the length of the test and waits for it at the end.
func start[K comparable](t *testing.T, r reconcile.Func[K], o reconcile.Options) *reconcile.Controller[K] {
	t.Helper()
	c := reconcile.New(t.Name(), r, o)
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = c.Run(ctx) })
	t.Cleanup(func() { stop(); done.Wait() })
	return c
}

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s within %s", what, patience)
		panic("unreachable")
	}
}

func TestErrorIsRepeatedUntilItSucceeds(t *testing.T) {
	var calls atomic.Int32
	done := make(chan struct{})
	c := start(t, func(context.Context, string) (reconcile.Result, error) {
		if calls.Add(1) < 4 {
			return reconcile.Result{}, errors.New("not yet")
		}
		close(done)
		return reconcile.Result{}, nil
	}, reconcile.Options{MinBackoff: time.Millisecond})
	c.Enqueue("a")
	receive(t, "success", done)
	if n := calls.Load(); n != 4 {
		t.Errorf("%d calls, want 4", n)
	}
}

func TestTerminalErrorIsRepeatedOnlyWhenEnqueued(t *testing.T) {
	calls := make(chan string, 10)
	c := start(t, func(_ context.Context, key string) (reconcile.Result, error) {
		calls <- key
		if key == "bad" {
			return reconcile.Result{}, reconcile.Terminal(errors.New("never"))
		}
		return reconcile.Result{}, nil
	}, reconcile.Options{MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond})
	c.Enqueue("bad")
	receive(t, "first call", calls)
	c.EnqueueAfter("later", 50*time.Millisecond)
	if got := receive(t, "next call", calls); got != "later" {
		t.Errorf("after a terminal error %q was called, want later", got)
	}
	c.Enqueue("bad")
	if got := receive(t, "call after Enqueue", calls); got != "bad" {
		t.Errorf("called %q, want bad", got)
	}
}

func TestRequeueAfterComesBack(t *testing.T) {
	calls := make(chan time.Time, 10)
	c := start(t, func(context.Context, int) (reconcile.Result, error) {
		calls <- time.Now()
		return reconcile.Result{RequeueAfter: 20 * time.Millisecond}, nil
	}, reconcile.Options{})
	c.Enqueue(1)
	first := receive(t, "call", calls)
	if again := receive(t, "second call", calls); again.Sub(first) < 20*time.Millisecond {
		t.Errorf("came back after %s, want at least 20ms", again.Sub(first))
	}
}

func TestOneKeyIsNeverWorkedOnTwiceAtOnce(t *testing.T) {
	var inside, overlaps, calls atomic.Int32
	c := start(t, func(context.Context, string) (reconcile.Result, error) {
		if inside.Add(1) > 1 {
			overlaps.Add(1)
		}
		time.Sleep(time.Millisecond)
		inside.Add(-1)
		calls.Add(1)
		return reconcile.Result{}, nil
	}, reconcile.Options{Workers: 4})
	for deadline := time.Now().Add(patience); calls.Load() < 20; {
		c.Enqueue("a")
		if time.Now().After(deadline) {
			t.Fatal("20 calls did not happen")
		}
	}
	if n := overlaps.Load(); n > 0 {
		t.Errorf("%d overlapping calls for one key", n)
	}
}

func TestPanicIsAnErrorOfItsKeyAlone(t *testing.T) {
	calls := make(chan string, 10)
	c := start(t, func(_ context.Context, key string) (reconcile.Result, error) {
		calls <- key
		if key == "panics" {
			panic("boom")
		}
		return reconcile.Result{}, nil
	}, reconcile.Options{MinBackoff: time.Hour})
	c.Enqueue("panics")
	receive(t, "first call", calls)
	c.Enqueue("fine")
	if got := receive(t, "call after the panic", calls); got != "fine" {
		t.Errorf("called %q, want fine", got)
	}
}

// counted is the number of reconciles that were counted as a success.
func counted(families []*dto.MetricFamily) float64 {
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == "success" {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

func TestOutcomesAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := start(t, func(context.Context, string) (reconcile.Result, error) { return reconcile.Result{}, nil },
		reconcile.Options{Metrics: reconcile.NewMetrics(reg)})
	c.Enqueue("a")
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		if counted(families) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the reconcile was not counted: %v", families)
		}
	}
}

func TestQueueDepthIsShownBeforeAnythingIsQueued(t *testing.T) {
	reconcile.New("never-used", reconcile.Func[string](nil), reconcile.Options{Metrics: reconcile.NewMetrics(prometheus.NewRegistry())})
	families, err := reconcile.QueueMetrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "workqueue_depth" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "controller" && l.GetValue() == "never-used" && m.GetGauge().GetValue() == 0 {
					return
				}
			}
		}
	}
	t.Error("workqueue_depth has no series for a controller whose queue was never used")
}
