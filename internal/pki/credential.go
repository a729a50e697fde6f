package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	v1 "clusterbackup/api/v1"
)

// Credential is what an administrator proves to be one with, from any machine: a certificate, its key, and the authority to know the
// cluster's hosts by. It cannot be revoked before it runs out.
type Credential struct {
	peer Peer
	pair keyPair
	ca   *x509.Certificate
}

// IssueAdmin makes a credential for an administrator, valid for that long; 0: AdminLife.
func (id *Identity) IssueAdmin(name string, life time.Duration) (*Credential, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if life < 0 {
		return nil, fmt.Errorf("make credential for %s: its life of %s is over before it begins", name, life)
	}
	if life == 0 {
		life = AdminLife
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make credential for %s: %w", name, err)
	}
	peer := Peer{ClusterUID: id.cluster.UID, Kind: KindAdmin, Name: name}
	cert, err := id.ca.issue(peer, key.Public(), id.opts.now(), life)
	if err != nil {
		return nil, err
	}
	return &Credential{peer: peer, pair: keyPair{cert: cert, key: key}, ca: id.ca.cert}, nil
}

// Peer is whom the credential names.
func (c *Credential) Peer() Peer { return c.peer }

// Expires is when it runs out.
func (c *Credential) Expires() time.Time { return c.pair.cert.NotAfter }

// Encode is the credential as a file: its certificate, its key and the authority's certificate, in PEM.
func (c *Credential) Encode() ([]byte, error) {
	key, err := keyPEM(c.pair.key)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{certificatePEM(c.pair.cert), key, certificatePEM(c.ca)}, nil), nil
}

// WriteFile writes the credential to a new file that only its owner can read. A file that is there already is left alone.
func (c *Credential) WriteFile(path string) error {
	data, err := c.Encode()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write credential: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write credential %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return nil
}

// ReadCredential reads what WriteFile wrote.
func ReadCredential(path string) (*Credential, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read credential: %w", err)
	}
	c, err := ParseCredential(data)
	if err != nil {
		return nil, fmt.Errorf("read credential %s: %w", path, err)
	}
	return c, nil
}

// ParseCredential decodes what Encode made: ErrCorrupt.
func ParseCredential(data []byte) (*Credential, error) {
	c, err := parseCredential(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; make another with `cbctl create identity`", ErrCorrupt, err)
	}
	return c, nil
}

func parseCredential(data []byte) (*Credential, error) {
	var c Credential
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if err := c.take(block); err != nil {
			return nil, err
		}
	}
	if c.pair.cert == nil || c.pair.key == nil || c.ca == nil {
		return nil, errors.New("it lacks a certificate, the key or the authority")
	}
	if !sameKey(c.pair.cert.PublicKey, c.pair.key.Public()) {
		return nil, errors.New("certificate and key do not belong together")
	}
	peer, err := peerOf(c.pair.cert)
	if err != nil {
		return nil, err
	}
	if c.peer, err = verify(c.ca, peer.ClusterUID, []*x509.Certificate{c.pair.cert}, c.pair.cert.NotBefore); err != nil {
		return nil, err
	}
	return &c, nil
}

func (c *Credential) take(block *pem.Block) (err error) {
	switch {
	case block.Type == pemKey:
		c.pair.key, err = parseKey(block.Bytes)
	case block.Type == pemCertificate && c.pair.cert == nil:
		c.pair.cert, err = x509.ParseCertificate(block.Bytes)
	case block.Type == pemCertificate:
		c.ca, err = x509.ParseCertificate(block.Bytes)
	}
	return err
}

// ClientTLS is the configuration to call a host with; host "": whichever host of the cluster answers.
func (c *Credential) ClientTLS(host v1.HostName, protocols ...string) *tls.Config {
	config := clientTLS(c.ca, c.peer.ClusterUID, host, time.Now, protocols)
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{c.pair.cert.Raw}, PrivateKey: c.pair.key, Leaf: c.pair.cert}}
	return config
}
