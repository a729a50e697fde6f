package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"

	"github.com/go-logr/logr"
)

// Options are what an identity may be told. The zero value is useful.
type Options struct {
	// Clock is the time; nil: time.Now.
	Clock func() time.Time
	// Log hears of certificates that changed on disk and could not be used.
	Log logr.Logger
}

func (o Options) now() time.Time {
	if o.Clock == nil {
		return time.Now()
	}
	return o.Clock()
}

// keyPair is a certificate and its private key.
type keyPair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Identity is a host's membership: what it proves itself with, and what it knows others by. Safe for concurrent use.
type Identity struct {
	state   string
	opts    Options
	cluster Cluster
	ca      *authority
	tokens  *Tokens

	mu   sync.Mutex
	host keyPair
	seen [2]fileStamp // of the certificate and key files when they were last read
}

// fileStamp tells whether a file was written since.
type fileStamp struct {
	size    int64
	modTime time.Time
}

func stampOf(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{size: info.Size(), modTime: info.ModTime()}
}

// Open reads the identity of a state directory: ErrNoCluster, ErrCorrupt, ErrExposed. It takes no lock, so that short-lived helpers of a
// running daemon may use it too.
func Open(state string, opts Options) (*Identity, error) {
	cluster, err := ReadCluster(state)
	if err != nil {
		return nil, err
	}
	ca, err := readAuthority(filepath.Join(state, identityDir))
	if err != nil {
		return nil, err
	}
	if ca.clusterUID != cluster.UID {
		return nil, corrupt(filepath.Join(state, identityDir, authorityCrt), fmt.Errorf("it is of cluster %s, but %s says %s", ca.clusterUID, clusterFile, cluster.UID))
	}
	id := &Identity{state: state, opts: opts, cluster: cluster, ca: ca}
	id.tokens = newTokens(filepath.Join(state, tokensDir), ca.fingerprint(), opts)
	if err := id.load(); err != nil {
		return nil, err
	}
	return id, nil
}

func readAuthority(dir string) (*authority, error) {
	cert, err := readCertificate(filepath.Join(dir, authorityCrt))
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, authorityKey))
	if err != nil {
		return nil, err
	}
	ca, err := newAuthorityFrom(cert, key)
	if err != nil {
		return nil, corrupt(filepath.Join(dir, authorityCrt), err)
	}
	return ca, nil
}

// load reads the host's certificate and key from disk.
func (id *Identity) load() error {
	dir := filepath.Join(id.state, identityDir)
	crt, key := filepath.Join(dir, hostCrt), filepath.Join(dir, hostKey)
	seen := [2]fileStamp{stampOf(crt), stampOf(key)}
	pair, err := id.readPair(crt, key)
	id.mu.Lock()
	defer id.mu.Unlock()
	id.seen = seen
	if err != nil {
		return err
	}
	id.host = pair
	return nil
}

func (id *Identity) readPair(crt, key string) (keyPair, error) {
	cert, err := readCertificate(crt)
	if err != nil {
		return keyPair{}, err
	}
	signer, err := readKey(key)
	if err != nil {
		return keyPair{}, err
	}
	if !sameKey(cert.PublicKey, signer.Public()) {
		return keyPair{}, corrupt(crt, fmt.Errorf("it does not belong to the key in %s", key))
	}
	// Its time does not matter here: one that has run out is renewed, not refused.
	peer, err := verify(id.ca.cert, id.cluster.UID, []*x509.Certificate{cert}, cert.NotBefore)
	if err == nil && peer.Host() != id.cluster.Host {
		err = fmt.Errorf("it is of %s, but %s says host %s", peer, clusterFile, id.cluster.Host)
	}
	if err != nil {
		return keyPair{}, corrupt(crt, err)
	}
	return keyPair{cert: cert, key: signer}, nil
}

