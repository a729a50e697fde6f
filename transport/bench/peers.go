package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/rpc"

	"github.com/fxamacker/cbor/v2"
	"github.com/hashicorp/yamux"

	"clusterbackup/transport"
)

// peer is a library under measurement.
type peer interface {
	// serve answers on l: payloads with themselves, records with their number.
	serve(l net.Listener, cfg *tls.Config) error
	// dial connects for a number of callers.
	dial(addr string, cfg *tls.Config, callers int) (client, error)
}

type client interface {
	// echo sends p as caller i and checks what comes back.
	echo(i int, p []byte) error
	// report sends records as caller i.
	report(i int, rs records) error
	close()
}

var peers = map[string]peer{
	"transport":  ours{},
	"raw TCP":    raw{},
	"net/rpc":    netRPC{},
	"gRPC":       grpcPeer{},
	"drpc":       drpcPeer{},
	"NATS":       natsPeer{},
	"yamux+CBOR": yamuxPeer{},
}

// order is how they are run and printed.
var order = []string{"transport", "raw TCP", "net/rpc", "gRPC", "drpc", "NATS", "yamux+CBOR"}

func secured(l net.Listener, cfg *tls.Config) net.Listener {
	if cfg == nil {
		return l
	}
	return tls.NewListener(l, cfg)
}

func connect(addr string, cfg *tls.Config) (net.Conn, error) {
	if cfg == nil {
		return net.Dial("tcp", addr)
	}
	return tls.Dial("tcp", addr, cfg)
}

func sameLength(got, want int) error {
	if got != want {
		return fmt.Errorf("%d bytes came back of %d", got, want)
	}
	return nil
}

// transport, on one connection.
type ours struct{}

func (ours) serve(l net.Listener, cfg *tls.Config) error {
	var opts []transport.Option
	if cfg != nil {
		opts = append(opts, transport.TLS(cfg))
	}
	s := transport.NewServer(opts...)
	transport.Handle(s, "echo", func(_ context.Context, _ transport.Peer, p []byte) ([]byte, error) { return p, nil })
	transport.Handle(s, "report", func(_ context.Context, _ transport.Peer, rs records) (int, error) { return len(rs), nil })
	return s.Serve(l)
}

func (ours) dial(addr string, cfg *tls.Config, _ int) (client, error) {
	var opts []transport.Option
	if cfg != nil {
		opts = append(opts, transport.TLS(cfg))
	}
	c := transport.Dial(addr, opts...)
	return oursClient{c}, c.Ping(context.Background())
}

type oursClient struct{ c *transport.Client }

func (c oursClient) echo(_ int, p []byte) error {
	got, err := transport.Call[[]byte](context.Background(), c.c, "echo", p)
	if err != nil {
		return err
	}
	return sameLength(len(got), len(p))
}

func (c oursClient) report(_ int, rs records) error {
	n, err := transport.Call[int](context.Background(), c.c, "report", rs)
	if err != nil {
		return err
	}
	return sameLength(n, len(rs))
}

func (c oursClient) close() { c.c.Close() }

// raw TCP: frames with a length in front, a connection for each caller. What no
// library can beat.
type raw struct{}

func (raw) serve(l net.Listener, cfg *tls.Config) error {
	l = secured(l, cfg)
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			r := bufio.NewReaderSize(nc, 64<<10)
			var buf []byte
			for {
				p, err := readFrame(r, buf[:0])
				if err != nil {
					return
				}
				buf = p
				kind := p[4]
				if kind == 'r' {
					var rs records
					if rs.UnmarshalBinary(p[5:]) != nil {
						return
					}
					p = frameOf('r', binary.LittleEndian.AppendUint32(nil, uint32(len(rs))))
				}
				if _, err := nc.Write(p); err != nil {
					return
				}
			}
		}()
	}
}

// readFrame reads a frame with its head of 5 bytes.
func readFrame(r io.Reader, b []byte) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if cap(b) < n+5 {
		b = make([]byte, n+5)
	}
	b = b[:n+5]
	copy(b, head[:])
	_, err := io.ReadFull(r, b[5:])
	return b, err
}

func frameOf(kind byte, p []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, len(p)+5), uint32(len(p)))
	return append(append(b, kind), p...)
}

func (raw) dial(addr string, cfg *tls.Config, callers int) (client, error) {
	c := &rawClient{}
	for range callers {
		nc, err := connect(addr, cfg)
		if err != nil {
			return nil, err
		}
		c.conns = append(c.conns, nc)
		c.readers = append(c.readers, bufio.NewReaderSize(nc, 64<<10))
		c.bufs = append(c.bufs, nil)
	}
	return c, nil
}

