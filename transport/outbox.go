package transport

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"clusterbackup/transport/internal/wire"
)

// Sizes of writing.
const (
	urgentBody  = 16 << 10 // a message up to here goes out whole, before all bulk
	quantum     = 64 << 10 // of bulk in one write; what is urgent waits for no more
	inlineLimit = 64 << 10 // unanswered bytes up to which a write can't block for long
	inlineTurns = 8        // after so many writes for others a caller hands over
	keepBuffer  = 4 << 10  // a larger buffer is given back when its connection rests
	maxSteering = 4 << 20  // of answers that the peer does not read
)

// outbox is the sending half of a connection: whatever is to be written gathers
// here, and one goroutine at a time, mostly a caller, writes it.
//
// Two queues: urgent holds encoded frames, small messages and those that steer;
// bulk holds messages that are cut into frames as their turn comes, in turns.
//
// Credit: balance is how many body bytes the peer still takes. Whole messages
// may overdraw it, so that messages that are begun are also ended: one at a
// time, the oldest; the next when the debt is paid. Streams never do, and have a
// credit each besides.
type outbox struct {
	c *conn

	mu        sync.Mutex
	urgent    []byte
	queued    uint64 // urgent bytes ever queued
	taken     uint64 // of these, handed to the socket
	bulk      []*outgoing
	turn      int // index in bulk of whose turn it is
	writing   bool
	closed    bool
	balance   int64
	stream    int64 // credit that a stream begins with
	overdrawn *outgoing
	ended     []uint64 // replies whose last frame was taken, to be told to the side

	finals     atomic.Int32 // replies' last frames that are queued and not handed over
	unanswered atomic.Int64 // bytes written since anything was read
	writeStart atomic.Int64 // when the write under way began, Unix nanoseconds; 0 if none
}

// outgoing is a message that is sent in several frames.
type outgoing struct {
	typ   wire.Type
	flags wire.Flags
	codec uint16
	id    uint64
	body  []byte // what is left; of a stream, what waits
	begun bool   // a byte was handed to the socket

	// of a stream
	credit int64
	eof    bool
	fail   []byte        // payload of the Failure that ends it instead of a last frame
	dead   bool          // nobody wants it any more
	room   chan struct{} // holds a token when body shrank or dead was set
}

func (m *outgoing) stream() bool { return m.flags&wire.Stream != 0 }

// wake lets the stream's producer look again.
func (m *outgoing) wake() {
	if m.room == nil {
		return
	}
	select {
	case m.room <- struct{}{}:
	default:
	}
}

// begin queues a message's first frame and returns what is left of it, nil if
// nothing is. at is where the frame stands among the urgent bytes.
func (o *outbox) begin(typ wire.Type, id uint64, env *wire.Envelope, p *parcel, flags wire.Flags) (m *outgoing, at uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at = o.queued
	h := wire.Header{Type: typ, Flags: wire.First | flags, Codec: p.codec, ID: id}
	body := p.body
	if p.src != nil {
		h.Flags |= wire.Stream
		body = nil
	} else if n := int64(len(body)); n <= urgentBody && n <= o.balance {
		o.balance -= n
		h.Flags |= wire.Last
	} else {
		env.Total = uint64(n)
		body = nil
	}
	start := len(o.urgent)
	o.urgent = env.Append(h.Append(o.urgent))
	o.urgent = append(o.urgent, body...)
	h.Len = uint32(len(o.urgent) - start - wire.HeaderLen)
	h.Append(o.urgent[start:start])
	o.queued += uint64(len(o.urgent) - start)
	if h.Flags&wire.Last != 0 {
		if typ == wire.Reply {
			o.finals.Add(1)
		}
		return nil, at
	}
	m = &outgoing{typ: typ, flags: h.Flags & wire.Stream, codec: p.codec, id: id, body: p.body}
	if m.stream() {
		m.credit = o.stream
		m.room = make(chan struct{}, 1)
	}
	m.dead = o.closed
	o.bulk = append(o.bulk, m)
	return m, at
}

// steer queues a frame that is not part of a message. False: the peer does not
// read, and enough is waiting.
func (o *outbox) steer(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queue(frame)
}

func (o *outbox) queue(frame []byte) bool {
	o.urgent = append(o.urgent, frame...)
	o.queued += uint64(len(frame))
	return len(o.urgent) < maxSteering
}

// failure queues the end of exchange id with an error.
func (o *outbox) failure(id uint64, code Code, msg string) bool {
	if code == "" {
		code = Failed
	}
	p := wire.AppendFailure(nil, string(code), msg)
	frame := append(wire.Header{Type: wire.Failure, Len: uint32(len(p)), ID: id}.Append(nil), p...)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finals.Add(1)
	return o.queue(frame)
}

// drop forgets a message whose receiver is gone.
func (o *outbox) drop(m *outgoing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m.dead = true
	m.wake()
	if i := slices.Index(o.bulk, m); i >= 0 {
		o.remove(i)
	}
}

func (o *outbox) remove(i int) {
	o.bulk = slices.Delete(o.bulk, i, i+1)
	if o.turn > i {
		o.turn--
	}
}

// greet replaces the windows that every peer has by those that this one has.
func (o *outbox) greet(p wire.Preface) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.balance += int64(p.Window) - wire.MinWindow
	if o.balance >= 0 {
		o.overdrawn = nil
	}
	for _, m := range o.bulk {
		m.credit += int64(p.StreamWindow) - o.stream
	}
	o.stream = int64(p.StreamWindow)
}

