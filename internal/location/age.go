package location

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// What is kept for a time must lie there for that time. The wall clock alone doesn't tell: a host without a battery starts in the
// past and is put right by its network, another starts in 2099; and a disk that was in a drawer for longer than the retention is
// plugged in, as a rule, because somebody wants what is on it. So steps of the wall clock that the host's uptime does not confirm,
// and time in which nobody looked but for one day, are not counted.
const (
	maxStep  = 5 * time.Minute
	maxAway  = 24 * time.Hour
	seenEach = time.Hour
)

var keyAge = []byte("age")

// age is the location's clock of retention: the wall clock less what was skipped.
type age struct {
	skipped time.Duration
	seen    time.Time     // the wall clock at the latest look
	up      time.Duration // the uptime then
	begun   bool          // there was a look since the location was opened
	noted   time.Time     // the seen that is in the index
}

// AgingTime is now by the clock by which retention runs, for Expire. It is to be called every few minutes while the location is open.
func (l *Location) AgingTime() (time.Time, error) {
	leave, err := l.enter()
	if err != nil {
		return time.Time{}, err
	}
	defer leave()
	l.keptMu.Lock()
	defer l.keptMu.Unlock()
	a := &l.age
	if !a.begun {
		if err := l.readAge(); err != nil {
			return time.Time{}, err
		}
	}
	before := a.skipped
	a.look(l.cfg.Clock(), l.cfg.Uptime())
	if a.skipped != before || a.noted.IsZero() || a.seen.Sub(a.noted).Abs() >= seenEach {
		if err := l.noteAge(); err != nil {
			return time.Time{}, err
		}
	}
	return a.seen.Add(-a.skipped), nil
}

// look lets time pass.
func (a *age) look(wall time.Time, up time.Duration) {
	wall = wall.Round(0) // without Go's monotonic reading: steps are what is looked for
	if !a.seen.IsZero() {
		passed := wall.Sub(a.seen)
		confirmed := max(0, min(passed, maxAway))
		if a.begun {
			confirmed = up - a.up
		}
		if step := passed - confirmed; step.Abs() > maxStep {
			a.skipped = max(0, a.skipped+step)
		}
	}
	a.seen, a.up, a.begun = wall, up, true
}

func (l *Location) readAge() error {
	return l.db.View(func(tx *bbolt.Tx) error {
		r := reader{b: tx.Bucket(bucketMeta).Get(keyAge)}
		if len(r.b) == 0 {
			return nil
		}
		skipped, seen := r.varint(), r.varint()
		l.age.skipped, l.age.seen = time.Duration(skipped)*time.Second, time.Unix(seen, 0)
		return r.done()
	})
}

func (l *Location) noteAge() error {
	value := binary.AppendVarint(binary.AppendVarint(nil, int64(l.age.skipped/time.Second)), l.age.seen.Unix())
	if err := l.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyAge, value) }); err != nil {
		return fmt.Errorf("note the age of location %s: %w", l.cfg.Name, err)
	}
	l.age.noted = l.age.seen
	return nil
}
