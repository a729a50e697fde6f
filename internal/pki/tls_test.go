package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOnlyPeersOfTheClusterGetAnAnswer(t *testing.T) {
	c := newTestCluster(t, Options{})
	member, err := c.join("rpi1")
	if err != nil {
		t.Fatal(err)
	}
	stranger := newTestCluster(t, Options{})
	// A certificate that another authority made in our cluster's name.
	forger := &authority{clusterUID: c.id.ClusterUID(), cert: stranger.id.ca.cert, key: stranger.id.ca.key}
	forged := issued(t, forger, member.Self(), time.Now(), hostLife)
	past := issued(t, c.id.ca, member.Self(), time.Now().Add(-2*hostLife), hostLife)
	future := issued(t, c.id.ca, member.Self(), time.Now().Add(48*time.Hour), hostLife)
	unknown := issued(t, c.id.ca, Peer{ClusterUID: c.id.ClusterUID(), Kind: KindHost, Name: "nobody"}, time.Now(), hostLife)

	trusting := func(show *tls.Certificate) *tls.Config {
		config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"echo"}, InsecureSkipVerify: true}
		if show != nil {
			config.Certificates = []tls.Certificate{*show}
		}
		return config
	}
	mute := member.ClientTLS("mini", "echo")
	mute.NextProtos = nil
	old := trusting(member.certificate(false))
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	for name, config := range map[string]*tls.Config{
		"no certificate":                  trusting(nil),
		"member of another cluster":       trusting(stranger.id.certificate(false)),
		"forged by another authority":     trusting(forged),
		"certificate has run out":         trusting(past),
		"certificate is not valid yet":    trusting(future),
		"host that is no member":          trusting(unknown),
		"the authority itself":            trusting(&tls.Certificate{Certificate: [][]byte{c.id.ca.cert.Raw}, PrivateKey: c.id.ca.key}),
		"no protocol named":               mute,
		"protocol not spoken":             member.ClientTLS("mini", "other"),
		"TLS 1.2":                         old,
		"certificate without its own key": trusting(&tls.Certificate{Certificate: [][]byte{member.host.cert.Raw}, PrivateKey: stranger.id.host.key}),
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.call(config); err == nil {
				t.Error("got an answer")
			}
		})
	}
	if err := c.call(trusting(member.certificate(false))); err != nil {
		t.Errorf("the one that should get an answer: %v", err)
	}
}

func issued(t *testing.T, a *authority, p Peer, now time.Time, life time.Duration) *tls.Certificate {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.issue(p, key.Public(), now, life)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// Who calls a host is not content with any member of the cluster.
func TestClientKnowsWhomItCalled(t *testing.T) {
	c := newTestCluster(t, Options{})
	member, err := c.join("rpi1")
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, c.call(member.ClientTLS("rpi2", "echo")), ErrWrongHost)
	other := newTestCluster(t, Options{})
	wantErr(t, other.call(member.ClientTLS("mini", "echo")), ErrStranger)
	if err := c.call(member.ClientTLS("", "echo")); err != nil {
		t.Errorf("any host will do: %v", err)
	}
}

func TestServerKnowsWhoCalls(t *testing.T) {
	c := newTestCluster(t, Options{})
	member, err := c.join("rpi1")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := c.id.IssueAdmin("ann", 0)
	if err != nil {
		t.Fatal(err)
	}
	for want, config := range map[string]*tls.Config{
		"host rpi1": member.ClientTLS("mini", "echo"),
		"admin ann": admin.ClientTLS("", "echo"),
	} {
		a, b := loopback(t)
		server := tls.Server(b, c.id.ServerTLS(nil, "echo"))
		done := make(chan error, 1)
		go func() { done <- server.Handshake() }()
		if err := tls.Client(a, config).Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		state := server.ConnectionState()
		peer, err := PeerOf(&state)
		if err != nil || peer.String() != want || peer.ClusterUID != c.id.ClusterUID() {
			t.Errorf("peer is %+v, %v; want %s", peer, err, want)
		}
		if host := peer.Host(); (host == "") != (peer.Kind == KindAdmin) {
			t.Errorf("%s speaks for host %q", want, host)
		}
	}
	_, err = PeerOf(&tls.ConnectionState{})
	wantErr(t, err, ErrStranger)
}

// An administrator's credential is no host's: it cannot pose as one to those who call.
func TestAdminCannotPoseAsHost(t *testing.T) {
	c := newTestCluster(t, Options{})
	member, err := c.join("rpi1")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := c.id.IssueAdmin("mini", 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := loopback(t)
	server := tls.Server(b, &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"echo"}, Certificates: admin.ClientTLS("", "echo").Certificates})
	done := make(chan error, 1)
	go func() { done <- server.Handshake(); server.Close() }()
	wantErr(t, tls.Client(a, member.ClientTLS("mini", "echo")).Handshake(), ErrWrongHost)
	a.Close()
	<-done
}

func loopback(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{a, b} {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { conn.Close() })
	}
	return a, b
}

