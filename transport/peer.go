package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Peer is who is at the other end of a connection.
type Peer struct {
	addr, local net.Addr
	tls         *tls.ConnectionState
}

// Addr is the peer's address, nil if there is no connection yet.
func (p Peer) Addr() net.Addr { return p.addr }

// LocalAddr is this side's address on the connection.
func (p Peer) LocalAddr() net.Addr { return p.local }

// TLS is the state of the connection's TLS, nil on a plain one. It is shared:
// read it only.
func (p Peer) TLS() *tls.ConnectionState { return p.tls }

// Certificate is the peer's own certificate if a trusted authority has signed
// it, else nil.
func (p Peer) Certificate() *x509.Certificate {
	if p.tls == nil || len(p.tls.VerifiedChains) == 0 {
		return nil
	}
	return p.tls.VerifiedChains[0][0]
}

// Name is the verified name of the peer: the first URI, DNS name or else common
// name of its certificate; empty without one.
func (p Peer) Name() string {
	c := p.Certificate()
	switch {
	case c == nil:
		return ""
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return c.Subject.CommonName
}

// String is for logs.
func (p Peer) String() string {
	switch name := p.Name(); {
	case p.addr == nil:
		return "no peer"
	case name != "":
		return fmt.Sprintf("%s (%s)", name, p.addr)
	}
	return p.addr.String()
}

type tlsConn interface{ ConnectionState() tls.ConnectionState }

func peerOf(nc net.Conn) Peer {
	p := Peer{addr: nc.RemoteAddr(), local: nc.LocalAddr()}
	if t, ok := nc.(tlsConn); ok {
		s := t.ConnectionState()
		p.tls = &s
	}
	return p
}

// confined refuses plaintext that leaves this machine.
func confined(nc net.Conn) error {
	if _, ok := nc.(tlsConn); ok {
		return nil
	}
	for _, a := range []net.Addr{nc.RemoteAddr(), nc.LocalAddr()} {
		if t, ok := a.(*net.TCPAddr); ok && !t.IP.IsLoopback() {
			return fault(Denied, "plaintext to %v is refused: it leaves this machine; use option TLS", nc.RemoteAddr())
		}
	}
	return nil
}

// refusedByTLS reports whether trying again would fail in the same way.
func refusedByTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &verify), errors.As(err, &alert), errors.As(err, &record):
		return true
	case errors.As(err, &op):
		return op.Op == "remote error" && !errors.Is(err, syscall.ECONNRESET)
	}
	return false
}
