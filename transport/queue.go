package transport

import "sync"

// queue holds requests until a loop over All takes them. Its length is bounded
// by the connections' limits of requests in flight.
type queue struct {
	mu     sync.Mutex
	more   sync.Cond
	list   []*exchange
	closed bool
}

func (q *queue) init() { q.more.L = &q.mu }

func (q *queue) push(ex *exchange) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, ex)
	q.more.Signal()
}

// pop waits for a request; nil when the queue is closed.
func (q *queue) pop() *exchange {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) == 0 {
		if q.closed {
			return nil
		}
		q.more.Wait()
	}
	ex := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	return ex
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.list = nil
	q.more.Broadcast()
}
