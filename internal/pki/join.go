package pki

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	v1 "clusterbackup/api/v1"
)

// JoinOptions say which cluster to join, and as whom.
type JoinOptions struct {
	Options
	// Address is the member to ask, HOST:PORT: the one whose token it is.
	Address string
	Token   string
	// Name is what this host shall be called.
	Name v1.HostName
	// Listen is where the daemon will listen; "": DefaultListen. Advertise is where others reach it; "": worked out from Listen and from
	// the connection to Address.
	Listen, Advertise string
	// Prepare is called with the cluster's desired state, as the member's Admit returned it, before the state directory becomes a member:
	// what it fails at undoes the whole. It may be called again after a crash. Nil: nothing.
	Prepare func(ctx context.Context, m Member, resources []byte) error
	// Versions are the protocol versions spoken; zero: JoinVersions.
	Versions Versions
}

// Join makes this host a member of a cluster. Errors: those of Init, ErrToken, ErrTokenExpired, ErrTokenUsed, ErrNameTaken, ErrClockSkew (as SkewError),
// ErrUnreachable, ErrProtocol, ErrOtherCluster, ErrRefused. After any of them the state directory belongs to no cluster, and Join may be called again: with the
// same token, name and directory it completes a join whose answer was lost.
func Join(ctx context.Context, state string, opts JoinOptions) (*Identity, error) {
	if err := checkName(string(opts.Name)); err != nil {
		return nil, err
	}
	t, err := parseToken(opts.Token)
	if err != nil {
		return nil, err
	}
	if _, _, err := splitAddress(opts.Address); err != nil {
		return nil, err
	}
	// Whatever is wrong with the addresses shall be said before anyone is asked.
	if _, err := describe(opts.Name, opts.Listen, opts.Advertise, nil); err != nil {
		return nil, err
	}
	if opts.Versions == (Versions{}) {
		opts.Versions = JoinVersions()
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	return enter(state, opts.Options, func(d *draft) error {
		j := joining{JoinOptions: opts, token: t, draft: d}
		return j.run(ctx)
	})
}

// joining is one attempt to join.
type joining struct {
	JoinOptions
	token token
	draft *draft

	key     crypto.Signer
	cluster Cluster
	member  Member
}

func (j *joining) run(ctx context.Context) error {
	conn, err := j.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer boundConn(ctx, conn)()
	if j.cluster, err = describe(j.Name, j.Listen, j.Advertise, conn.LocalAddr()); err != nil {
		return err
	}
	req, err := j.request()
	if err != nil {
		return err
	}
	answer, err := j.exchange(conn, req)
	if err != nil {
		return err
	}
	return j.settle(ctx, answer)
}

// connect dials the member and makes sure that it is of the token's cluster.
func (j *joining) connect(ctx context.Context) (*tls.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", j.Address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; is the daemon running there, and does no firewall stand between?", ErrUnreachable, err)
	}
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{JoinProtocol},
		// Trust comes from the token's fingerprint: see check.
		InsecureSkipVerify: true,
		VerifyConnection:   func(cs tls.ConnectionState) error { return j.check(cs.PeerCertificates) },
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, j.explain(err)
	}
	if conn.ConnectionState().NegotiatedProtocol != JoinProtocol {
		conn.Close()
		return nil, fmt.Errorf("%w: what answers there does not speak %s", ErrProtocol, JoinProtocol)
	}
	return conn, nil
}

// check compares what the member shows with the token, before anything secret is sent.
func (j *joining) check(chain []*x509.Certificate) error {
	for _, ca := range chain {
		if (&authority{cert: ca}).fingerprint() != j.token.ca || len(ca.URIs) != 1 {
			continue
		}
		peer, err := verify(ca, ca.URIs[0].Host, chain[:1], chain[0].NotBefore)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrOtherCluster, err)
		}
		if peer.Kind != KindHost {
			return fmt.Errorf("%w: %s is no host", ErrOtherCluster, peer)
		}
		return j.checkTime(chain[0])
	}
	return fmt.Errorf("%w: its authority is not the one that the token names", ErrOtherCluster)
}

// checkTime tells whether the two hosts can prove themselves to each other by this host's clock.
func (j *joining) checkTime(cert *x509.Certificate) error {
	now := j.now()
	switch {
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the other's certificate is valid from %s: %w", cert.NotBefore.Format(time.RFC3339), &SkewError{Here: now, There: cert.NotBefore})
	case now.After(cert.NotAfter):
		return fmt.Errorf("the other's certificate is valid until %s: %w", cert.NotAfter.Format(time.RFC3339), &SkewError{Here: now, There: cert.NotAfter})
	}
	return nil
}

