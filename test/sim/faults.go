package sim

import (
	"fmt"
	"time"

	v1 "clusterbackup/api/v1"
)

// faults are what goes wrong in a world, each once in so long a time for each host or source; zero: never.
type faults struct {
	crash, wipe, unplug, split, jump, fill, flip, drain, restart, rollback, amnesia, unmount, act time.Duration
	change, grow, shrink                                                                          time.Duration
	loss, repeat, late, fail                                                                      float64
}

// allFaults is a bad but not a hopeless world.
func allFaults() faults {
	const day = 24 * time.Hour
	return faults{
		crash: 10 * day, wipe: 150 * day, unplug: 30 * day, split: 20 * day, jump: 40 * day, fill: 60 * day, flip: 30 * day, drain: 100 * day, restart: 15 * day,
		rollback: 60 * day, amnesia: 120 * day, unmount: 40 * day, act: 15 * day, change: 2 * day, grow: 4 * day, shrink: 5 * day,
		loss: 0.01, repeat: 0.01, late: 0.002, fail: 0.01,
	}
}

// chaos is the processes that make things go wrong, until they are called off.
type chaos struct {
	w     *world
	f     faults
	procs []*proc
}

func (w *world) unleash(f faults) *chaos {
	c := &chaos{w: w, f: f}
	w.net.loss, w.net.repeat, w.net.late, w.net.lateness = f.loss, f.repeat, f.late, 2*w.cfg.Poll
	w.failing = f.fail
	for _, h := range w.hosts {
		c.every(f.crash, func(p *proc) { c.crash(p, h, false) })
		c.every(f.wipe, func(p *proc) { c.crash(p, h, true) })
		c.every(f.unplug, func(p *proc) { c.unplug(p, h) })
		c.every(f.jump, func(*proc) { c.jump(h) })
		c.every(f.fill, func(p *proc) { c.fill(p, h) })
		c.every(f.flip, func(*proc) { c.flip(h) })
		c.every(f.drain, func(p *proc) { c.drain(p, h) })
	}
	c.every(f.split, c.split)
	for _, s := range w.sources {
		c.every(f.restart, func(p *proc) { c.restart(p, s, "restarts", func() {}) })
		c.every(f.rollback, func(p *proc) { c.rollback(p, s) })
		c.every(f.amnesia, func(p *proc) { c.amnesia(p, s) })
		c.every(f.unmount, func(p *proc) { c.unmount(p, s) })
		c.every(f.act, func(p *proc) { c.act(p, s) })
		c.every(f.act, func(p *proc) { c.act(p, s) }) // there may be two at once
		c.every(f.change, func(*proc) { c.change(s) })
		c.every(f.grow, func(*proc) { c.grow(s) })
		c.every(f.shrink, func(*proc) { c.shrink(s) })
	}
	return c
}

// every has something happen about once in mean, again and again.
func (c *chaos) every(mean time.Duration, do func(*proc)) {
	if mean == 0 {
		return
	}
	c.procs = append(c.procs, start(&c.w.clock, func(p *proc) {
		for {
			p.sleep(c.w.exponential(mean))
			c.w.stats.faults++
			do(p)
		}
	}))
}

// end calls everything off and mends what can be mended: hosts are up, the network whole, disks as large as ever.
func (c *chaos) end() {
	for _, p := range c.procs {
		p.kill()
	}
	w := c.w
	w.net.loss, w.net.repeat, w.net.late, w.failing = 0, 0, 0, 0
	for _, client := range w.actingClients(nil) {
		w.acting[client].end()
	}
	for _, h := range w.hosts {
		h.side, h.skew, h.disk.others, h.disk.away, h.draining = 0, 0, 0, false, false
		if !h.up {
			h.start()
		}
	}
	for _, s := range w.sources {
		s.away = false
		if s.coord == nil {
			s.open()
		}
	}
	for _, h := range w.hosts {
		h.verify()
	}
	w.say("faults end")
}

func (c *chaos) crash(p *proc, h *host, wipe bool) {
	if !h.up {
		return
	}
	h.stop()
	what := "crashes"
	if wipe {
		what = "crashes and loses its disk"
		for _, s := range c.w.sources {
			for path := range h.disk.replicas[s.name] {
				c.w.truth.destroyed(s, h, path)
			}
		}
		others := h.disk.others
		h.disk = newDisk(h, h.disk.capacity)
		h.disk.others = others
	}
	away := c.w.exponential(12 * time.Hour)
	if c.w.rng.IntN(5) == 0 {
		away = c.w.exponential(10 * c.w.cfg.RepairAfter)
	}
	c.w.say("%s %s, for %v", h.name, what, away.Round(time.Minute))
	p.sleep(away)
	if !h.up {
		h.start()
		c.w.say("%s is back", h.name)
	}
}