// current is the certificate to show now. When the files changed since they were read, they are read again; when they cannot be
// used, what was read before stays in use.
func (id *Identity) current() keyPair {
	dir := filepath.Join(id.state, identityDir)
	now := [2]fileStamp{stampOf(filepath.Join(dir, hostCrt)), stampOf(filepath.Join(dir, hostKey))}
	id.mu.Lock()
	changed := now != id.seen
	id.mu.Unlock()
	if changed {
		if err := id.load(); err != nil {
			id.opts.Log.Error(err, "Host certificate changed on disk, keeping the one in use")
		}
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.host
}

// Cluster is what the state directory says of this host.
func (id *Identity) Cluster() Cluster { return id.cluster }

// Self is this host as its peers see it.
func (id *Identity) Self() Peer {
	return Peer{ClusterUID: id.cluster.UID, Kind: KindHost, Name: string(id.cluster.Host), Member: id.current().cert.Subject.SerialNumber}
}

// Member is this host as Bind writes it into its Host resource.
func (id *Identity) Member() Member {
	return Member{Name: id.cluster.Host, ID: id.Self().Member, Address: id.cluster.Advertise}
}

// Host is this host's name.
func (id *Identity) Host() v1.HostName { return id.cluster.Host }

// ClusterUID is the cluster's identity.
func (id *Identity) ClusterUID() string { return id.cluster.UID }

// Expires is when the certificate in use runs out.
func (id *Identity) Expires() time.Time { return id.current().cert.NotAfter }

// Tokens are the join tokens of this host.
func (id *Identity) Tokens() *Tokens { return id.tokens }

// Renew replaces the host's certificate once two thirds of its life are over (or all of it: a host that was off for years admits
// itself again, since it holds the authority's key; whether it is still a member is for the others to say). It tells when to call
// again. Connections made afterwards show the new certificate; the key stays.
func (id *Identity) Renew() (next time.Time, renewed bool, err error) {
	now, pair := id.opts.now(), id.current()
	if due := renewalTime(pair.cert); now.Before(due) && !now.Before(pair.cert.NotBefore) {
		return due, false, nil
	}
	if now.Before(id.ca.cert.NotBefore) {
		return time.Time{}, false, fmt.Errorf("renew certificate: %w", &SkewError{Here: now, There: id.ca.cert.NotBefore})
	}
	cert, err := id.ca.issue(id.Self(), pair.key.Public(), now, hostLife)
	if err != nil {
		return time.Time{}, false, err
	}
	if err := writeFile(filepath.Join(id.state, identityDir, hostCrt), certificatePEM(cert), 0o644); err != nil {
		return time.Time{}, false, fmt.Errorf("renew certificate: %w", err)
	}
	if err := id.load(); err != nil {
		return time.Time{}, false, err
	}
	return renewalTime(cert), true, nil
}

func renewalTime(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 3 * 2)
}

// InitOptions say what the first host of a new cluster is like.
type InitOptions struct {
	Options
	// Name is the host's.
	Name v1.HostName
	// Listen is where the daemon listens; "": DefaultListen. Advertise is where others reach it; "": worked out from Listen.
	Listen, Advertise string
	// Prepare is called before the state directory becomes a member: what it fails at undoes the whole. It may be called again after
	// a crash. Nil: nothing.
	Prepare func(Member) error
}

// Init makes a new cluster with this host as its first: ErrBelongs, ErrLocked, ErrName, ErrAddress, ErrCorrupt.
func Init(state string, opts InitOptions) (*Identity, error) {
	if err := checkName(string(opts.Name)); err != nil {
		return nil, err
	}
	cluster, err := describe(opts.Name, opts.Listen, opts.Advertise, nil)
	if err != nil {
		return nil, err
	}
	return enter(state, opts.Options, func(d *draft) error { return found(d, cluster, opts) })
}

// found makes the new cluster's authority and its first host.
func found(d *draft, cluster Cluster, opts InitOptions) error {
	now := opts.now()
	ca, err := newAuthority(now)
	if err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return fmt.Errorf("make host key: %w", err)
	}
	member, err := memberID(key.Public())
	if err != nil {
		return err
	}
	cluster.UID = ca.clusterUID
	cert, err := ca.issue(Peer{ClusterUID: ca.clusterUID, Kind: KindHost, Name: string(opts.Name), Member: member}, key.Public(), now, hostLife)
	if err != nil {
		return err
	}
	if opts.Prepare != nil {
		if err := opts.Prepare(Member{Name: opts.Name, ID: member, Address: cluster.Advertise}); err != nil {
			return fmt.Errorf("prepare state directory: %w", err)
		}
	}
	return d.commit(ca, &keyPair{cert: cert, key: key}, cluster)
}

// enter runs what makes a state directory a member, alone and only if it is none.
func enter(state string, opts Options, makeMember func(*draft) error) (_ *Identity, err error) {
	lock, err := Lock(state)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := refuseMember(state); err != nil {
		return nil, err
	}
	if err := setAside(state, opts.now()); err != nil {
		return nil, err
	}
	d, err := newDraft(state)
	if err != nil {
		return nil, err
	}
	if err := makeMember(d); err != nil {
		return nil, err
	}
	return Open(state, opts)
}
