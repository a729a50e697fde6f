package transport

import (
	"net"
	"time"

	"clusterbackup/transport/internal/wire"
)

// writePatience is how long one write may be stuck before its connection is
// dead.
const writePatience = 30 * time.Second

// attention is how often a connection with something under way is looked at.
const attention = 5 * time.Second

func (c *conn) startChecks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.check = time.AfterFunc(min(c.o.idle, attention), c.checkUp)
	}
}

func (c *conn) stopChecks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.check != nil {
		c.check.Stop()
	}
}

// checkUp looks for signs of life, asks for one after some silence, and ends the
// connection when there is none.
func (c *conn) checkUp() {
	next, err := c.alive(time.Now())
	if err != nil {
		c.die(err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.check.Reset(next)
	}
}

// alive says when to look again, or why the connection is dead.
func (c *conn) alive(now time.Time) (next time.Duration, err error) {
	next = c.o.idle
	if at := c.out.writeStart.Load(); at != 0 {
		stuck := now.Sub(time.Unix(0, at))
		if stuck >= writePatience {
			return 0, fault(Unavailable, "peer %v takes nothing: a write is stuck for %v", c.nc.RemoteAddr(), stuck.Round(time.Second))
		}
		next = min(next, writePatience-stuck)
	} else {
		c.out.rest()
	}
	silent := now.Sub(time.Unix(0, c.lastRead.Load()))
	asked := c.pinged.Load()
	switch {
	case silent < c.o.idle:
		c.pinged.Store(0)
		next = min(next, c.o.idle-silent)
	case asked == 0:
		c.pinged.Store(now.UnixNano())
		c.out.steer(wire.Header{Type: wire.Ping}.Append(nil))
		c.out.flush(false)
		next = min(next, c.o.wait)
	default:
		left := c.o.wait - now.Sub(time.Unix(0, asked))
		if left <= 0 {
			return 0, fault(Unavailable, "peer %v gives no sign of life for %v", c.nc.RemoteAddr(), silent.Round(time.Millisecond))
		}
		next = min(next, left)
	}
	if c.load.Load() > 0 {
		next = min(next, attention)
	}
	return max(next, time.Millisecond), nil
}

// pong is the answer to a ping.
func (c *conn) pong(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.pongs[id]; ch != nil {
		close(ch)
		delete(c.pongs, id)
	}
}

// tune sets what sockets are best set to.
func tune(nc net.Conn) {
	for {
		t, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = t.NetConn()
	}
	if t, ok := nc.(*net.TCPConn); ok {
		t.SetNoDelay(true)
		limitUnsent(t)
	}
}
