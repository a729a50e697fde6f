package transport

import (
	"context"

	"clusterbackup/transport/internal/wire"
)

// state is how far a request is on the server.
type state uint8

const (
	waiting  state = iota // for more of it to arrive
	queued                // for a loop or handler
	running               // in a body
	answered              // the reply is queued
)

// exchange is one request on the answering side, and its datagram.
type exchange struct {
	Datagram
	answering
	sc      *serverConn
	id      uint64
	in      *incoming
	request incoming

	// guarded by conn.mu
	state state
	gone  bool // the client canceled
	size  int64
	up    *outgoing // the reply, while it is sent in pieces
}

func newExchange(sc *serverConn, id uint64) *exchange {
	ex := &exchange{sc: sc, id: id}
	ex.in = &ex.request
	ex.Datagram.ex = ex
	ex.Datagram.in = ex.in
	return ex
}

// begin takes the request into a body; false if nobody waits for it any more, or
// the connection's bodies hold too much.
func (ex *exchange) begin() bool {
	sc := ex.sc
	sc.mu.Lock()
	if ex.state != queued || sc.err != nil {
		sc.mu.Unlock()
		return false
	}
	n := int64(len(ex.in.body))
	if sc.holding > 0 && sc.holding+n > maxHolding*int64(sc.o.maxMessage) {
		sc.mu.Unlock()
		ex.refuse(Overloaded, "too many bytes of requests at once")
		return false
	}
	ex.state = running
	ex.size = n
	sc.holding += n
	kick := sc.consumed(ex.in)
	sc.mu.Unlock()
	if kick {
		sc.out.flush(false)
	}
	return true
}

// refuse answers with an error of the library's.
func (ex *exchange) refuse(code Code, msg string) {
	ex.sc.mu.Lock()
	kick := ex.fail(code, msg)
	ex.sc.mu.Unlock()
	if kick {
		ex.sc.out.flush(false)
	}
}

// fail queues a Failure and ends the exchange. sc.mu is held.
func (ex *exchange) fail(code Code, msg string) bool {
	if !ex.leave() {
		return false
	}
	ex.sc.out.failure(ex.id, code, msg)
	ex.sc.remove(ex)
	return true
}

// leave turns the exchange to answered; false if it is already, or if there is
// nobody to answer. sc.mu is held.
func (ex *exchange) leave() bool {
	if ex.state == answered {
		return false
	}
	ex.state = answered
	ex.sc.holding -= ex.size
	ex.sc.forget(ex.in)
	return ex.sc.active[ex.id] == ex && ex.sc.err == nil
}

// canceled is the client's wish to end; a body that runs goes on until it
// notices. sc.mu is held.
func (ex *exchange) canceled() bool {
	ex.gone = true
	switch ex.state {
	case waiting, queued:
		return ex.fail(Canceled, "")
	case running:
		if ex.up != nil {
			ex.sc.out.drop(ex.up)
		}
	case answered:
		if ex.up != nil {
			ex.sc.out.drop(ex.up)
			ex.sc.out.failure(ex.id, Canceled, "")
			ex.sc.remove(ex)
			return true
		}
	}
	return false
}

// reply sends the outcome of the body.
func (ex *exchange) reply(p parcel, err error) {
	sc := ex.sc
	sc.mu.Lock()
	if err == nil {
		err = ex.late()
	}
	if err != nil {
		code, msg := codeOf(err)
		ex.fail(code, msg)
		sc.mu.Unlock()
		sc.out.flush(true)
		ex.endContext()
		return
	}
	if p.src != nil {
		ex.stream(p) // unlocks
		ex.endContext()
		return
	}
	if ex.leave() {
		env := wire.Envelope{Type: p.typ, Headers: ex.headers}
		if ex.up, _ = sc.out.begin(wire.Reply, ex.id, &env, &p, p.flags); ex.up == nil {
			sc.remove(ex)
		}
	}
	sc.mu.Unlock()
	sc.out.flush(true)
	ex.endContext()
}

// late is the error of an answer that nobody waits for any more: a body that was
// told so, and left, did not succeed. sc.mu is held.
func (ex *exchange) late() error {
	switch {
	case ex.gone:
		return Canceled
	case ex.passed():
		return &Error{Code: TimedOut, Msg: "the deadline passed before the answer was there"}
	}
	return nil
}

// stream sends a reply that is made meanwhile; the request may still be read.
// sc.mu is held, and unlocked.
func (ex *exchange) stream(p parcel) {
	sc := ex.sc
	if ex.state == answered || sc.err != nil {
		sc.mu.Unlock()
		return
	}
	env := wire.Envelope{Type: p.typ, Headers: ex.headers}
	m, _ := sc.out.begin(wire.Reply, ex.id, &env, &p, p.flags)
	ex.up = m
	sc.mu.Unlock()
	sc.out.flush(false)
	s := streamWriter{ctx: &ex.answering, o: &sc.out, m: m}
	done := false
	defer func() {
		if !done {
			ex.endStream(&s, fault(Panicked, "the body panicked"))
		}
	}()
	err := p.src.send(&s)
	if err == nil {
		err = ex.answering.Err() // a body that stopped because its time was over has not come to its end
	}
	done = true
	ex.endStream(&s, err)
}

// endStream ends a streamed reply, well or with an error.
func (ex *exchange) endStream(s *streamWriter, err error) {
	sc := ex.sc
	sc.mu.Lock()
	if !ex.leave() {
		sc.mu.Unlock()
		return
	}
	if s.gone || ex.gone {
		sc.out.drop(s.m)
		code, msg := Canceled, ""
		if e := ex.answering.Err(); e != nil && err == nil {
			code, msg = codeOf(e)
		}
		sc.out.failure(ex.id, code, msg)
		sc.remove(ex)
		sc.mu.Unlock()
		sc.out.flush(true)
		return
	}
	sc.mu.Unlock()
	s.end(err)
}

// endContext says to whom it concerns that the body is over.
func (ex *exchange) endContext() { ex.end(context.Canceled) }
