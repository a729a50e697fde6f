package reconcile

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
)

// queue is the engine's whole view of controller-runtime's priority queue, so that another one needs a change here alone.
type queue[K comparable] struct {
	keys    priorityqueue.PriorityQueue[K]
	backoff workqueue.TypedRateLimiter[K]
}

func newQueue[K comparable](name string, o Options) queue[K] {
	backoff := workqueue.NewTypedItemExponentialFailureRateLimiter[K](o.MinBackoff, o.MaxBackoff)
	return queue[K]{
		backoff: backoff,
		keys: priorityqueue.New(name, func(q *priorityqueue.Opts[K]) {
			q.RateLimiter = backoff
			q.Log = o.Log
		}),
	}
}

func (q queue[K]) add(key K, after time.Duration, priority int) {
	q.keys.AddWithOpts(priorityqueue.AddOpts{After: after, Priority: &priority}, key)
}

func (q queue[K]) addRateLimited(key K) time.Duration {
	wait := q.backoff.When(key)
	q.add(key, wait, 0)
	return wait
}

func (q queue[K]) get() (K, bool) {
	key, shutdown := q.keys.Get()
	return key, !shutdown
}

func (q queue[K]) done(key K)   { q.keys.Done(key) }
func (q queue[K]) forget(key K) { q.backoff.Forget(key) }
func (q queue[K]) len() int     { return q.keys.Len() }
func (q queue[K]) shutDown()    { q.keys.ShutDown() }
