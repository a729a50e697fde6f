package sim

import (
	"container/heap"
	"time"
)

// epoch is when simulated time begins.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is virtual time and what is to happen.
type clock struct {
	now   time.Duration
	queue events
	count int64
	// running is the process that runs now; nil: none.
	running *proc
}

type event struct {
	at  time.Duration
	seq int64
	do  func()
}

// after has something happen in a while. It returns a way to call it off.
func (c *clock) after(d time.Duration, do func()) (cancel func()) {
	c.count++
	e := &event{at: c.now + max(d, 0), seq: c.count, do: do}
	heap.Push(&c.queue, e)
	return func() { e.do = nil }
}

// run lets time pass until then.
func (c *clock) run(until time.Duration) {
	for len(c.queue) > 0 && c.queue[0].at <= until {
		e := heap.Pop(&c.queue).(*event)
		if e.do != nil {
			c.now = e.at
			e.do()
		}
	}
	c.now = max(c.now, until)
}

// time is virtual time as a date.
func (c *clock) time() time.Time { return epoch.Add(c.now) }

type events []*event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(*event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
