package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(crand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(name string) tls.Certificate {
	a.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, URIs: []*url.URL{{Scheme: "host", Host: name}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(crand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) server(name string) Option {
	return TLS(&tls.Config{Certificates: []tls.Certificate{a.issue(name)}, ClientCAs: a.pool, ClientAuth: tls.RequireAndVerifyClientCert})
}

func (a *authority) client(name string) Option {
	return TLS(&tls.Config{Certificates: []tls.Certificate{a.issue(name)}, RootCAs: a.pool})
}

func TestMutualTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	s := listen(t, func(d *Datagram) { d.Set(d.Peer().Name(), d.Peer().TLS().NegotiatedProtocol, len(d.Value().([]byte))) }, a.server("db"))
	c := dial(t, s, a.client("mini"))
	d := c.Datagram(make([]byte, 3<<20))
	if !d.Send() || d.At(0) != "host://mini" || d.At(1) != ALPN || d.At(2) != 3<<20 {
		t.Fatal(d.Value(), d.Err())
	}
	if d.Peer().Name() != "host://db" || d.Peer().Addr().String() != s.Addr().String() || d.Peer().TLS() == nil {
		t.Fatal(d.Peer())
	}
	for name, o := range map[string]Option{
		"another authority's certificate": TLS(&tls.Config{Certificates: []tls.Certificate{other.issue("mini")}, RootCAs: a.pool}),
		"no certificate":                  TLS(&tls.Config{RootCAs: a.pool}),
		"no trust in the server":          other.client("mini"),
	} {
		start := time.Now()
		_, err := Call[int](t.Context(), dial(t, s, o), "x", 1)
		var e *Error
		if !errors.As(err, &e) || e.Code != Denied || e.Sent {
			t.Errorf("%s: %v", name, err)
		}
		if time.Since(start) > 5*time.Second {
			t.Errorf("%s: was tried again and again", name)
		}
	}
	plain := Dial(s.Addr().String(), Timeout(300*time.Millisecond))
	defer plain.Close()
	if d := plain.Datagram(1); d.Send() {
		t.Fatal("spoke plain to a TLS server")
	}
	if d = c.Datagram([]byte{}); !d.Send() {
		t.Fatal(d.Err())
	}
}

func TestPlaintextStaysOnThisMachine(t *testing.T) {
	if _, err := Listen(":0"); !errors.Is(err, Denied) {
		t.Fatal(err)
	}
	if _, err := Listen("0.0.0.0:0", Insecure()); !errors.Is(err, Denied) {
		t.Fatal(err)
	}
	a := newAuthority(t)
	s, err := Listen("0.0.0.0:0", a.server("db"))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	away := Dial("192.0.2.1:1", DialFunc(func(context.Context) (net.Conn, error) {
		c, _ := net.Pipe()
		return elsewhere{c}, nil
	}))
	defer away.Close()
	if d := away.Datagram(1); d.Send() || !errors.Is(d.Err(), Denied) {
		t.Fatal(d.Err())
	}
	c, _ := net.Pipe()
	if err := NewServer().ServeConn(elsewhere{c}); !errors.Is(err, Denied) {
		t.Fatal(err)
	}
}

// elsewhere is a connection to another machine.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// TestConnectionsFromOutside serves connections that come handshaken from a
// listener which others share.
func TestConnectionsFromOutside(t *testing.T) {
	a := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{a.issue("db")}, ClientCAs: a.pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"other/1", ALPN}}
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	unix, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer()
	Handle(s, "who", func(_ context.Context, p Peer, _ struct{}) (string, error) { return p.Name() + p.Addr().Network(), nil })
	done := make(chan error)
	go func() { done <- s.Serve(unix) }()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				done <- nil
				return
			}
			go func() {
				if nc.(*tls.Conn).Handshake() == nil {
					s.ServeConn(nc)
				}
			}()
		}
	}()
	dialer := tls.Dialer{Config: &tls.Config{Certificates: []tls.Certificate{a.issue("mini")}, RootCAs: a.pool, NextProtos: []string{ALPN}}}
	c := Dial("db", DialFunc(func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", l.Addr().String()) }))
	if v, err := Call[string](t.Context(), c, "who", struct{}{}); err != nil || v != "host://minitcp" {
		t.Fatal(v, err)
	}
	local := Dial("unix:" + unix.Addr().String())
	if v, err := Call[string](t.Context(), local, "who", struct{}{}); err != nil || v != "unix" {
		t.Fatal(v, err)
	}
	c.Close()
	local.Close()
	s.Shutdown(t.Context())
	l.Close()
	for range 2 {
		if err := <-done; err != nil && !errors.Is(err, Closed) {
			t.Fatal(err)
		}
	}
}

// TestClosingDoesNotWait closes a TLS connection whose peer has stopped reading in
// the middle of a large message.
func TestClosingDoesNotWait(t *testing.T) {
	a := newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	shaken := make(chan net.Conn, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		nc.(*net.TCPConn).SetReadBuffer(4 << 10)
		s := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{a.issue("db")}, NextProtos: []string{ALPN}})
		s.Handshake()
		s.Write(politePreface.Append(nil))
		shaken <- s // and reads nothing more
	}()
	c := Dial(l.Addr().String(), a.client("mini"))
	sent := make(chan bool)
	go func() { sent <- c.Datagram(make([]byte, 60<<20)).Send() }()
	defer (<-shaken).Close()
	var cc *clientConn
	waitFor(t, "a write that is stuck", func() bool {
		c.links[0].mu.Lock()
		cc = c.links[0].cc
		c.links[0].mu.Unlock()
		at := int64(0)
		if cc != nil {
			at = cc.out.writeStart.Load()
		}
		return at != 0 && time.Since(time.Unix(0, at)) > 100*time.Millisecond
	})
	begun := time.Now()
	c.Close()
	if took := time.Since(begun); took > 2*time.Second {
		t.Fatal("closing took", took)
	}
	if <-sent {
		t.Fatal("sent to nobody")
	}
}