// addCredit books credit the peer gave, for the stream id or (0) the connection.
func (o *outbox) addCredit(id uint64, n int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id == 0 {
		o.balance += n
		if o.balance >= 0 {
			o.overdrawn = nil
		}
		return o.balance <= wire.MaxCredit
	}
	for _, m := range o.bulk {
		if m.id == id && m.stream() {
			m.credit += n
			return m.credit <= wire.MaxCredit
		}
	}
	return true // it ended meanwhile
}

// pick chooses the message whose turn it is among those that may send, and how
// many bytes of it.
func (o *outbox) pick() (i, n int) {
	oldest := slices.IndexFunc(o.bulk, func(m *outgoing) bool { return !m.stream() })
	for k := range o.bulk {
		i := (o.turn + k) % len(o.bulk)
		if n := o.allowed(o.bulk[i], i == oldest); n >= 0 {
			return i, n
		}
	}
	return -1, 0
}

// ready reports whether some of bulk may be sent.
func (o *outbox) ready() bool {
	if len(o.bulk) == 0 {
		return false
	}
	i, _ := o.pick()
	return i >= 0
}

// allowed is how many bytes of m may be sent now, -1 if it has to wait.
func (o *outbox) allowed(m *outgoing, oldest bool) int {
	n := min(len(m.body), wire.MaxPayload)
	if m.stream() {
		if n == 0 && m.eof {
			return 0
		}
		n = int(min(int64(n), m.credit, o.balance))
		if n <= 0 {
			return -1
		}
		return n
	}
	switch {
	case n == 0, int64(n) <= o.balance:
	case o.balance >= 0 && oldest, o.overdrawn == m:
		o.overdrawn = m
	default:
		return -1
	}
	return n
}

// take appends what is to be written next to b; nothing when all is written or
// has to wait for credit.
func (o *outbox) take(b []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		o.writing = false
		return nil
	}
	if len(o.urgent) > 0 {
		b, o.urgent = append(b, o.urgent...), o.urgent[:0]
		o.taken = o.queued
		o.finals.Store(0)
	}
	for len(b) < quantum && len(o.bulk) > 0 {
		i, n := o.pick()
		if i < 0 {
			break
		}
		b = o.cut(i, n, b)
	}
	if o.writing = len(b) > 0; !o.writing {
		return nil
	}
	return b
}

// cut appends the next frame of bulk[i], with n bytes of it, to b.
func (o *outbox) cut(i, n int, b []byte) []byte {
	m := o.bulk[i]
	h := wire.Header{Type: m.typ, Flags: m.flags, Codec: m.codec, Len: uint32(n), ID: m.id}
	last := n == len(m.body) && (m.eof || !m.stream())
	if last && m.fail == nil {
		h.Flags |= wire.Last
	}
	if n > 0 || last && m.fail == nil {
		b = append(h.Append(b), m.body[:n]...)
	}
	if last && m.fail != nil {
		b = wire.Header{Type: wire.Failure, Len: uint32(len(m.fail)), ID: m.id}.Append(b)
		b = append(b, m.fail...)
	}
	o.balance -= int64(n)
	m.begun = true
	if m.stream() {
		m.credit -= int64(n)
		m.body = m.body[:copy(m.body, m.body[n:])]
		m.wake()
	} else {
		m.body = m.body[n:]
	}
	o.turn = i + 1
	if last {
		o.remove(i)
		if m.typ == wire.Reply {
			o.ended = append(o.ended, m.id)
		}
	}
	return b
}

// flush sees to it that what is queued gets written: by whoever writes already,
// by the caller if that can't take long, else by a goroutine.
func (o *outbox) flush(inline bool) {
	o.mu.Lock()
	if o.writing || o.closed || len(o.urgent) == 0 && !o.ready() {
		o.mu.Unlock()
		return
	}
	o.writing = true
	inline = inline && len(o.bulk) == 0 && o.unanswered.Load()+int64(len(o.urgent)) <= inlineLimit
	o.mu.Unlock()
	if !inline {
		o.handOver()
		return
	}
	if o.c.load.Load() > 1 {
		runtime.Gosched() // others are about to add theirs
	}
	if !o.write(inlineTurns) {
		o.handOver()
	}
}

func (o *outbox) handOver() {
	o.c.spawn(func() { o.write(-1) })
}

// write writes until nothing is left (true) or for some turns (false).
func (o *outbox) write(turns int) bool {
	bp := buffers.Get().(*[]byte)
	b := (*bp)[:0]
	defer func() { *bp = b[:0]; buffers.Put(bp) }()
	for ; turns != 0; turns-- {
		batch := o.take(b[:0])
		if batch == nil {
			return true
		}
		b = batch
		o.tellEnded()
		o.unanswered.Add(int64(len(b)))
		o.writeStart.Store(time.Now().UnixNano())
		err := o.c.write(b)
		o.writeStart.Store(0)
		if err != nil {
			o.c.die(fault(Unavailable, "write to %v: %w", o.c.nc.RemoteAddr(), err))
			return true
		}
	}
	return false
}

// tellEnded tells which replies have gone.
func (o *outbox) tellEnded() {
	o.mu.Lock()
	ended := o.ended
	o.ended = nil
	o.mu.Unlock()
	for _, id := range ended {
		o.c.side.replied(id)
	}
}

// buffers are for writing; a resting connection holds none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 32<<10); return &b }}

// close drops everything and lets all producers know.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, m := range o.bulk {
		m.dead = true
		m.wake()
	}
	o.bulk = nil
}

// rest gives memory back while nothing is to be written.
func (o *outbox) rest() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.urgent) == 0 && cap(o.urgent) > keepBuffer {
		o.urgent = nil
	}
}

// unsent reports whether a frame queued at position at was not handed to the
// socket.
func (o *outbox) unsent(at uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return at >= o.taken
}