func TestCredentialFile(t *testing.T) {
	c := newTestCluster(t, Options{})
	made, err := c.id.IssueAdmin("ann", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ann.pem")
	if err := made.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file is %v, %v", info.Mode(), err)
	}
	if err := made.WriteFile(path); err == nil {
		t.Error("an existing file was overwritten")
	}
	read, err := ReadCredential(path)
	if err != nil {
		t.Fatal(err)
	}
	if read.Peer() != made.Peer() || !read.Expires().Equal(made.Expires()) || time.Until(read.Expires()) > time.Hour {
		t.Errorf("read %+v until %s", read.Peer(), read.Expires())
	}
	if err := c.call(read.ClientTLS("mini", "echo")); err != nil {
		t.Error(err)
	}
	wantErr(t, c.call(read.ClientTLS("rpi1", "echo")), ErrWrongHost)
	wantErr(t, newTestCluster(t, Options{}).call(read.ClientTLS("", "echo")), ErrStranger)
	data, err := made.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]string{
		"empty":         "",
		"cut short":     string(data[:len(data)/2]),
		"no key":        string(certificatePEM(made.pair.cert)) + string(certificatePEM(made.ca)),
		"other's key":   strings.Replace(string(data), "PRIVATE KEY", "NO KEY", 2),
		"not a PEM":     "hello",
		"only a host's": string(certificatePEM(c.id.ca.cert)),
	} {
		_, err := ParseCredential([]byte(broken))
		t.Run(name, func(t *testing.T) { wantErr(t, err, ErrCorrupt) })
	}
	_, err = c.id.IssueAdmin("Not A Label", 0)
	wantErr(t, err, ErrName)
}

// The certificate is renewed while the port is open: the next connection shows the new one, and both sides still agree.
func TestRenewWhileRunning(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	c := newTestCluster(t, Options{Clock: clock})
	member, err := c.join("rpi1", func(o *JoinOptions) { o.Clock = clock })
	if err != nil {
		t.Fatal(err)
	}
	config := member.ClientTLS("mini", "echo")
	server := shown(t, c, config)

	next, renewed, err := c.id.Renew()
	if err != nil || renewed || !next.After(now) {
		t.Fatalf("a fresh certificate: next %s, renewed %t, %v", next, renewed, err)
	}
	now = next
	again, renewed, err := c.id.Renew()
	if err != nil || !renewed || !again.After(next) {
		t.Fatalf("a certificate that is due: next %s, renewed %t, %v", again, renewed, err)
	}
	if _, renewed, err := member.Renew(); err != nil || !renewed {
		t.Fatalf("renewed %t, %v", renewed, err)
	}
	after := shown(t, c, config)
	if after.SerialNumber.Cmp(server.SerialNumber) == 0 {
		t.Error("the port shows the old certificate")
	}
	// Long after the first ones have run out.
	now = now.Add(hostLife / 3 * 2)
	shown(t, c, config)
	if reopened, err := Open(c.id.state, Options{}); err != nil || !reopened.Expires().Equal(after.NotAfter) {
		t.Errorf("on disk: %v", err)
	}
}

func shown(t *testing.T, c *testCluster, config *tls.Config) *x509.Certificate {
	t.Helper()
	var leaf *x509.Certificate
	looking := config.Clone()
	looking.VerifyConnection = func(cs tls.ConnectionState) error {
		leaf = cs.PeerCertificates[0]
		return config.VerifyConnection(cs)
	}
	if err := c.call(looking); err != nil {
		t.Fatal(err)
	}
	return leaf
}

// A host that was off for years admits itself again.
func TestRenewAfterYears(t *testing.T) {
	now := time.Now()
	c := newTestCluster(t, Options{Clock: func() time.Time { return now }})
	now = now.Add(5 * hostLife)
	again, err := Open(c.id.state, Options{Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if _, renewed, err := again.Renew(); err != nil || !renewed {
		t.Fatalf("renewed %t, %v", renewed, err)
	}
	if err := c.call(again.ClientTLS("mini", "echo")); err != nil {
		t.Error(err)
	}
	now = time.Unix(0, 0)
	_, _, err = again.Renew()
	wantErr(t, err, ErrClockSkew)
}

// Files that were replaced by hand are used from the next connection on, unless they are of no use.
func TestCertificateReplacedOnDisk(t *testing.T) {
	c := newTestCluster(t, Options{})
	member, err := c.join("rpi1")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.id.state, identityDir, hostCrt)
	before := shown(t, c, member.ClientTLS("mini", "echo"))
	if err := writeFile(path, []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c, member.ClientTLS("mini", "echo")); got.SerialNumber.Cmp(before.SerialNumber) != 0 {
		t.Error("another certificate is shown")
	}
	cert, err := c.id.ca.issue(c.id.Self(), c.id.host.key.Public(), time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(path, certificatePEM(cert), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c, member.ClientTLS("mini", "echo")); got.SerialNumber.Cmp(cert.SerialNumber) != 0 {
		t.Error("the certificate that was put there is not used")
	}
}
