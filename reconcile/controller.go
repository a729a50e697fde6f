package reconcile

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// Reconciler brings what a key names closer to what is desired. It is called by several workers at once, but never twice at a
// time for one key.
type Reconciler[K comparable] interface {
	Reconcile(ctx context.Context, key K) (Result, error)
}

// Func makes a Reconciler of a function.
type Func[K comparable] func(ctx context.Context, key K) (Result, error)

// Reconcile implements Reconciler.
func (f Func[K]) Reconcile(ctx context.Context, key K) (Result, error) { return f(ctx, key) }

// Result says when a key wants to be looked at again. The zero Result: only when it is enqueued.
type Result struct {
	// RequeueAfter is the time until the next call; 0: none is planned.
	RequeueAfter time.Duration
	// Priority is the key's priority in that next call: higher ones go first among those that are due.
	Priority int
}

// Options of a Controller. The zero value is useful.
type Options struct {
	// Workers is how many keys are worked on at once. 0: one.
	Workers int
	// MinBackoff and MaxBackoff bound the wait after an error, which doubles with each error in a row. 0: 1 s and 5 min.
	MinBackoff, MaxBackoff time.Duration
	// Metrics receives outcomes and durations; nil: none are kept.
	Metrics *Metrics
	// Log receives errors. The zero Logger discards them.
	Log logr.Logger
}

// Controller calls one Reconciler for the keys in its queue. All methods may be called from several goroutines at once, Run once.
type Controller[K comparable] struct {
	name       string
	reconciler Reconciler[K]
	options    Options
	queue      queue[K]
}

// New makes a controller. Keys may be enqueued before Run. The name labels logs and metrics; two controllers of a process have
// two names.
func New[K comparable](name string, r Reconciler[K], o Options) *Controller[K] {
	o.Workers = max(o.Workers, 1)
	if o.MinBackoff <= 0 {
		o.MinBackoff = time.Second
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 5 * time.Minute
	}
	o.Log = o.Log.WithName(name)
	o.Metrics.begin(name)
	return &Controller[K]{name: name, reconciler: r, options: o, queue: newQueue[K](name, o)}
}

// Name is what New was given.
func (c *Controller[K]) Name() string { return c.name }

// Enqueue has key worked on as soon as a worker is free.
func (c *Controller[K]) Enqueue(key K) { c.queue.add(key, 0, 0) }

// EnqueueAfter has key worked on after d, or earlier if it is due earlier.
func (c *Controller[K]) EnqueueAfter(key K, d time.Duration) { c.queue.add(key, d, 0) }

// Len is the number of keys that are due and wait for a worker.
func (c *Controller[K]) Len() int { return c.queue.len() }

// Run works until ctx ends and every worker has returned from its last key. It returns nil.
func (c *Controller[K]) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range c.options.Workers {
		workers.Go(func() {
			for c.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	c.queue.shutDown()
	workers.Wait()
	return nil
}

func (c *Controller[K]) next(ctx context.Context) bool {
	key, ok := c.queue.get()
	if !ok {
		return false
	}
	defer c.queue.done(key)
	if ctx.Err() != nil {
		return false
	}
	started := time.Now()
	result, err := c.call(ctx, key)
	if ctx.Err() != nil {
		return false
	}
	outcome := c.settle(key, result, err)
	c.options.Metrics.observe(c.name, outcome, time.Since(started))
	return true
}

// settle is the one place where an outcome becomes a requeue and a log line.
func (c *Controller[K]) settle(key K, result Result, err error) string {
	switch {
	case errors.As(err, new(*terminalError)):
		c.queue.forget(key)
		c.options.Log.Error(err, "Reconcile failed for good", "key", fmt.Sprint(key))
		return "terminal"
	case err != nil:
		wait := c.queue.addRateLimited(key)
		c.options.Log.Error(err, "Reconcile failed", "key", fmt.Sprint(key), "retryAfter", wait.String())
		return "error"
	case result.RequeueAfter > 0:
		c.queue.forget(key)
		c.queue.add(key, result.RequeueAfter, result.Priority)
		return "requeue"
	default:
		c.queue.forget(key)
		return "success"
	}
}

// call keeps one key's panic from ending every other key's work: it becomes an error with its stack, and backs off.
func (c *Controller[K]) call(ctx context.Context, key K) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in reconcile: %v\n%s", p, debug.Stack())
		}
	}()
	return c.reconciler.Reconcile(ctx, key)
}

// Terminal wraps an error that repeating cannot mend. Terminal(nil) is nil.
func Terminal(err error) error {
	if err == nil {
		return nil
	}
	return &terminalError{err}
}

type terminalError struct{ error }

func (e *terminalError) Unwrap() error { return e.error }
