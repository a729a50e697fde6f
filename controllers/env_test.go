package controllers

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTogetherEndsAllWithTheFirstError(t *testing.T) {
	var env Env
	broken := errors.New("broken")
	var calls atomic.Int32
	err := env.together(t.Context(), 3, func(ctx context.Context) error {
		if calls.Add(1) == 3 {
			return broken
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, broken) || calls.Load() != 3 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

func TestEveryCallsUntilItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var env Env
		calls := 0
		stop := env.every(t.Context(), time.Minute, func(context.Context) { calls++ })
		time.Sleep(150 * time.Second)
		stop()
		time.Sleep(time.Hour)
		if calls != 2 {
			t.Errorf("%d calls in two and a half minutes", calls)
		}
	})
}

func TestJitterStaysAround(t *testing.T) {
	for _, random := range []uint64{0, 1 << 63, 1<<64 - 1} {
		env := Env{Random: func() uint64 { return random }}
		if d := env.jitter(10 * time.Second); d < 8*time.Second || d > 12*time.Second {
			t.Errorf("%v of 10s", d)
		}
	}
	if d := (&Env{}).jitter(0); d < 80*time.Millisecond {
		t.Errorf("%v: a loop that never rests", d)
	}
}
