package transport

import (
	"bytes"
	"iter"
	"sync"
)

// All yields the datagrams that no handler takes, one at a time, until the
// server is shut down. Leaving the loop's body, in whatever way, sends the
// reply: the values that were Set, or the error of Fail. Several goroutines may
// each range over their own All; that is how datagrams are answered side by
// side. A panic in the body answers with an error, and goes on.
func (s *Server) All() iter.Seq[*Datagram] {
	return func(yield func(*Datagram) bool) {
		for {
			ex := s.queue.pop()
			if ex == nil {
				return
			}
			if ex.begin() && !ex.run(yield) {
				return
			}
		}
	}
}

// Each calls f for the datagrams of All in n goroutines, and returns when the
// server is shut down.
func (s *Server) Each(n int, f func(*Datagram)) {
	var wg sync.WaitGroup
	for range max(n, 1) {
		wg.Go(func() {
			for d := range s.All() {
				f(d)
			}
		})
	}
	wg.Wait()
}

// run has the datagram go through the middleware and the body, and replies.
// False: the body wants no more.
func (ex *exchange) run(body func(*Datagram) bool) (more bool) {
	whole := false
	more = true
	defer ex.leaveBody(&whole)
	if len(ex.sc.o.use) == 0 {
		more = body(&ex.Datagram)
	} else {
		wrap(ex.sc.o.use, &ex.Datagram, func() { more = body(&ex.Datagram) })
	}
	whole = true
	return more
}

// handle is run for a handler, which has no loop to end.
func (ex *exchange) handle(f func(*Datagram)) {
	whole := false
	defer ex.leaveBody(&whole)
	if len(ex.sc.o.use) == 0 {
		f(&ex.Datagram)
	} else {
		wrap(ex.sc.o.use, &ex.Datagram, func() { f(&ex.Datagram) })
	}
	whole = true
}

// leaveBody replies, when the body is left whole or otherwise.
func (ex *exchange) leaveBody(whole *bool) {
	if !*whole { // a panic, or runtime.Goexit
		ex.Datagram.err = fault(Panicked, "the body did not return")
		ex.detached = false
	}
	if !ex.detached {
		ex.send()
	}
}

// wrap runs body inside the middleware.
func wrap(use []Middleware, d *Datagram, body func()) {
	if len(use) == 0 {
		body()
		return
	}
	use[0](d, func() { wrap(use[1:], d, body) })
}

// send encodes the reply and sends it.
func (ex *exchange) send() {
	if ex.replied {
		return
	}
	ex.replied = true
	var p parcel
	err := ex.Datagram.err
	switch {
	case err != nil:
	case ex.made != nil:
		p = *ex.made
	case ex.set:
		p, err = ex.sc.o.types.encode(ex.value)
		if b, ok := ex.value.([]byte); ok && len(b) > urgentBody {
			p.body = bytes.Clone(b) // the body's again when the loop goes on
		}
	}
	if err == nil && len(p.body) > ex.sc.o.maxMessage {
		err = fault(TooLarge, "reply is %d bytes, MaxMessage is %d; send it as a stream", len(p.body), ex.sc.o.maxMessage)
	}
	if err == nil && ex.sc.packs() {
		p = pack(p)
	}
	ex.Datagram.err = err
	ex.reply(p, err)
}
