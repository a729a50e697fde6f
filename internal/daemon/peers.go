package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/pki"
	"clusterbackup/transport"
)

// peers holds one datagram client for each other host, and when each was last heard of.
type peers struct {
	identity *pki.Identity
	// address tells where a host is to be reached now; "" when there is no such host.
	address func(v1.HostName) string
	observe transport.Option

	mu      sync.Mutex
	clients map[v1.HostName]*transport.Client
	seen    map[v1.HostName]time.Time
	version map[v1.HostName]string // of the daemon, as it said itself
	hints   map[v1.HostName]string // addresses of hosts that there is no resource of
}

func newPeers(identity *pki.Identity, address func(v1.HostName) string, observe transport.Option) *peers {
	return &peers{identity: identity, address: address, observe: observe,
		clients: map[v1.HostName]*transport.Client{}, seen: map[v1.HostName]time.Time{},
		version: map[v1.HostName]string{}, hints: map[v1.HostName]string{}}
}

// client returns the client of a host; it neither blocks nor fails.
func (p *peers) client(host v1.HostName) *transport.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clients[host] == nil {
		p.clients[host] = transport.Dial(string(host), p.observe, transport.FailFast(), transport.Timeout(2*time.Minute),
			transport.DialFunc(func(ctx context.Context) (net.Conn, error) { return p.dial(ctx, host, alpnDatagrams) }))
	}
	return p.clients[host]
}

// dial connects to a host under one of the port's protocols. Each side has proved who it is when it returns.
func (p *peers) dial(ctx context.Context, host v1.HostName, protocol string) (net.Conn, error) {
	address := p.address(host)
	if address == "" {
		address = p.hint(host)
	}
	if address == "" {
		return nil, fmt.Errorf("connect to host %s: there is no such host, or it has no address", host)
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	d := tls.Dialer{Config: p.identity.ClientTLS(host, protocol)}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to host %s at %s: %w", host, address, err)
	}
	return conn, nil
}

// introduce notes where a host says it is reached, which counts as long as no resource says it.
func (p *peers) introduce(host v1.HostName, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hints[host] = address
}

func (p *peers) hint(host v1.HostName) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hints[host]
}

// own is where this host is reached.
func (p *peers) own() string {
	self := p.identity.Member()
	return cmp.Or(p.address(self.Name), self.Address)
}

// heard notes that a host gave a sign of life.
func (p *peers) heard(host v1.HostName, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.After(p.seen[host]) {
		p.seen[host] = at
	}
}

// lastSeen is when a host was heard of; zero: never since this daemon started.
func (p *peers) lastSeen(host v1.HostName) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if host == p.identity.Host() {
		return time.Now()
	}
	return p.seen[host]
}

// live tells whether a host was heard of within timeout.
func (p *peers) live(host v1.HostName, timeout time.Duration) bool {
	return time.Since(p.lastSeen(host)) <= timeout
}

// close ends all connections.
func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for host, client := range p.clients {
		client.Close()
		delete(p.clients, host)
	}
}

// askHost calls a method of another host and notes the sign of life.
func askHost[Resp, Req any](ctx context.Context, p *peers, host v1.HostName, method string, request *Req) (*Resp, error) {
	answer, err := transport.Call[Resp, Req](ctx, p.client(host), method, *request)
	if err != nil {
		return nil, err
	}
	p.heard(host, time.Now())
	return &answer, nil
}

// The messages to a source's coordinator, and to one that acts for it, have names of their own: neither is ever taken for the other.
const (
	ownPrefix    = "cb."
	actingPrefix = "cb.Acting."
)

// remote is a coordinator on another host, asked over the wire.
type remote struct {
	peers  *peers
	host   v1.HostName
	prefix string
}

var _ controllers.Coordinator = remote{}

func (r remote) Hello(ctx context.Context, q *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	return askHost[coordinator.HelloAnswer](ctx, r.peers, r.host, r.prefix+"Hello", q)
}

