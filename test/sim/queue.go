package sim

import (
	"context"
	"time"

	"clusterbackup/reconcile"
)

// queue calls a reconciler for its keys in virtual time, as package reconcile does in real time: never twice at once for a key,
// once more for one that is enqueued while it is worked on, and later each time after errors in a row.
type queue[K comparable] struct {
	h          *host
	reconciler reconcile.Reconciler[K]
	workers    int
	seldom     time.Duration // the least time until a requeue
	most       time.Duration // the most that errors make it wait
	keys       map[K]*turn
	ready      []K
	busy       int
	over       bool
}

// turn is how one key stands.
type turn struct {
	planned, working bool
	due              time.Duration
	errors           int
	cancel           func()
}

func newQueue[K comparable](h *host, r reconcile.Reconciler[K], workers int) *queue[K] {
	return &queue[K]{h: h, reconciler: r, workers: workers, most: max(time.Minute, h.w.cfg.Poll/4), keys: make(map[K]*turn)}
}

// Enqueue has a key worked on as soon as a worker is free.
func (q *queue[K]) Enqueue(key K) { q.enqueueAfter(key, 0) }

// enqueueAfter has a key worked on after d, or earlier if it is due earlier.
func (q *queue[K]) enqueueAfter(key K, d time.Duration) {
	t := q.keys[key]
	if t == nil {
		t = &turn{}
		q.keys[key] = t
	}
	due := q.h.w.clock.now + d
	if t.planned && t.due <= due {
		return
	}
	t.planned, t.due = true, due
	if !t.working {
		q.plan(key, t)
	}
}

func (q *queue[K]) plan(key K, t *turn) {
	if t.cancel != nil {
		t.cancel()
	}
	t.cancel = q.h.w.clock.after(t.due-q.h.w.clock.now, func() {
		t.cancel = nil
		q.ready = append(q.ready, key)
		q.work()
	})
}

// work gives keys that are due to workers that are free.
func (q *queue[K]) work() {
	for !q.over && q.busy < q.workers && len(q.ready) > 0 {
		key := q.ready[0]
		q.ready = q.ready[1:]
		t := q.keys[key]
		t.planned, t.working = false, true
		q.busy++
		q.h.run(func(*proc) {
			result, err := q.reconciler.Reconcile(context.Background(), key)
			q.settle(key, t, result, err)
			q.busy--
			q.work()
		})
	}
}

// settle turns an outcome into a requeue.
func (q *queue[K]) settle(key K, t *turn, result reconcile.Result, err error) {
	switch {
	case err != nil:
		q.enqueueAfter(key, min(time.Second<<min(t.errors, 20), q.most))
		t.errors++
	case result.RequeueAfter > 0:
		q.enqueueAfter(key, max(result.RequeueAfter, q.seldom))
		fallthrough
	default:
		t.errors = 0
	}
	t.working = false
	if t.planned {
		q.plan(key, t)
	}
}

// stop ends the queue with its process.
func (q *queue[K]) stop() { q.over = true }
