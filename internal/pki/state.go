package pki

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "clusterbackup/api/v1"
)

const stateFormat = 1

// The files of a state directory.
const (
	clusterFile  = "cluster.json"
	identityDir  = "identity"
	unfinished   = "identity.unfinished" // what init or join is still at; becomes identityDir in one step
	tokensDir    = "tokens"
	resourcesDir = "resources"
	authorityCrt = "ca.crt"
	authorityKey = "ca.key"
	hostCrt      = "host.crt"
	hostKey      = "host.key"
)

// Cluster is what a host knows of itself and its cluster before it has talked to anyone: STATE/cluster.json.
type Cluster struct {
	Format int         `json:"format"`
	UID    string      `json:"uid"`
	Host   v1.HostName `json:"host"`
	// Listen is where the daemon listens, Advertise where others reach it.
	Listen    string `json:"listen"`
	Advertise string `json:"advertise"`
}

// ReadCluster reads a state directory's cluster.json: ErrNoCluster, ErrCorrupt.
func ReadCluster(state string) (Cluster, error) {
	if err := finish(state); err != nil {
		return Cluster{}, err
	}
	path := filepath.Join(state, clusterFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(state, identityDir)); err == nil {
			return Cluster{}, corrupt(path, fmt.Errorf("it is missing, but %s is there", filepath.Join(state, identityDir)))
		}
		return Cluster{}, fmt.Errorf("%s: %w", state, ErrNoCluster)
	}
	if err != nil {
		return Cluster{}, fmt.Errorf("read state: %w", err)
	}
	return parseCluster(path, data)
}

func parseCluster(path string, data []byte) (Cluster, error) {
	var c Cluster
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&c); err != nil {
		return Cluster{}, corrupt(path, err)
	}
	if c.Format > stateFormat {
		return Cluster{}, fmt.Errorf("read %s: it was written by a newer version of this program (format %d, this one knows %d): use that version", path, c.Format, stateFormat)
	}
	if c.Format < 1 || c.UID == "" || checkName(string(c.Host)) != nil || c.Listen == "" {
		return Cluster{}, corrupt(path, errors.New("format, uid, host or listen is missing or impossible"))
	}
	return c, nil
}

// finish completes an init or join that was ended after its one decisive step: cluster.json lies beside the keys in the
// folder that was renamed, and still has to move up.
func finish(state string) error {
	err := os.Rename(filepath.Join(state, identityDir, clusterFile), filepath.Join(state, clusterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finish making state directory: %w", err)
	}
	return syncFolder(state)
}

// refuseMember tells whether a state directory is free for init or join.
func refuseMember(state string) error {
	c, err := ReadCluster(state)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w (%s, as host %s)", state, ErrBelongs, c.UID, c.Host)
	case errors.Is(err, ErrNoCluster):
		return nil
	}
	return err
}

// setAside moves away the desired state that a host without a cluster still has: of an attempt that was killed, or of a cluster that it
// was in before. It would spread into the one that is entered now.
func setAside(state string, now time.Time) error {
	from := filepath.Join(state, resourcesDir)
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	to := from + ".before-" + now.UTC().Format("20060102T150405.000000Z")
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("move old resources away: %w", err)
	}
	return nil
}

// draft is an identity in the making. Until commit, the state directory belongs to no cluster.
type draft struct{ state string }

func newDraft(state string) (*draft, error) {
	if err := os.MkdirAll(filepath.Join(state, unfinished), 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	return &draft{state: state}, nil
}

func (d *draft) path(name string) string { return filepath.Join(d.state, unfinished, name) }

// commit makes the draft the state directory's identity, in one step.
func (d *draft) commit(a *authority, host *keyPair, c Cluster) error {
	if err := d.write(a, host, c); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(d.state, unfinished), filepath.Join(d.state, identityDir)); err != nil {
		return fmt.Errorf("make identity: %w", err)
	}
	if err := syncFolder(d.state); err != nil {
		return fmt.Errorf("make identity: %w", err)
	}
	return finish(d.state)
}

func (d *draft) write(a *authority, host *keyPair, c Cluster) error {
	caKey, err := keyPEM(a.key)
	if err != nil {
		return err
	}
	key, err := keyPEM(host.key)
	if err != nil {
		return err
	}
	cluster, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		writeFile(d.path(authorityCrt), certificatePEM(a.cert), 0o644),
		writeFile(d.path(authorityKey), caKey, 0o600),
		writeFile(d.path(hostCrt), certificatePEM(host.cert), 0o644),
		writeFile(d.path(hostKey), key, 0o600),
		writeFile(d.path(clusterFile), append(cluster, '\n'), 0o644),
	)
}