func (r remote) Inventory(ctx context.Context, q *coordinator.Inventory) (*coordinator.InventoryAnswer, error) {
	return askHost[coordinator.InventoryAnswer](ctx, r.peers, r.host, r.prefix+"Inventory", q)
}

func (r remote) Claim(ctx context.Context, q *coordinator.Claim) (*coordinator.ClaimAnswer, error) {
	return askHost[coordinator.ClaimAnswer](ctx, r.peers, r.host, r.prefix+"Claim", q)
}

func (r remote) Renew(ctx context.Context, q *coordinator.Renew) (*coordinator.RenewAnswer, error) {
	return askHost[coordinator.RenewAnswer](ctx, r.peers, r.host, r.prefix+"Renew", q)
}

func (r remote) Release(ctx context.Context, q *coordinator.Release) (*coordinator.ReleaseAnswer, error) {
	return askHost[coordinator.ReleaseAnswer](ctx, r.peers, r.host, r.prefix+"Release", q)
}

// confirmRate is how fast, in bytes a second, a coordinator is trusted to read what it has to compare, at the least.
const confirmRate = 5 << 20

// Confirm may take long: the coordinator reads its own files first.
func (r remote) Confirm(ctx context.Context, q *coordinator.Confirm) (*coordinator.ConfirmAnswer, error) {
	total := int64(0)
	for _, f := range q.Files {
		total += f.Size
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+time.Duration(total/confirmRate)*time.Second)
	defer cancel()
	return askHost[coordinator.ConfirmAnswer](ctx, r.peers, r.host, r.prefix+"Confirm", q)
}

func (r remote) Report(ctx context.Context, q *coordinator.Report) (*coordinator.ReportAnswer, error) {
	return askHost[coordinator.ReportAnswer](ctx, r.peers, r.host, r.prefix+"Report", q)
}

func (r remote) Relieve(ctx context.Context, q *coordinator.Relieve) (*coordinator.RelieveAnswer, error) {
	return askHost[coordinator.RelieveAnswer](ctx, r.peers, r.host, r.prefix+"Relieve", q)
}

func (r remote) Drop(ctx context.Context, q *coordinator.Drop) (*coordinator.DropAnswer, error) {
	return askHost[coordinator.DropAnswer](ctx, r.peers, r.host, r.prefix+"Drop", q)
}

func (r remote) Dropped(ctx context.Context, q *coordinator.Dropped) (*coordinator.DroppedAnswer, error) {
	return askHost[coordinator.DroppedAnswer](ctx, r.peers, r.host, r.prefix+"Dropped", q)
}

func (r remote) Retire(ctx context.Context, q *coordinator.Retire) (*coordinator.RetireAnswer, error) {
	return askHost[coordinator.RetireAnswer](ctx, r.peers, r.host, r.prefix+"Retire", q)
}

func (r remote) Retired(ctx context.Context, q *coordinator.Retired) (*coordinator.RetiredAnswer, error) {
	return askHost[coordinator.RetiredAnswer](ctx, r.peers, r.host, r.prefix+"Retired", q)
}

// ages tells how long ago each host was heard of, for others to know.
func (p *peers) ages() map[v1.HostName]time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	ages := make(map[v1.HostName]time.Duration, len(p.seen))
	for host, at := range p.seen {
		ages[host] = time.Since(at)
	}
	return ages
}

// hearsay is by how much what others heard must be newer to be taken over: an age loses the time it travels, so that two hosts
// that went on telling each other the same would keep the dead alive.
const hearsay = 2 * time.Second

// heardOf takes over what another host has heard of: nobody needs to be asked by everybody.
func (p *peers) heardOf(ages map[v1.HostName]time.Duration) {
	for host, age := range ages {
		at := time.Now().Add(-age)
		if age >= 0 && host != p.identity.Host() && at.Sub(p.lastSeen(host)) > hearsay {
			p.heard(host, at)
		}
	}
}

func (p *peers) setVersion(host v1.HostName, version string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version[host] = version
}

// versionOf is the version of a host's daemon; "" until it has said it.
func (p *peers) versionOf(host v1.HostName) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version[host]
}
