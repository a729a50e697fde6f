package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"net"
	"reflect"
	"slices"
	"time"
)

// ALPN is the protocol's name in TLS.
const ALPN = "dg/1"

// Option changes how a Client or a Server behaves. Without any, the values
// given with each option hold.
type Option func(*options)

type options struct {
	tls        *tls.Config
	insecure   bool
	timeout    time.Duration
	maxMessage int
	compress   bool
	conns      int
	inFlight   int
	idle, wait time.Duration
	use        []Middleware
	observe    func(Event)
	dial       func(context.Context) (net.Conn, error)
	failFast   bool
	types      registry
	window     int
	stream     int
	err        error // an option that makes no sense; told by Listen, Serve or Send
}

// Sizes that hold unless options say otherwise.
const (
	defaultTimeout    = 30 * time.Second
	defaultMaxMessage = 64 << 20
	defaultInFlight   = 1024
	defaultMaxConns   = 4096
	defaultIdle       = 15 * time.Second
	defaultWait       = 10 * time.Second
	defaultWindow     = 8 << 20
	defaultStream     = 1 << 20
)

func gather(opts []Option) *options {
	o := &options{
		timeout:    defaultTimeout,
		maxMessage: defaultMaxMessage,
		inFlight:   defaultInFlight,
		idle:       defaultIdle,
		wait:       defaultWait,
		window:     defaultWindow,
		stream:     defaultStream,
	}
	for _, f := range opts {
		f(o)
	}
	return o
}

func (o *options) fail(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf("transport: "+format, args...)
	}
}

// TLS protects connections. For mutual TLS give a server ClientAuth
// tls.RequireAndVerifyClientCert with ClientCAs, and a client Certificates. The
// configuration is copied; TLS 1.3 is the least that is spoken, and the
// protocol's ALPN name is added.
func TLS(cfg *tls.Config) Option {
	return func(o *options) {
		if cfg == nil {
			o.fail("option TLS: no configuration given")
			return
		}
		c := cfg.Clone()
		c.MinVersion = max(c.MinVersion, tls.VersionTLS13)
		c.DynamicRecordSizingDisabled = true
		if !slices.Contains(c.NextProtos, ALPN) {
			c.NextProtos = append([]string{ALPN}, c.NextProtos...)
		}
		o.tls = c
	}
}

// Insecure says that connections are plain on purpose. They stay confined to
// this machine: loopback addresses and Unix sockets. It is what holds when no
// TLS is given; saying it makes the intent plain to the reader.
func Insecure() Option { return func(o *options) { o.insecure = true } }

// Timeout is how long an exchange may take whose context has no deadline of its
// own: waiting for a connection, sending, and the reply's arrival (of a stream,
// its beginning). The default is 30 s; 0 is no limit.
func Timeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// MaxMessage is the size in bytes that a received message may have; a larger one
// fails alone, its connection lives on. The default is 64 MiB. A stream may be
// longer; each of its elements may not.
func MaxMessage(n int) Option {
	return func(o *options) {
		if n < 1 {
			o.fail("option MaxMessage: %d bytes, at least 1 is needed", n)
			return
		}
		o.maxMessage = n
	}
}

// Compress sends bodies over 1 KiB through zstd where the peer has it too, if
// that makes them smaller. It pays on networks slower than about 1 Gbit/s.
func Compress() Option { return func(o *options) { o.compress = true } }

// Conns is, for a client, the number of connections it spreads its datagrams
// over (1), and for a server the number it holds at once (4096); more are closed
// when they come.
func Conns(n int) Option {
	return func(o *options) {
		if n < 1 {
			o.fail("option Conns: %d, at least 1 is needed", n)
			return
		}
		o.conns = n
	}
}

// InFlight is the number of requests that one connection may have unanswered at
// a server (1024; at least 16). It is announced: clients of this library wait
// for their turn; others are refused as Overloaded.
func InFlight(n int) Option {
	return func(o *options) {
		if n < 16 {
			o.fail("option InFlight: %d, at least 16 is needed", n)
			return
		}
		o.inFlight = n
	}
}

// Keepalive says after how much silence the peer is asked for a sign of life
// (15 s), and how long it may take to give one (10 s) before the connection is
// dead. Any byte is a sign of life.
func Keepalive(silence, wait time.Duration) Option {
	return func(o *options) {
		if silence <= 0 || wait <= 0 {
			o.fail("option Keepalive: %v and %v, both must be positive", silence, wait)
			return
		}
		o.idle, o.wait = silence, wait
	}
}

// Middleware is code round the body of a server's datagrams, or round a client's
// Send. It calls next to go on, or answers by itself: with Set or Fail and without
// next. After next the outcome is in d.Err().
type Middleware func(d *Datagram, next func())

// Use adds middleware; the first given is the outermost.
func Use(m ...Middleware) Option {
	return func(o *options) { o.use = append(o.use, m...) }
}

// DialFunc replaces the way a client connects: f returns a connection to the
// server, TLS handshake done where there is one. It is called by one goroutine at
// a time for each connection of Conns.
func DialFunc(f func(ctx context.Context) (net.Conn, error)) Option {
	return func(o *options) { o.dial = f }
}

// FailFast makes a client's exchanges fail as soon as one attempt to connect has
// failed, instead of trying again until their deadline.
func FailFast() Option { return func(o *options) { o.failFast = true } }

// Windows sets how many bytes the peer may send ahead of their consumption: on a
// connection (8 MiB, doubling once under load) and on one stream (1 MiB). Both are
// at least 64 KiB.
func Windows(connection, stream int) Option {
	return func(o *options) {
		if connection < 64<<10 || stream < 64<<10 || connection > 1<<29 || stream > 1<<29 {
			o.fail("option Windows: %d and %d bytes, each must be 64 KiB to 512 MiB", connection, stream)
			return
		}
		o.window, o.stream = connection, stream
	}
}

// Register names a type so that its values arrive as themselves: Value returns
// a T, not a map, when both sides have registered it under the same name. Types
// with AppendBinary and UnmarshalBinary travel in that form. As, Each, Call and
// Handle need no registration: they know the type.
func Register[T any](name string) Option {
	return func(o *options) {
		if err := o.types.add(name, reflect.TypeFor[T]()); err != nil {
			o.fail("option Register: %w", err)
		}
	}
}

// registry knows named types by hash and by type.
type registry struct {
	byHash map[uint32]named
	byType map[reflect.Type]uint32
}

type named struct {
	name string
	typ  reflect.Type
}

func (r *registry) add(name string, t reflect.Type) error {
	if r.byHash == nil {
		r.byHash, r.byType = map[uint32]named{}, map[reflect.Type]uint32{}
	}
	h := hashName(name)
	if old, ok := r.byHash[h]; ok && (old.name != name || old.typ != t) {
		return fmt.Errorf("type %v as %q: the name is taken by %v as %q", t, name, old.typ, old.name)
	}
	if old, ok := r.byType[t]; ok && old != h {
		return fmt.Errorf("type %v as %q: it is registered as %q already", t, name, r.byHash[old].name)
	}
	r.byHash[h], r.byType[t] = named{name, t}, h
	return nil
}

func hashName(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return max(h.Sum32(), 1)
}
