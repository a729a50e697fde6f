package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/desired"
	"clusterbackup/internal/pki"
)

// lostMark is there, in the folder of the resources, from when they were found lost until a member has handed all of them back: a
// daemon that ends half way goes on where it was.
const lostMark = ".lost"

// errLost is why a host that has lost its resources does not do what it is asked.
var errLost = errors.New("this host has lost its resources and waits for another member to hand them back")

// findLost tells whether this host has lost the desired state: it is a member, as its identity says, but knows of no host, not
// even of itself, nor of one that was deleted.
func (g *gossip) findLost(ctx context.Context, resources string) error {
	g.lostMark = filepath.Join(resources, lostMark)
	_, err := os.Lstat(g.lostMark)
	if errors.Is(err, fs.ErrNotExist) {
		if g.store.Knows(v1.KindHost) {
			return nil
		}
		err = os.WriteFile(g.lostMark, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("look whether %s is whole: %w", resources, err)
	}
	g.lost.Store(true)
	if g.foundAgain(ctx) {
		return nil
	}
	g.log.Info("This host is a member of its cluster, but its resources are lost: it takes them from the first member that calls it, and refuses everything else meanwhile. "+
		"If no other member is left, stop it and put the folder back from a copy", "folder", resources)
	return nil
}

// foundAgain ends the loss once this host knows what became of itself.
func (g *gossip) foundAgain(ctx context.Context) bool {
	self := string(g.peers.identity.Host())
	if _, err := desired.Get[v1.Host](ctx, g.store, self); err != nil && !g.store.Deleted(v1.KindHost, self) {
		return false
	}
	if err := os.Remove(g.lostMark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.log.Error(err, "Resources are here again, but that cannot be noted")
		return false
	}
	g.lost.Store(false)
	g.log.Info("Resources are complete again")
	return true
}

// takeBack has a host that called hand over the desired state. That it is of the cluster, its certificate has shown, and shows again
// where it is called back: the address is no more than a hint.
func (g *gossip) takeBack(ctx context.Context, from v1.HostName, address string) {
	if address == "" || g.store.Deleted(v1.KindHost, string(from)) {
		return
	}
	g.peers.introduce(from, address)
	if err := g.pull(ctx, from); err != nil {
		g.log.Info("Lost resources could not be taken from a host", "peer", from, "reason", err.Error())
	}
}

// serves tells whether a peer with a genuine certificate may call a method: members all that they may call, others nothing. While the
// resources are lost nobody is known to be a member, and hosts of the cluster may do what brings them back, no more.
func serves(lost, member bool, kind pki.Kind, method string) bool {
	if lost && kind == pki.KindHost {
		return method == methodPull
	}
	return member
}
