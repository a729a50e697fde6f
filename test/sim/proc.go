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
		p.clock.as(p, func() {
			if _, more := p.next(); !more {
				p.dead = true
			}
		})
	}
}

// as has a process run for a moment.
func (c *clock) as(p *proc, do func()) {
	before := c.running
	c.running = p
	defer func() { c.running = before }()
	do()
}

// kill ends the process where it waits: what it has deferred runs, but for waiting once more. It must not be called by the
// process itself.
func (p *proc) kill() {
	if !p.dead {
		p.dead = true
		p.clock.as(p, p.stop)
	}
}

// pause waits until the function handed to arm is called, once.
func (p *proc) pause(arm func(wake func())) {
	if p.dead {
		panic(killed{})
	}
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

// lock is a lock between processes.
type lock struct {
	clock *clock
	held  bool
	queue []func()
}

// Lock implements sync.Locker.
func (l *lock) Lock() {
	for l.held {
		l.clock.running.pause(func(wake func()) { l.queue = append(l.queue, wake) })
	}
	l.held = true
}

// Unlock implements sync.Locker.
func (l *lock) Unlock() {
	l.held = false
	queue := l.queue
	l.queue = nil
	for _, wake := range queue {
		l.clock.after(0, wake)
	}
}
