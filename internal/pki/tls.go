package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
)

// JoinProtocol is the ALPN name under which a host without a certificate may connect, to show a token.
const JoinProtocol = "cb-join/1"

// ServerTLS is the configuration of a host's port. Protocols are ALPN names in order of preference; a client that speaks none of them is
// refused. On all but JoinProtocol the client must prove to be a peer of this cluster whom allowed accepts (nil: every one); on
// JoinProtocol it proves nothing here, and [JoinServer] asks for its token.
//
// In TLS 1.3 a client learns that it was refused only when it first reads.
func (id *Identity) ServerTLS(allowed func(Peer) bool, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: slices.Clone(protocols),
		ClientAuth: tls.RequestClientCert,
		// Every connection shall be judged by what is true now.
		SessionTicketsDisabled: true,
		Time:                   id.opts.now,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return id.certificate(slices.Contains(hello.SupportedProtos, JoinProtocol)), nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			switch cs.NegotiatedProtocol {
			case JoinProtocol:
				return nil
			case "":
				return fmt.Errorf("%w: it names no protocol", ErrStranger)
			}
			peer, err := verify(id.ca.cert, id.cluster.UID, cs.PeerCertificates, id.opts.now())
			if err == nil && allowed != nil && !allowed(peer) {
				err = fmt.Errorf("%s: %w", peer, ErrRemoved)
			}
			return err
		},
	}
}

// ClientTLS is the configuration to call a host with. The connection fails with ErrWrongHost when another one answers, with ErrStranger when
// what answers is not of this cluster.
func (id *Identity) ClientTLS(host v1.HostName, protocols ...string) *tls.Config {
	config := clientTLS(id.ca.cert, id.cluster.UID, host, id.opts.now, protocols)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return id.certificate(false), nil
	}
	return config
}

// clientTLS trusts the named host of one cluster, or any of its hosts when host is "".
func clientTLS(ca *x509.Certificate, clusterUID string, host v1.HostName, now func() time.Time, protocols []string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: slices.Clone(protocols),
		Time:       now,
		// The library's own check looks for a DNS name; VerifyConnection looks for the host's URI instead and checks the rest.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			peer, err := verify(ca, clusterUID, cs.PeerCertificates, now())
			if err == nil && (peer.Kind != KindHost || host != "" && peer.Host() != host) {
				err = fmt.Errorf("%w: %s", ErrWrongHost, peer)
			}
			return err
		},
	}
}

// certificate is what this host shows. A joining host is shown the authority too, to compare its fingerprint.
func (id *Identity) certificate(withAuthority bool) *tls.Certificate {
	pair := id.current()
	c := &tls.Certificate{Certificate: [][]byte{pair.cert.Raw}, PrivateKey: pair.key, Leaf: pair.cert}
	if withAuthority {
		c.Certificate = append(c.Certificate, id.ca.cert.Raw)
	}
	return c
}
