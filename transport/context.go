package transport

import (
	"context"
	"slices"
	"sync"
	"time"
)

// answering is the context of a body: it ends on cancel, at the deadline, with
// the connection, and when the answer is sent. It is a context of its own since one
// is needed for every request, and few look at it.
type answering struct {
	deadline time.Time

	mu    sync.Mutex
	done  chan struct{} // made when asked for
	err   error
	timer *time.Timer
	after []*func()
}

// Deadline returns when the client gives up.
func (a *answering) Deadline() (time.Time, bool) { return a.deadline, !a.deadline.IsZero() }

// Value returns nil.
func (a *answering) Value(any) any { return nil }

// Err says whether the context has ended.
func (a *answering) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil && a.passed() {
		a.endLocked(context.DeadlineExceeded)
	}
	return a.err
}

func (a *answering) passed() bool {
	return !a.deadline.IsZero() && !time.Now().Before(a.deadline)
}

// Done returns a channel that is closed when the context ends.
func (a *answering) Done() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done == nil {
		a.done = make(chan struct{})
		if a.err != nil {
			close(a.done)
		}
		a.watch()
	}
	return a.done
}

// watch sees to it that the deadline is noticed.
func (a *answering) watch() {
	if a.err == nil && a.timer == nil && !a.deadline.IsZero() {
		a.timer = time.AfterFunc(time.Until(a.deadline), func() { a.end(context.DeadlineExceeded) })
	}
}

// AfterFunc has f called in a goroutine when the context ends; package context
// looks for it, so as not to need a goroutine for each derived context.
func (a *answering) AfterFunc(f func()) (stop func() bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		go f()
		return func() bool { return false }
	}
	p := &f
	a.after = append(a.after, p)
	a.watch()
	return func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		i := slices.Index(a.after, p)
		if i >= 0 {
			a.after = slices.Delete(a.after, i, i+1)
		}
		return i >= 0
	}
}

func (a *answering) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endLocked(err)
}

func (a *answering) endLocked(err error) {
	if a.err != nil {
		return
	}
	a.err = err
	if a.done != nil {
		close(a.done)
	}
	if a.timer != nil {
		a.timer.Stop()
	}
	for _, f := range a.after {
		go (*f)()
	}
	a.after = nil
}
