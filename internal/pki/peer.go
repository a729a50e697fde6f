package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
	"time"

	v1 "clusterbackup/api/v1"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Kind tells hosts from administrators.
type Kind string

// The kinds of peers.
const (
	KindHost  Kind = "host"
	KindAdmin Kind = "admin"
)

const scheme = "clusterbackup"

// Peer is who a certificate says its bearer is.
type Peer struct {
	ClusterUID string
	Kind       Kind
	// Name is the host's, or the administrator's.
	Name string
	// Member tells apart two machines that bear one name in turn: the first is removed, the second joins. Empty for administrators.
	Member string
}

// Host is the peer's host name; "" for an administrator, who is no host.
func (p Peer) Host() v1.HostName {
	if p.Kind != KindHost {
		return ""
	}
	return v1.HostName(p.Name)
}

// String is for people: "host mini", "admin ann".
func (p Peer) String() string { return string(p.Kind) + " " + p.Name }

func (p Peer) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: p.ClusterUID, Path: "/" + string(p.Kind) + "/" + p.Name}
}

// PeerOf is who is at the other end of a connection made with this package's configurations. A connection on which the peer
// showed no certificate (a joining host) gives ErrStranger.
func PeerOf(cs *tls.ConnectionState) (Peer, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return Peer{}, fmt.Errorf("%w: it shows no certificate", ErrStranger)
	}
	return peerOf(cs.PeerCertificates[0])
}

// peerOf reads the name out of a certificate; whether the certificate is genuine is not asked here.
func peerOf(cert *x509.Certificate) (Peer, error) {
	if len(cert.URIs) != 1 {
		return Peer{}, fmt.Errorf("%w: its certificate has %d names, want 1", ErrStranger, len(cert.URIs))
	}
	u := cert.URIs[0]
	kind, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	p := Peer{ClusterUID: u.Host, Kind: Kind(kind), Name: name}
	known := p.Kind == KindHost || p.Kind == KindAdmin
	if !ok || !known || u.Scheme != scheme || u.Host == "" || checkName(name) != nil || *u != *p.uri() {
		return Peer{}, fmt.Errorf("%w: its certificate names %q", ErrStranger, u)
	}
	if p.Kind == KindHost {
		p.Member = cert.Subject.SerialNumber
	}
	return p, nil
}

// verify checks that a chain shown by a peer is of this authority at that time, and tells whom it names.
func verify(ca *x509.Certificate, clusterUID string, chain []*x509.Certificate, at time.Time) (Peer, error) {
	if len(chain) == 0 {
		return Peer{}, fmt.Errorf("%w: it shows no certificate", ErrStranger)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:       roots,
		CurrentTime: at,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrStranger, err)
	}
	p, err := peerOf(chain[0])
	if err != nil {
		return Peer{}, err
	}
	if p.ClusterUID != clusterUID {
		return Peer{}, fmt.Errorf("%w: it is of cluster %s", ErrStranger, p.ClusterUID)
	}
	return p, nil
}

// checkName tells whether a host or administrator may be called so.
func checkName(name string) error {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return fmt.Errorf("%w: %q: use lower-case letters, digits and dashes, at most 63, beginning and ending with a letter or digit", ErrName, name)
	}
	return nil
}
