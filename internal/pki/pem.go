package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
)

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

func certificatePEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw})
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

func parseKey(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key of type %T cannot sign", key)
	}
	return signer, nil
}

// readCertificate reads a file of one certificate.
func readCertificate(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, pemCertificate)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, corrupt(path, err)
	}
	return cert, nil
}

// readKey reads a file of one private key, which nobody but its owner may read.
func readKey(path string) (crypto.Signer, error) {
	info, err := os.Stat(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read %s: %w (mode %04o); if it was not copied by anyone, `chmod 600 %s`", path, ErrExposed, info.Mode().Perm(), path)
	}
	der, err := readPEM(path, pemKey)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(der)
	if err != nil {
		return nil, corrupt(path, err)
	}
	return key, nil
}

func readPEM(path, kind string) ([]byte, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, corrupt(path, errors.New("it is missing"))
	case err != nil:
		return nil, fmt.Errorf("read identity: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, corrupt(path, fmt.Errorf("it has no PEM block %q", kind))
	}
	return block.Bytes, nil
}

// corrupt names a file that cannot be understood, and the way out.
func corrupt(path string, why error) error {
	return fmt.Errorf("read %s: %w: %w; nothing was changed: put the file back from a backup, or move the state directory away and join again as a new host",
		path, ErrCorrupt, why)
}
