package transport

import (
	"sync"
	"time"
)

// shared are the clients behind New, one a server, as net/http has its default
// client. One that nothing is sent through for a minute is closed.
var shared struct {
	mu      sync.Mutex
	clients map[string]*sharedClient
}

type sharedClient struct {
	c     *Client
	users int
	idle  *time.Timer
}

const sharedIdle = time.Minute

// New makes a datagram of values for the server at an address of this machine,
// over a connection that all such datagrams share. For other servers, and for
// options, see Dial.
func New(server string, v ...any) *Datagram {
	d := &Datagram{server: server}
	d.Set(v...)
	return d
}

// borrow returns the shared client of a server, and what to call when the
// exchange is over.
func borrow(server string) (*Client, func()) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	s := shared.clients[server]
	if s == nil {
		if shared.clients == nil {
			shared.clients = map[string]*sharedClient{}
		}
		s = &sharedClient{c: Dial(server)}
		shared.clients[server] = s
	}
	s.users++
	if s.idle != nil {
		s.idle.Stop()
	}
	return s.c, func() { giveBack(server, s) }
}

func giveBack(server string, s *sharedClient) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	s.idle = time.AfterFunc(sharedIdle, func() { closeIdle(server, s) })
}

// closeIdle closes a client that nobody uses; a reply may still be read.
func closeIdle(server string, s *sharedClient) {
	shared.mu.Lock()
	if s.users > 0 || shared.clients[server] != s {
		shared.mu.Unlock()
		return
	}
	if s.c.busy() {
		s.idle.Reset(sharedIdle)
		shared.mu.Unlock()
		return
	}
	delete(shared.clients, server)
	shared.mu.Unlock()
	s.c.Close()
}