// unplug pulls a host's disk out, as likely as not for a moment, and puts it back.
func (c *chaos) unplug(p *proc, h *host) {
	h.disk.away = true
	c.w.say("%s's disk is pulled out", h.name)
	p.sleep([]time.Duration{time.Second, c.w.exponential(12 * time.Hour)}[c.w.rng.IntN(2)])
	h.disk.away = false
	c.w.say("%s's disk is there again", h.name)
}

func (c *chaos) jump(h *host) {
	h.skew = time.Duration(c.w.rng.Int64N(int64(4*time.Hour))) - 2*time.Hour
	c.w.say("%s's clock jumps to %v off", h.name, h.skew.Round(time.Second))
}

func (c *chaos) fill(p *proc, h *host) {
	h.disk.others = c.w.rng.Int64N(h.disk.capacity/4 + 1)
	c.w.say("somebody fills %s's disk with %s", h.name, v1Size(h.disk.others))
	p.sleep(c.w.exponential(3 * 24 * time.Hour))
	h.disk.others = 0
}

// drain has a host emptied, and calls that off in a few days.
func (c *chaos) drain(p *proc, h *host) {
	h.draining = true
	c.w.say("%s is to be drained", h.name)
	p.sleep(c.w.exponential(3 * 24 * time.Hour))
	h.draining = false
	c.w.say("%s is to be drained no more", h.name)
}

func (c *chaos) flip(h *host) {
	s := c.w.sources[c.w.rng.IntN(len(c.w.sources))]
	if path, ok := c.any(s); ok {
		if r := h.disk.get(s.name, path); r != nil && r.content == r.was {
			r.content = 1 << 60
			c.w.truth.destroyed(s, h, path)
			c.w.say("a bit of %s of %s flips on %s", path, s.name, h.name)
		}
	}
}

func (c *chaos) split(p *proc) {
	for _, h := range c.w.hosts {
		h.side = c.w.rng.IntN(2)
	}
	c.w.net.cut()
	c.w.say("the network splits")
	p.sleep(c.w.exponential(8 * time.Hour))
	for _, h := range c.w.hosts {
		h.side = 0
	}
	c.w.say("the network is whole")
}

// restart ends the coordinator's process alone, and begins another in a while.
func (c *chaos) restart(p *proc, s *source, what string, meanwhile func()) {
	if s.coord == nil {
		return
	}
	c.w.say("%s's coordinator %s", s.name, what)
	s.close()
	c.w.net.cut()
	meanwhile()
	p.sleep(c.w.exponential(time.Minute))
	if s.coord == nil && s.host.up {
		s.open()
	}
}

// rollback saves the catalog now and puts it back days later.
func (c *chaos) rollback(p *proc, s *source) {
	c.restart(p, s, "restarts, and its catalog is saved", s.saveCatalog)
	p.sleep(c.w.exponential(3 * 24 * time.Hour))
	if s.saved != "" {
		c.restart(p, s, "restarts with an old catalog", s.putBack)
	}
}

func (c *chaos) amnesia(p *proc, s *source) {
	c.restart(p, s, "restarts without its catalog", func() {
		s.catPath += "x"
		s.saved, s.lostAt, s.told = "", s.now(), make(map[*host]bool)
	})
}

func (c *chaos) unmount(p *proc, s *source) {
	s.away = true
	c.w.say("%s's tree is not there", s.name)
	p.sleep(c.w.exponential(6 * time.Hour))
	s.away = false
}

// act has a host act for a source, by a listing that may be old, whether the source's host is there or not.
func (c *chaos) act(p *proc, s *source) {
	h := c.w.hosts[c.w.rng.IntN(len(c.w.hosts))]
	if h == s.host || !h.up || s.listing == nil {
		return
	}
	a := c.w.act(h, s)
	if a == nil {
		return
	}
	p.sleep(c.w.exponential(3 * c.w.cfg.RepairAfter))
	a.end()
}

// any picks a file that is there.
func (c *chaos) any(s *source) (v1.RelPath, bool) {
	for range 10 {
		if path := s.names[c.w.rng.IntN(len(s.names))]; s.files[path] != nil {
			return path, true
		}
	}
	return "", false
}

func (c *chaos) change(s *source) {
	if path, ok := c.any(s); ok {
		size := s.files[path].entry.Size
		if c.w.rng.IntN(3) == 0 {
			size = c.w.rng.Int64N(30 << 20)
		}
		s.add(path, size)
		c.w.say("%s of %s changes", path, s.name)
	}
}

func (c *chaos) grow(s *source) {
	path := v1.RelPath(fmt.Sprintf("d%d/n%d", c.w.rng.IntN(4), len(s.names)))
	s.add(path, c.w.rng.Int64N(40<<20))
}

func (c *chaos) shrink(s *source) {
	if path, ok := c.any(s); ok {
		s.remove(path)
	}
}
