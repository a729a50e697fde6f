package main

import (
	"crypto/tls"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what is sent, by how many at once.
type load struct {
	name    string
	size    int // bytes of payload; 0 is records
	callers int
	secure  bool
}

func (l load) String() string {
	kind := "plain"
	if l.secure {
		kind = "TLS"
	}
	return fmt.Sprintf("%s × %d, %s", l.name, l.callers, kind)
}

// result is the outcome of one run.
type result struct {
	rate     float64 // requests a second
	p50, p99 time.Duration
	allocs   float64 // a request, on both sides
}

// run measures one library under one load for a while.
func run(name string, l load, dir string, lasting time.Duration) (result, error) {
	srv, err := start(name, l.secure, "", dir)
	if err != nil {
		return result{}, err
	}
	defer srv.stop()
	c, err := dial(name, srv.addr, l.secure, dir, l.callers)
	if err != nil {
		return result{}, err
	}
	defer c.close()
	send := sender(c, l)
	if _, _, err := repeat(send, l.callers, lasting/4); err != nil { // to warm up
		return result{}, err
	}
	before, _, err := srv.usage()
	if err != nil {
		return result{}, err
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	own := m.Mallocs
	all, took, err := repeat(send, l.callers, lasting)
	if err != nil {
		return result{}, err
	}
	runtime.ReadMemStats(&m)
	after, _, err := srv.usage()
	if err != nil {
		return result{}, err
	}
	return result{
		rate:   float64(len(all)) / took.Seconds(),
		p50:    all[len(all)/2],
		p99:    all[len(all)*99/100],
		allocs: float64(m.Mallocs-own+after-before) / float64(len(all)),
	}, nil
}

func dial(name, addr string, secure bool, dir string, callers int) (client, error) {
	var cfg *tls.Config
	if secure {
		var err error
		if cfg, err = config(dir, false); err != nil {
			return nil, err
		}
	}
	return peers[name].dial(addr, cfg, callers)
}

func sender(c client, l load) func(i int) error {
	if l.size == 0 {
		rs := someRecords(500)
		return func(i int) error { return c.report(i, rs) }
	}
	p := make([]byte, l.size)
	return func(i int) error { return c.echo(i, p) }
}

// repeat has callers send for a while, and returns how long each exchange took,
// the shortest first.
func repeat(send func(int) error, callers int, lasting time.Duration) (all []time.Duration, took time.Duration, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var over atomic.Bool
	begun := time.Now()
	for i := range callers {
		wg.Go(func() {
			var mine []time.Duration
			var failed error
			for !over.Load() && failed == nil {
				t := time.Now()
				failed = send(i)
				mine = append(mine, time.Since(t))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
			if failed != nil {
				err = failed
			}
		})
	}
	time.Sleep(lasting)
	over.Store(true)
	wg.Wait()
	slices.Sort(all)
	return all, time.Since(begun), err
}

// best of several runs, figure by figure: what else runs on the machine can only
// make them worse.
func best(rs []result) result {
	b := rs[0]
	for _, r := range rs[1:] {
		b.rate = max(b.rate, r.rate)
		b.p50 = min(b.p50, r.p50)
		b.p99 = min(b.p99, r.p99)
		b.allocs = min(b.allocs, r.allocs)
	}
	return b
}

// mixed is how small requests fare beside large ones on one connection.
type mixed struct {
	small time.Duration // their middle
	bulk  float64       // megabytes a second of the others, one way
}

// runMixed has one caller send 100 bytes at a time while four send a megabyte.
func runMixed(name string, secure bool, dir string, lasting time.Duration) (mixed, error) {
	srv, err := start(name, secure, "", dir)
	if err != nil {
		return mixed{}, err
	}
	defer srv.stop()
	c, err := dial(name, srv.addr, secure, dir, 5)
	if err != nil {
		return mixed{}, err
	}
	defer c.close()
	small, large := make([]byte, 100), make([]byte, 1<<20)
	var count atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for !over.Load() && c.echo(i, large) == nil {
				count.Add(1)
			}
		})
	}
	all, took, err := repeat(func(int) error { return c.echo(4, small) }, 1, lasting)
	n := count.Load()
	over.Store(true)
	wg.Wait()
	if err != nil {
		return mixed{}, err
	}
	return mixed{small: all[len(all)/2], bulk: float64(n) / took.Seconds()}, nil
}

// runIdle is the memory of a server for each of many connections that rest.
func runIdle(name string, secure bool, dir string) (float64, error) {
	const n = 1000
	srv, err := start(name, secure, "", dir)
	if err != nil {
		return 0, err
	}
	defer srv.stop()
	warm, err := dial(name, srv.addr, secure, dir, 1)
	if err != nil {
		return 0, err
	}
	defer warm.close()
	if err := warm.echo(0, make([]byte, 1<<10)); err != nil {
		return 0, err
	}
	_, before, err := srv.usage()
	if err != nil {
		return 0, err
	}
	for range n {
		c, err := dial(name, srv.addr, secure, dir, 1)
		if err != nil {
			return 0, err
		}
		defer c.close()
		if err := c.echo(0, make([]byte, 1<<10)); err != nil {
			return 0, err
		}
	}
	_, after, err := srv.usage()
	return float64(after-before) / n, err
}
