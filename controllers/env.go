package controllers

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Env is what the loops need of the machine besides its disks and its peers: time, chance, and ways to do things at once and to
// wait for one another. What is nil is the machine's own; a simulation has its own.
type Env struct {
	// Now is the time of day.
	Now func() time.Time
	// Boottime is a clock that never goes back and doesn't stop while the host sleeps: grants run out by it.
	Boottime func() time.Duration
	// Random draws 64 bits.
	Random func() uint64
	// Every calls do once every d until it is stopped. stop returns when no call is under way any more.
	Every func(ctx context.Context, d time.Duration, do func(context.Context)) (stop func())
	// Together has n calls of do run at once and returns the first error, upon which the context of the others ends.
	Together func(ctx context.Context, n int, do func(context.Context) error) error
	// Lock makes a lock that is held while a peer is asked.
	Lock func() sync.Locker
}

func (e *Env) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

func (e *Env) since(t time.Time) time.Duration { return e.now().Sub(t) }

func (e *Env) boottime() time.Duration {
	if e.Boottime != nil {
		return e.Boottime()
	}
	return monotonic()
}

func (e *Env) random() uint64 {
	if e.Random != nil {
		return e.Random()
	}
	return rand.Uint64()
}

// jitter keeps the clients of one coordinator from asking all at once: between 0.8 and 1.2 of d.
func (e *Env) jitter(d time.Duration) time.Duration {
	fraction := float64(e.random()>>11) / (1 << 53)
	return time.Duration(float64(max(d, 100*time.Millisecond)) * (0.8 + 0.4*fraction))
}

func (e *Env) every(ctx context.Context, d time.Duration, do func(context.Context)) (stop func()) {
	if e.Every != nil {
		return e.Every(ctx, d, do)
	}
	ctx, cancel := context.WithCancel(ctx)
	var calling sync.WaitGroup
	calling.Go(func() {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				do(ctx)
			}
		}
	})
	return func() { cancel(); calling.Wait() }
}

func (e *Env) together(ctx context.Context, n int, do func(context.Context) error) error {
	if e.Together != nil {
		return e.Together(ctx, n, do)
	}
	group, ctx := errgroup.WithContext(ctx)
	for range n {
		group.Go(func() error { return do(ctx) })
	}
	return group.Wait()
}

func (e *Env) lock() sync.Locker {
	if e.Lock != nil {
		return e.Lock()
	}
	return &sync.Mutex{}
}
