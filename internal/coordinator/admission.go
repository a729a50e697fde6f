package coordinator

import (
	"time"

	v1 "clusterbackup/api/v1"
)

// admission bounds how many hosts copy from the source at once: as long as one more raises the rate at which all of them copy, and no
// further. More would only make each of them slower, while other sources, from which they could copy, stand idle. It finds the bound by
// trying: now and then it lets a few more in, and stays with them if that pays.
type admission struct {
	most    int // hosts at once; 0: leastAdmitted
	tried   int // how many more than most are let in to see whether it pays; 0: none
	since   time.Time
	batches int     // that were confirmed since
	bytes   int64   // in them
	waited  bool    // somebody was refused since
	rate    float64 // bytes a second, with most
	pause   int     // for how many windows nothing is tried
	idle    int     // how many of them are over
}

const (
	leastAdmitted = 4
	pays          = 1.15 // by which factor the rate must rise for more hosts to be worth it
	longestPause  = 32
)

// limit is how many hosts may copy at once now.
func (a *admission) limit() int { return max(a.most, leastAdmitted) + a.tried }

// confirmed notes that a batch came to its end. A window of time is over when each of those that may copy has ended two.
func (a *admission) confirmed(bytes int64, now time.Time) {
	if a.since.IsZero() {
		a.since = now
		return
	}
	a.batches++
	a.bytes += bytes
	if elapsed := now.Sub(a.since).Seconds(); a.batches >= 2*a.limit() && elapsed > 0 {
		a.judge(float64(a.bytes) / elapsed)
		a.since, a.batches, a.bytes, a.waited = now, 0, 0, false
	}
}

// judge looks at the window that is over.
func (a *admission) judge(rate float64) {
	switch {
	case !a.waited: // there was nobody more to let in
		a.tried = 0
	case a.tried > 0 && rate >= pays*a.rate:
		a.most, a.rate, a.pause, a.idle = a.limit(), rate, 0, 0
		a.tried = a.most / 2
	case a.tried > 0:
		a.tried = 0
		a.pause, a.idle = min(max(2*a.pause, 2), longestPause), 0
	case a.idle < a.pause:
		a.idle++
		a.rate = rate
	default:
		a.rate = rate
		a.tried = a.limit() / 2
	}
}

// admits tells whether a host may copy now: it does already, or there is a place for one more. The caller holds c.mu.
func (c *Coordinator) admits(name v1.HostName) bool {
	if c.claims.byHost[name].files > 0 || len(c.claims.byHost) < c.admission.limit() {
		return true
	}
	c.admission.waited = true
	return false
}
