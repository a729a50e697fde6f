package transport

import (
	"fmt"

	"clusterbackup/transport/internal/wire"
)

// The receiving half of flow control. conn.mu is held in all of it. What a peer
// can make this side hold for one connection is bounded by the window, plus one
// message (the one that overdraws), plus the envelopes of requests in flight.

// charge books n bytes that arrived for in (nil: for nobody) and says whether
// the peer was allowed to send them.
func (c *conn) charge(in *incoming, n int64) error {
	before := c.balance
	c.balance -= n
	if in == nil {
		return nil
	}
	if in.stream() {
		in.balance -= n
		if in.balance < 0 || c.balance < 0 && n > 0 {
			return fmt.Errorf("stream %d exceeds its credit: %w", in.id, wire.ErrProtocol)
		}
		return nil
	}
	in.held += n
	switch {
	case c.balance >= 0 || n == 0:
	case before >= 0:
		c.overdrawn = in
	case c.overdrawn != in:
		return fmt.Errorf("message %d exceeds the connection's credit: %w", in.id, wire.ErrProtocol)
	}
	return nil
}

// consumed gives back what in holds. True: something is to be written.
func (c *conn) consumed(in *incoming) bool {
	n := in.held
	in.held = 0
	return c.discard(n)
}

// consumedStream gives back n bytes of a stream.
func (c *conn) consumedStream(in *incoming, n int64) bool {
	in.owed += n
	kick := c.discard(n)
	if in.owed >= int64(c.o.stream)/4 && in.err == nil {
		c.out.steer(wire.AppendCredit(nil, in.id, in.owed))
		in.balance += in.owed
		in.owed = 0
		kick = true
	}
	return kick
}

// discard gives back n bytes that nobody holds. The peer is told when it adds
// up, or when it has little left.
func (c *conn) discard(n int64) bool {
	c.owed += n
	if c.owed == 0 || c.owed < c.window/4 && c.balance >= c.window/4 {
		return false
	}
	if c.window == int64(c.o.window) && c.balance < c.window/8 {
		c.owed += c.window // under load, grow once
		c.window *= 2
	}
	c.out.steer(wire.AppendCredit(nil, 0, c.owed))
	c.balance += c.owed
	c.owed = 0
	return true
}

// discardLocked is discard for callers that can't write; the next flush does.
func (c *conn) discardLocked(n int64) {
	if c.discard(n) {
		c.spawn(func() { c.out.flush(true) })
	}
}
