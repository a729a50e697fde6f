package sim

import (
	"fmt"
	"time"

	v1 "clusterbackup/api/v1"
)

// host is a machine: a disk with a location, and the processes that look after it.
type host struct {
	w         *world
	name      v1.HostName
	location  v1.LocationName
	site      string
	up        bool
	side      int           // of a split network
	skew      time.Duration // of its clock
	draining  bool
	disk      *disk
	downRate  float64
	downloads int
	session   uint64
	sources   []*source // of its own
	clients   []*client
	keeper    *proc
	calls     map[*call]bool
}

func (w *world) addHost(i int, capacity int64) *host {
	h := &host{w: w, name: v1.HostName(fmt.Sprintf("h%02d", i)), site: fmt.Sprintf("site%d", i), disk: newDisk(capacity),
		downRate: w.cfg.Rate, calls: make(map[*call]bool)}
	h.location = v1.LocationName(h.name + "-disk")
	w.hosts = append(w.hosts, h)
	w.byName[h.name] = h
	return h
}

// start begins the host's processes: coordinators of its sources, and a client for each other source.
func (h *host) start() {
	h.up = true
	h.session++
	for _, s := range h.sources {
		s.open()
	}
	for _, s := range h.w.sources {
		if s.host != h && h.disk.capacity > 0 {
			h.clients = append(h.clients, newClient(h, s))
		}
	}
	h.keeper = start(&h.w.clock, h.keep)
}

// stop ends them.
func (h *host) stop() {
	if !h.up {
		return
	}
	h.up = false
	h.forget()
	for _, c := range h.clients {
		c.stop()
	}
	h.clients = nil
	h.keeper.kill()
	for _, s := range h.sources {
		s.close()
	}
	h.disk.reserved = 0
	h.w.net.cut()
}

// keep lets go of versions when their time is over, by the host's own clock.
func (h *host) keep(p *proc) {
	for {
		h.disk.expire(h.w.clock.now)
		p.sleep(h.w.spread(6 * time.Hour))
	}
}

// starving is how many bytes of room sources lack here. One that fills the room with more replicas than it must counts too.
func (h *host) starving() (bytes int64) {
	for _, c := range h.clients {
		bytes += c.wanted
	}
	return bytes
}

// toRelieve is how many bytes of a source are wanted elsewhere so that others find room here: what they lack, less what
// other sources have taken on already.
func (h *host) toRelieve(s *source) int64 {
	bytes := h.starving()
	for _, c := range h.clients {
		if c.to == s {
			bytes -= c.wanted // its own coordinator sees to that
		} else {
			bytes -= c.accepted
		}
	}
	return max(bytes, 0)
}
