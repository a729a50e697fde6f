package pki

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// joinTimeout bounds one join on either side.
const joinTimeout = 30 * time.Second

// JoinServer admits hosts that show one of this host's tokens. Its fields are set before the first use; ServeConn may be called at once
// for several connections.
type JoinServer struct {
	Identity *Identity
	// Admit makes the member known to the cluster (see Bind), durably, and returns what the newcomer shall know of the desired state. An error
	// that is ErrNameTaken is told to the newcomer as such, its text in any case. It is called for one newcomer at a time, and again for
	// one whose answer was lost.
	Admit func(ctx context.Context, m Member) (resources []byte, err error)
	// Versions are the protocol versions spoken; zero: JoinVersions.
	Versions Versions

	mu sync.Mutex
}

// ServeConn answers one newcomer on a connection whose TLS handshake was made for JoinProtocol, and leaves it to the caller to close.
// The error is for the log: the newcomer was told, in one line.
func (s *JoinServer) ServeConn(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	defer boundConn(ctx, conn)()
	var req joinRequest
	if err := readMessage(conn, maxJoinRequest, &req); err != nil {
		return fmt.Errorf("read join request: %w", err)
	}
	answer, err := s.answer(ctx, &req)
	if err != nil {
		answer = &joinAnswer{Code: codeOf(err), Message: err.Error()}
		err = fmt.Errorf("admit host %q: %w", req.Name, err)
	}
	answer.Versions, answer.Time = s.versions(), s.Identity.opts.now()
	return errors.Join(err, writeMessage(conn, answer))
}

func (s *JoinServer) versions() Versions {
	if s.Versions == (Versions{}) {
		return JoinVersions()
	}
	return s.Versions
}

// answer decides about one request. What needs no token to know is only what the request itself says.
func (s *JoinServer) answer(ctx context.Context, req *joinRequest) (*joinAnswer, error) {
	if !s.versions().meets(req.Versions) {
		return nil, fmt.Errorf("%w: the cluster's host %s speaks %s, the joining host %s; bring both to one release", ErrProtocol, s.Identity.Host(), s.versions(), req.Versions)
	}
	t := token{ca: s.Identity.ca.fingerprint()}
	if copy(t.id[:], req.Token) != len(req.Token) || copy(t.secret[:], req.Secret) != len(req.Secret) {
		return nil, ErrToken
	}
	// First of all, and cheaply: a stranger shall cost nothing.
	if _, err := s.Identity.tokens.valid(t); err != nil {
		return nil, err
	}
	member, public, err := newcomer(req)
	if err != nil {
		return nil, err
	}
	var answer *joinAnswer
	err = s.Identity.tokens.redeem(t, member, func() error {
		if skew := req.Time.Sub(s.Identity.opts.now()).Abs(); skew > MaxSkew {
			return &SkewError{Here: req.Time, There: s.Identity.opts.now()}
		}
		answer, err = s.admit(ctx, member, public)
		return err
	})
	return answer, err
}

// newcomer reads who wants to join, and checks that it has the key that it shows.
func newcomer(req *joinRequest) (Member, crypto.PublicKey, error) {
	if err := checkName(string(req.Name)); err != nil {
		return Member{}, nil, err
	}
	if _, _, err := splitAddress(req.Address); err != nil {
		return Member{}, nil, err
	}
	csr, err := x509.ParseCertificateRequest(req.Request)
	if err == nil && csr.PublicKeyAlgorithm != x509.ECDSA && csr.PublicKeyAlgorithm != x509.Ed25519 {
		err = fmt.Errorf("its key is of type %s", csr.PublicKeyAlgorithm)
	}
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return Member{}, nil, fmt.Errorf("%w: certificate request: %w", ErrRefused, err)
	}
	id, err := memberID(csr.PublicKey)
	return Member{Name: req.Name, ID: id, Address: req.Address}, csr.PublicKey, err
}

func (s *JoinServer) admit(ctx context.Context, m Member, public crypto.PublicKey) (*joinAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.Identity
	cert, err := id.ca.issue(Peer{ClusterUID: id.cluster.UID, Kind: KindHost, Name: string(m.Name), Member: m.ID}, public, id.opts.now(), hostLife)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(id.ca.key)
	if err != nil {
		return nil, err
	}
	resources, err := s.Admit(ctx, m)
	if err != nil {
		return nil, err
	}
	return &joinAnswer{
		AuthorityCertificate: id.ca.cert.Raw,
		AuthorityKey:         key,
		Certificate:          cert.Raw,
		Resources:            resources,
	}, nil
}

// boundConn makes everything on conn end with ctx. What it returns undoes that.
func boundConn(ctx context.Context, conn net.Conn) (release func()) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}