// explain tells apart the reasons for which a handshake fails.
func (j *joining) explain(err error) error {
	var header tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, ErrOtherCluster), errors.Is(err, ErrClockSkew):
		return err
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert: it found nothing that both speak
		return fmt.Errorf("%w: what answers there does not speak %s (%w); bring both hosts to one release", ErrProtocol, JoinProtocol, err)
	case errors.As(err, &header):
		return fmt.Errorf("%w: what answers there is no clusterbackup daemon", ErrOtherCluster)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// request is what to send. The key is kept before it is: if the answer is lost, the member knows this host again by it.
func (j *joining) request() (*joinRequest, error) {
	var err error
	if j.key, err = j.draft.hostKey(); err != nil {
		return nil, err
	}
	id, err := memberID(j.key.Public())
	if err != nil {
		return nil, err
	}
	j.member = Member{Name: j.Name, ID: id, Address: j.cluster.Advertise}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: string(j.Name)}}, j.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return &joinRequest{
		Versions: j.Versions,
		Token:    j.token.id[:],
		Secret:   j.token.secret[:],
		Name:     j.Name,
		Address:  j.member.Address,
		Request:  csr,
		Time:     j.now(),
	}, nil
}

// hostKey is the key of an earlier attempt, or a new one.
func (d *draft) hostKey() (crypto.Signer, error) {
	key, err := readKey(d.path(hostKey))
	if err == nil {
		return key, nil
	}
	if _, missing := os.Stat(d.path(hostKey)); !errors.Is(missing, fs.ErrNotExist) {
		return nil, err
	}
	if key, err = newKey(); err != nil {
		return nil, fmt.Errorf("make host key: %w", err)
	}
	data, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(d.path(hostKey), data, 0o600)
}

func (j *joining) exchange(conn net.Conn, req *joinRequest) (*joinAnswer, error) {
	if err := writeMessage(conn, req); err != nil {
		return nil, fmt.Errorf("%w: connection lost while asking: %w", ErrUnreachable, err)
	}
	var answer joinAnswer
	if err := readMessage(conn, maxJoinAnswer, &answer); err != nil {
		if errors.Is(err, errMessage) {
			return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		return nil, fmt.Errorf("%w: connection lost before the answer: %w; try again with the same token", ErrUnreachable, err)
	}
	switch err := errorOf(&answer); {
	case answer.Code == "":
		return &answer, nil
	case errors.Is(err, ErrClockSkew):
		return nil, &SkewError{Here: req.Time, There: answer.Time}
	default:
		return nil, err
	}
}

// settle checks what the member handed over and makes it this host's identity.
func (j *joining) settle(ctx context.Context, a *joinAnswer) error {
	ca, cert, err := j.open(a)
	if err != nil {
		return fmt.Errorf("%w: its answer is of no use: %w", ErrRefused, err)
	}
	if err := j.checkTime(cert); err != nil {
		return err
	}
	if j.Prepare != nil {
		if err := j.Prepare(ctx, j.member, a.Resources); err != nil {
			return fmt.Errorf("take over desired state: %w", err)
		}
	}
	j.cluster.UID = ca.clusterUID
	return j.draft.commit(ca, &keyPair{cert: cert, key: j.key}, j.cluster)
}

func (j *joining) open(a *joinAnswer) (*authority, *x509.Certificate, error) {
	caCert, err := x509.ParseCertificate(a.AuthorityCertificate)
	if err != nil {
		return nil, nil, err
	}
	caKey, err := parseKey(a.AuthorityKey)
	if err != nil {
		return nil, nil, err
	}
	ca, err := newAuthorityFrom(caCert, caKey)
	if err != nil {
		return nil, nil, err
	}
	if ca.fingerprint() != j.token.ca {
		return nil, nil, ErrOtherCluster
	}
	cert, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return nil, nil, err
	}
	peer, err := verify(ca.cert, ca.clusterUID, []*x509.Certificate{cert}, cert.NotBefore)
	if err == nil && (peer.Host() != j.Name || peer.Member != j.member.ID || !sameKey(cert.PublicKey, j.key.Public())) {
		err = fmt.Errorf("certificate is of %s", peer)
	}
	return ca, cert, err
}
