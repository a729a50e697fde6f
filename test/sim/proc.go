package sim

import (
	"iter"
	"time"
)

// proc is a simulated process: a coroutine that runs until it waits for something, and ends when it is killed.
type proc struct {
	clock *clock
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	dead  bool
	wakes int // grows with each wait, so that a late wake-up of an earlier one is told apart
}

type killed struct{}

// start runs body as a process, first now.
func start(c *clock, body func(*proc)) *proc {
	p := &proc{clock: c}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil && r != (killed{}) {
				panic(r)
			}
		}()
		p.yield = yield
		body(p)
	})
	c.after(0, p.resume)
	return p
}

func (p *proc) resume() {
	if !p.dead {
		if _, more := p.next(); !more {
			p.dead = true
		}
	}
}

// kill ends the process where it waits. It must not be called by the process itself.
func (p *proc) kill() {
	if !p.dead {
		p.dead = true
		p.stop()
	}
}

// pause waits until the function handed to arm is called, once.
func (p *proc) pause(arm func(wake func())) {
	p.wakes++
	mine := p.wakes
	arm(func() {
		if p.wakes == mine {
			p.wakes++
			p.resume()
		}
	})
	if !p.yield(struct{}{}) {
		panic(killed{})
	}
}

// sleep waits that long.
func (p *proc) sleep(d time.Duration) {
	p.pause(func(wake func()) { p.clock.after(d, wake) })
}

// sleepUntilNudged waits that long, or until the returned bell rings.
func (p *proc) sleepUntilNudged(d time.Duration, b *bell) {
	p.pause(func(wake func()) {
		p.clock.after(d, wake)
		b.wake = wake
	})
	b.wake = nil
}

// bell wakes one process early.
type bell struct{ wake func() }

// ring wakes the process that sleeps by the bell, if any, soon.
func (b *bell) ring(c *clock) {
	if wake := b.wake; wake != nil {
		b.wake = nil
		c.after(time.Millisecond, wake)
	}
}

// mutex is a lock between processes.
type mutex struct {
	held  bool
	queue []func()
}

func (m *mutex) lock(p *proc) {
	for m.held {
		p.pause(func(wake func()) { m.queue = append(m.queue, wake) })
	}
	m.held = true
}

func (m *mutex) unlock(c *clock) {
	m.held = false
	queue := m.queue
	m.queue = nil
	for _, wake := range queue {
		c.after(0, wake)
	}
}
