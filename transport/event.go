package transport

// Kind of an Event.
type Kind uint8

// The kinds of events.
const (
	Connected    Kind = 1 + iota // a connection is there
	Disconnected                 // it has ended: Err says why, Sent and Received how much it carried
	Refused                      // a server did not take a connection: Err says why
	DialFailed                   // a client could not connect: Err says why
)

// String is for logs.
func (k Kind) String() string {
	return [...]string{"none", "connected", "disconnected", "refused", "dial failed"}[k]
}

// Event is what happens to connections.
type Event struct {
	Kind           Kind
	Server         string // address given to Dial; empty on servers
	Peer           Peer
	Err            error
	Sent, Received int64 // bytes
}

// Observe has f told of every Event, for logs and metrics. It must not block.
func Observe(f func(Event)) Option { return func(o *options) { o.observe = f } }

func (o *options) event(e Event) {
	if o.observe != nil {
		o.observe(e)
	}
}
