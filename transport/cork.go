package transport

import (
	"net"
	"sync"
)

// cork is a connection under TLS whose writes can be gathered: TLS writes a
// record of 16 KiB at a time, and a system call for each is dear.
type cork struct {
	net.Conn
	mu  sync.Mutex // TLS may write by itself, such as an alert
	on  bool
	buf []byte
}

// corks are buffers for that; a resting connection holds none.
var corks = sync.Pool{New: func() any { b := make([]byte, 0, 80<<10); return &b }}

// NetConn returns the connection below.
func (c *cork) NetConn() net.Conn { return c.Conn }

// Write writes, or gathers.
func (c *cork) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on {
		c.buf = append(c.buf, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// through writes p by way of w, and what that makes of it in one piece.
func (c *cork) through(w net.Conn, p []byte) (int, error) {
	b := corks.Get().(*[]byte)
	defer corks.Put(b)
	c.mu.Lock()
	c.on, c.buf = true, (*b)[:0]
	c.mu.Unlock()
	n, err := w.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	gathered := c.buf
	c.on, c.buf, *b = false, nil, gathered[:0]
	if len(gathered) > 0 {
		if _, werr := c.Conn.Write(gathered); err == nil {
			err = werr
		}
	}
	return n, err
}

// corkOf returns the cork below nc, if there is one.
func corkOf(nc net.Conn) *cork {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		k, _ := t.NetConn().(*cork)
		return k
	}
	return nil
}
