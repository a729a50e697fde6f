package location

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// What is kept for a time must lie there for that time, and not for ever. The wall clock doesn't tell: a host without a battery starts in
// the past and is put right by its network, another starts in 2099; and a disk that was in a drawer for longer than the retention is
// plugged in, as a rule, because somebody wants what is on it. So retention runs by a clock of its own, and what is kept has the
// beginning and the end of it in that clock's time.
const (
	maxAway  = 24 * time.Hour
	seenEach = time.Hour
)

var keyAge = []byte("age")

// age is the location's clock of retention:
//
//   - It begins with what the wall clock says when it is looked at first, and never goes back.
//   - While the location is open it grows by the host's uptime, whatever is done to the wall clock.
//   - From one opening to the next it grows by how much later the wall clock is than it ever was, but for one day.
type age struct {
	mu     sync.Mutex
	now    time.Time     // by this clock, at the latest look
	up     time.Duration // the uptime then
	wall   time.Time     // the latest the wall clock ever was
	opened time.Duration // the uptime when the location was opened
	noted  time.Time     // the now at which AgingTime wrote it down last
}

// AgingTime is now by the clock by which retention runs, for Expire. It is to be called every few minutes while the location is open.
func (l *Location) AgingTime() (time.Time, error) {
	leave, err := l.enter()
	if err != nil {
		return time.Time{}, err
	}
	defer leave()
	now := l.aging()
	if l.age.due(now) {
		l.believeClock()
		if err := l.db.Update(l.stampClock); err != nil {
			return time.Time{}, fmt.Errorf("note the age of location %s: %w", l.cfg.Name, err)
		}
	}
	return now, nil
}

// due tells whether the clock is to be written down, though nothing else is.
func (a *age) due(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.noted) < seenEach {
		return false
	}
	a.noted = now
	return true
}

// aging lets time pass.
func (l *Location) aging() time.Time {
	a := &l.age
	a.mu.Lock()
	defer a.mu.Unlock()
	up := l.cfg.Uptime()
	a.now, a.up = a.now.Add(max(0, up-a.up)), max(a.up, up)
	a.see(l.cfg.Clock())
	return a.now
}

func (a *age) see(wall time.Time) {
	if wall = wholeSecond(wall); wall.After(a.wall) {
		a.wall = wall
	}
}

// wholeSecond is the time in seconds, as it is written down, that is never too early.
func wholeSecond(t time.Time) time.Time { return time.Unix(t.Add(time.Second-1).Unix(), 0) }

// EndOf is a time of the clock of retention by the wall clock, as far as can be told now.
func (l *Location) EndOf(until time.Time) time.Time {
	return l.cfg.Clock().Add(until.Sub(l.aging()))
}

// believeClock gives up the latest time that the wall clock ever said, for the names of versions, if it is far behind that and had a day
// to be put right.
func (l *Location) believeClock() {
	latest, wall := l.clock.Load(), l.cfg.Clock()
	l.age.mu.Lock()
	open := l.age.up - l.age.opened
	l.age.mu.Unlock()
	if open > maxAway && time.Unix(latest, 0).Sub(wall) > maxAway {
		l.clock.CompareAndSwap(latest, wall.Unix())
	}
}

// startAge goes on from where the clock was when the location was open last. What it says now is written down with what is set aside.
func (l *Location) startAge(tx *bbolt.Tx) error {
	a, wall := &l.age, l.cfg.Clock()
	a.up = l.cfg.Uptime()
	a.opened, a.now = a.up, wall.Round(0) // without Go's monotonic reading
	defer a.see(wall)
	r := reader{b: tx.Bucket(bucketMeta).Get(keyAge)}
	if len(r.b) == 0 {
		return nil
	}
	skipped, seen := r.varint(), r.varint()
	a.wall = time.Unix(seen, 0)
	a.now = time.Unix(seen-skipped, 0).Add(max(0, min(wall.Sub(a.wall), maxAway)))
	return r.done()
}

// putAge writes the clock down: by how much the wall clock was later when it was at its latest, and when that was.
func (l *Location) putAge(tx *bbolt.Tx) error {
	now := l.aging().Unix()
	l.age.mu.Lock()
	seen := l.age.wall.Unix()
	l.age.mu.Unlock()
	return tx.Bucket(bucketMeta).Put(keyAge, binary.AppendVarint(binary.AppendVarint(nil, seen-now), seen))
}
