package sim

import (
	"errors"
	"runtime/debug"
	"time"

	"clusterbackup/internal/coordinator"
)

// network carries requests and bytes between hosts.
type network struct {
	w *world
	// Chances, of each message: that it is lost, handled twice, or comes very late.
	loss, repeat, late float64
	lateness           time.Duration
	flows              []*transfer
	settled            time.Duration
	next               func()
}

var (
	errTimeout = errors.New("no answer in time")
	errDown    = errors.New("source's host does not answer")
)

// call is one request and its answer.
type call struct {
	from   *host
	to     *source
	sentAt time.Duration
	open   bool // the sender waits, or acts on the answer
	wake   func()
	done   bool
	err    error
}

// delay is how long a message travels.
func (n *network) delay() time.Duration {
	d := time.Duration(1+n.w.rng.IntN(20)) * time.Millisecond
	if n.w.rng.Float64() < n.late {
		d += time.Duration(n.w.rng.Int64N(int64(n.lateness)))
	}
	return d
}

func (n *network) connected(a, b *host) bool { return a.up && b.up && a.side == b.side }

// ask sends a request and waits for the answer. handle runs at the coordinator, perhaps late, perhaps twice, perhaps after
// the sender has ceased to wait; it returns what to do with the answer at the sender, which happens at most once.
func (n *network) ask(from *host, to *source, handle func(*call, *coordinator.Coordinator) (func(), error)) error {
	c := &call{from: from, to: to, sentAt: n.w.clock.now, open: true}
	n.w.stats.requests++
	to.requests++
	n.w.clock.running.pause(func(wake func()) {
		c.wake = wake
		from.calls[c] = true
		n.w.clock.after(n.w.cfg.CallTimeout, func() { n.finish(c, errTimeout, nil) })
		n.deliver(c, handle)
		if n.w.rng.Float64() < n.repeat {
			n.deliver(c, handle)
		}
	})
	return c.err
}

// deliver takes one request to its coordinator, and an answer back.
func (n *network) deliver(c *call, handle func(*call, *coordinator.Coordinator) (func(), error)) {
	n.w.clock.after(n.delay(), func() {
		if n.w.rng.Float64() < n.loss || !n.connected(c.from, c.to.host) && !c.late(n) || c.to.coord == nil {
			n.w.stats.lost++
			return
		}
		act, err := n.handle(c, handle)
		n.w.clock.after(n.delay(), func() {
			if n.w.rng.Float64() < n.loss || !n.connected(c.from, c.to.host) {
				n.w.stats.lost++
				return
			}
			n.finish(c, err, act)
		})
	})
}

// handle runs the coordinator's half. A panic there is a violation, with its stack in the trace.
func (n *network) handle(c *call, handle func(*call, *coordinator.Coordinator) (func(), error)) (act func(), err error) {
	defer func() {
		if r := recover(); r != nil {
			n.w.fail("panic in %s's coordinator: %v\n%s", c.to.name, r, debug.Stack())
			err = errTimeout
		}
	}()
	return handle(c, c.to.coord)
}

// late messages have left their sender already: they arrive even if it is gone.
func (c *call) late(n *network) bool {
	return n.w.clock.now-c.sentAt > 100*time.Millisecond && c.to.host.up
}

// finish ends a call for its sender. What it was granted is in its hands from now on (see remote.held).
func (n *network) finish(c *call, err error, act func()) {
	if c.done {
		return
	}
	c.done = true
	delete(c.from.calls, c)
	if err != nil || act == nil {
		c.open = false
	} else {
		act()
	}
	c.err = err
	c.wake()
}

// forget ends all calls of a host whose process has died.
func (h *host) forget() {
	for c := range h.calls {
		c.done, c.open = true, false
	}
	clear(h.calls)
	for _, r := range h.remotes {
		r.next()
	}
}

// transfer is bytes under way from a source to a host.
type transfer struct {
	from *source
	to   *host
	left float64
	rate float64
	wake func()
}

// batchStart is what it costs to start one rsync.
const batchStart = 25 * time.Millisecond

// transfer waits until so many bytes have come over. It fails when the two are cut off from each other meanwhile.
func (n *network) transfer(from *source, to *host, bytes int64) error {
	p := n.w.clock.running
	p.sleep(batchStart)
	if !n.connected(to, from.host) {
		return errDown
	}
	t := &transfer{from: from, to: to, left: float64(bytes)}
	n.settle()
	n.flows = append(n.flows, t)
	from.uploads++
	to.downloads++
	n.reschedule()
	p.pause(func(wake func()) { t.wake = wake })
	if !n.connected(to, from.host) || t.left > 0.5 {
		return errDown
	}
	return nil
}

// settle moves the bytes that have come over since the last look.
func (n *network) settle() {
	d := (n.w.clock.now - n.settled).Seconds()
	n.settled = n.w.clock.now
	for _, t := range n.flows {
		t.left = max(t.left-t.rate*d, 0)
	}
}

// reschedule shares the links anew and finds the next transfer to end.
func (n *network) reschedule() {
	if n.next != nil {
		n.next()
		n.next = nil
	}
	if len(n.flows) == 0 {
		return
	}
	first := time.Duration(1 << 62)
	for _, t := range n.flows {
		t.rate = min(t.from.upRate/float64(t.from.uploads), t.to.downRate/float64(t.to.downloads))
		first = min(first, time.Duration(t.left/t.rate*1e9)+1)
	}
	n.next = n.w.clock.after(first, func() {
		n.next = nil
		n.settle()
		n.end(func(t *transfer) bool { return t.left <= 0.5 })
		n.reschedule()
	})
}

// end takes transfers off the links and wakes who waits for them.
func (n *network) end(which func(*transfer) bool) {
	left := n.flows[:0]
	var over []*transfer
	for _, t := range n.flows {
		if which(t) {
			over = append(over, t)
			t.from.uploads--
			t.to.downloads--
		} else {
			left = append(left, t)
		}
	}
	n.flows = left
	for _, t := range over {
		n.w.clock.after(0, t.wake)
	}
}

// cut ends the transfers that a fault has broken.
func (n *network) cut() {
	n.settle()
	n.end(func(t *transfer) bool { return !n.connected(t.to, t.from.host) || t.from.coord == nil })
	n.reschedule()
}