type rawClient struct {
	conns   []net.Conn
	readers []*bufio.Reader
	bufs    [][]byte
}

func (c *rawClient) exchange(i int, kind byte, p []byte) (int, error) {
	if _, err := c.conns[i].Write(frameOf(kind, p)); err != nil {
		return 0, err
	}
	b, err := readFrame(c.readers[i], c.bufs[i])
	c.bufs[i] = b
	return len(b) - 5, err
}

func (c *rawClient) echo(i int, p []byte) error {
	n, err := c.exchange(i, 'e', p)
	if err != nil {
		return err
	}
	return sameLength(n, len(p))
}

func (c *rawClient) report(i int, rs records) error {
	b, _ := rs.AppendBinary(nil)
	_, err := c.exchange(i, 'r', b)
	return err
}

func (c *rawClient) close() {
	for _, nc := range c.conns {
		nc.Close()
	}
}

// net/rpc, with gob, on one connection.
type netRPC struct{}

// Service is what net/rpc serves.
type Service struct{}

// Echo answers with its argument.
func (Service) Echo(p *[]byte, out *[]byte) error { *out = *p; return nil }

// Report answers with the number of records.
func (Service) Report(rs *[]record, out *int) error { *out = len(*rs); return nil }

func (netRPC) serve(l net.Listener, cfg *tls.Config) error {
	s := rpc.NewServer()
	if err := s.Register(Service{}); err != nil {
		return err
	}
	s.Accept(secured(l, cfg))
	return nil
}

func (netRPC) dial(addr string, cfg *tls.Config, _ int) (client, error) {
	nc, err := connect(addr, cfg)
	if err != nil {
		return nil, err
	}
	return rpcClient{rpc.NewClient(nc)}, nil
}

type rpcClient struct{ c *rpc.Client }

func (c rpcClient) echo(_ int, p []byte) error {
	var out []byte
	if err := c.c.Call("Service.Echo", &p, &out); err != nil {
		return err
	}
	return sameLength(len(out), len(p))
}

func (c rpcClient) report(_ int, rs records) error {
	var n int
	list := []record(rs)
	if err := c.c.Call("Service.Report", &list, &n); err != nil {
		return err
	}
	return sameLength(n, len(rs))
}

func (c rpcClient) close() { c.c.Close() }

// yamux with CBOR, a stream for each request.
type yamuxPeer struct{}

type yamuxMessage struct {
	Payload []byte   `cbor:"1,keyasint,omitempty"`
	Records []record `cbor:"2,keyasint,omitempty"`
	N       int      `cbor:"3,keyasint,omitempty"`
}

func quiet() *yamux.Config {
	cfg := yamux.DefaultConfig()
	cfg.LogOutput = io.Discard
	cfg.MaxStreamWindowSize = 4 << 20
	return cfg
}

func (yamuxPeer) serve(l net.Listener, cfg *tls.Config) error {
	l = secured(l, cfg)
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			session, err := yamux.Server(nc, quiet())
			if err != nil {
				return
			}
			for {
				stream, err := session.Accept()
				if err != nil {
					return
				}
				go answerYamux(stream)
			}
		}()
	}
}

func answerYamux(stream net.Conn) {
	defer stream.Close()
	var m yamuxMessage
	if cbor.NewDecoder(stream).Decode(&m) != nil {
		return
	}
	m.N, m.Records = len(m.Records), nil
	cbor.NewEncoder(stream).Encode(&m)
}

func (yamuxPeer) dial(addr string, cfg *tls.Config, _ int) (client, error) {
	nc, err := connect(addr, cfg)
	if err != nil {
		return nil, err
	}
	s, err := yamux.Client(nc, quiet())
	return yamuxClient{s}, err
}

type yamuxClient struct{ s *yamux.Session }

func (c yamuxClient) exchange(m yamuxMessage) (yamuxMessage, error) {
	stream, err := c.s.Open()
	if err != nil {
		return m, err
	}
	defer stream.Close()
	if err := cbor.NewEncoder(stream).Encode(&m); err != nil {
		return m, err
	}
	var out yamuxMessage
	return out, cbor.NewDecoder(stream).Decode(&out)
}

func (c yamuxClient) echo(_ int, p []byte) error {
	_, err := c.exchange(yamuxMessage{Payload: p})
	return err
}

func (c yamuxClient) report(_ int, rs records) error {
	_, err := c.exchange(yamuxMessage{Records: rs})
	return err
}

func (c yamuxClient) close() { c.s.Close() }
