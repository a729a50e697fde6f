package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// How long certificates are valid, and how far into the past that reaches so that clocks may differ a little.
const (
	authorityLife = 50 * 365 * 24 * time.Hour
	hostLife      = 365 * 24 * time.Hour
	// AdminLife is how long an administrator's credential is valid when nothing else is asked for.
	AdminLife = 365 * 24 * time.Hour
	// MaxSkew is by how much two hosts' clocks may differ when one joins the other's cluster.
	MaxSkew = time.Hour
)

// authority makes certificates of one cluster. All hosts have the same one.
type authority struct {
	clusterUID string
	cert       *x509.Certificate
	key        crypto.Signer
}

// newAuthority makes the authority of a new cluster.
func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority's key: %w", err)
	}
	uid := string(uuid.NewUUID())
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "clusterbackup " + uid},
		URIs:                  []*url.URL{{Scheme: scheme, Host: uid, Path: "/ca"}},
		NotBefore:             now.Add(-MaxSkew),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make authority's certificate: %w", err)
	}
	return &authority{clusterUID: uid, cert: cert, key: key}, nil
}

// newAuthorityFrom puts together what was read from files or from a peer, and checks that it fits together.
func newAuthorityFrom(cert *x509.Certificate, key crypto.Signer) (*authority, error) {
	if !cert.IsCA || len(cert.URIs) != 1 || cert.URIs[0].Scheme != scheme || cert.URIs[0].Path != "/ca" {
		return nil, fmt.Errorf("it is not the certificate of a clusterbackup authority")
	}
	if !sameKey(cert.PublicKey, key.Public()) {
		return nil, fmt.Errorf("certificate and key do not belong together")
	}
	return &authority{clusterUID: cert.URIs[0].Host, cert: cert, key: key}, nil
}

// fingerprint names the authority in tokens.
func (a *authority) fingerprint() [sha256.Size]byte { return sha256.Sum256(a.cert.Raw) }

// issue makes a certificate for a peer's public key.
func (a *authority) issue(p Peer, public crypto.PublicKey, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make certificate for %s: %w", p, err)
	}
	// A certificate is good for nothing outside its authority's time, so it claims none.
	from, until := now.Add(-MaxSkew), now.Add(life)
	if from.Before(a.cert.NotBefore) {
		from = a.cert.NotBefore
	}
	if until.After(a.cert.NotAfter) {
		until = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: p.Name, SerialNumber: p.Member},
		URIs:                  []*url.URL{p.uri()},
		NotBefore:             from,
		NotAfter:              until,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if p.Kind == KindHost {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %s: %w", p, err)
	}
	return x509.ParseCertificate(der)
}

// newKey makes the private key of a host or an administrator.
func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// memberID names a machine by the key it made for itself.
func memberID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:16]), nil
}

func sameKey(a, b crypto.PublicKey) bool {
	x, errX := x509.MarshalPKIXPublicKey(a)
	y, errY := x509.MarshalPKIXPublicKey(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
