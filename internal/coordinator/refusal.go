package coordinator

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// refusals remember which location could not copy which file, so that it is not given to it again at once and the others,
// its host's own among them, come to their turn. They are in memory, and bounded.
type refusals struct {
	until map[refusalKey]refusal
}

type refusalKey struct {
	key catalog.Key
	at  catalog.Holder
}

type refusal struct {
	until time.Time
	pause time.Duration
}

const (
	maxRefusals = 20000
	firstPause  = 30 * time.Second
	longPause   = time.Hour
)

func (r *refusals) refused(key catalog.Key, at catalog.Holder, now time.Time) bool {
	x, ok := r.until[refusalKey{key, at}]
	return ok && now.Before(x.until)
}

// add keeps the file from the location for a time.
func (r *refusals) add(key catalog.Key, at catalog.Holder, now time.Time, pause time.Duration) {
	if r.until == nil {
		r.until = make(map[refusalKey]refusal)
	}
	if len(r.until) >= maxRefusals {
		r.expire(now)
	}
	if len(r.until) < maxRefusals {
		r.until[refusalKey{key, at}] = refusal{until: now.Add(pause), pause: pause}
	}
}

// hold keeps the file from the location for a time that is no measure of how often it failed there.
func (r *refusals) hold(key catalog.Key, at catalog.Holder, now time.Time, pause time.Duration) {
	if x, ok := r.until[refusalKey{key, at}]; ok {
		x.until = now.Add(pause)
		r.until[refusalKey{key, at}] = x
		return
	}
	r.add(key, at, now, pause)
}

// fail is add with a pause that doubles each time.
func (r *refusals) fail(key catalog.Key, at catalog.Holder, now time.Time) {
	pause := firstPause
	if x, ok := r.until[refusalKey{key, at}]; ok {
		pause = min(max(2*x.pause, firstPause), longPause)
	}
	r.add(key, at, now, pause)
}

// stuckFrom is how long a pause must be for a location to be taken to be stuck with a file: it failed at it more than once, or has no
// room for it.
const stuckFrom = 2 * firstPause

// stuck tells whether a location keeps failing at a file. What it has of it does not keep others from being given the file.
func (r *refusals) stuck(key catalog.Key, at catalog.Holder) bool {
	return r.until[refusalKey{key, at}].pause >= stuckFrom
}

// stuckKeys lists the files that some location keeps failing at.
func (r *refusals) stuckKeys() (keys []catalog.Key) {
	seen := make(map[catalog.Key]bool)
	for k, x := range r.until {
		if x.pause >= stuckFrom && !seen[k.key] {
			seen[k.key] = true
			keys = append(keys, k.key)
		}
	}
	return keys
}

func (r *refusals) clear(key catalog.Key, at catalog.Holder) { delete(r.until, refusalKey{key, at}) }

// expire forgets those that are over for so long that the next failure is a new matter.
func (r *refusals) expire(now time.Time) (ended bool) {
	for k, x := range r.until {
		ended = ended || now.After(x.until)
		if now.Sub(x.until) > x.pause {
			delete(r.until, k)
		}
	}
	return ended
}

// barred tells whether a host is not to be meant for a file: a location of it just failed at it, and no other could take it.
// The caller holds c.mu.
func (c *Coordinator) barred(name v1.HostName, m catalog.Member, now time.Time) (failed bool) {
	h := c.hosts[name]
	if h == nil || len(c.refusals.until) == 0 {
		return false
	}
	info, _ := c.info(name)
	for at, l := range h.locations {
		switch {
		case c.refusals.refused(m.Key, catalog.Holder{Host: name, Location: at}, now):
			failed = true
		case l.open(info) && l.largest() >= m.Size:
			return false
		}
	}
	return failed
}

// problems are what people should know of single files: the first hundred, and how many there are.
type problems struct {
	byKey map[string]v1.Problem
	more  int64
}

const maxProblems = 100

func problemKey(path string, host v1.HostName) string { return string(host) + "\x00" + path }

func (p *problems) add(n v1.Problem) {
	if p.byKey == nil {
		p.byKey = make(map[string]v1.Problem)
	}
	key := problemKey(n.Path, n.Host)
	if _, known := p.byKey[key]; !known && len(p.byKey) >= maxProblems {
		p.more++
		return
	}
	p.byKey[key] = n
}

func (p *problems) clear(path v1.RelPath, host v1.HostName) {
	if len(p.byKey) == 0 {
		p.more = 0
		return
	}
	delete(p.byKey, problemKey(quote(path), host))
}

// quote is the path as it is shown.
func quote(path v1.RelPath) string {
	s := string(path)
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// clip bounds what a peer says.
func clip(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
