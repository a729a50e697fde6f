package transport

import "sync"

// workers run handlers, each request in a goroutine. Some that are done wait for
// the next request, since a goroutine that has grown its stack is quicker than a
// new one.
type workers struct {
	mu     sync.Mutex
	idle   []chan func()
	closed bool
	wg     sync.WaitGroup // of requests; not of those that wait
}

// maxIdle is how many wait.
const maxIdle = 64

// run runs f in a goroutine.
func (w *workers) run(f func()) {
	w.wg.Add(1)
	w.mu.Lock()
	n := len(w.idle)
	if n == 0 {
		w.mu.Unlock()
		go w.work(f)
		return
	}
	next := w.idle[n-1]
	w.idle = w.idle[:n-1]
	w.mu.Unlock()
	next <- f
}

func (w *workers) work(f func()) {
	next := make(chan func(), 1)
	for f != nil {
		w.one(f)
		w.mu.Lock()
		if w.closed || len(w.idle) >= maxIdle {
			w.mu.Unlock()
			return
		}
		w.idle = append(w.idle, next)
		w.mu.Unlock()
		f = <-next
	}
}

// one runs f; a Goexit in it ends the worker too, and is counted.
func (w *workers) one(f func()) {
	defer w.wg.Done()
	f()
}

// close lets those that wait go.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
}
