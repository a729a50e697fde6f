package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/desired"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/version"
	"clusterbackup/transport"
)

func resourcesDir(state string) string { return filepath.Join(state, "resources") }

// foundDesired is the desired state of a new cluster: its first host, and the Cluster with nothing but defaults.
func foundDesired(state string, m pki.Member) error {
	store, err := desired.Open(resourcesDir(state), desired.Options{Host: m.Name})
	if err != nil {
		return err
	}
	cluster := &v1.Cluster{}
	cluster.Name = v1.ClusterName
	v1.SetKind(cluster)
	if _, err := store.Apply(context.Background(), cluster, desired.ApplyOptions{}); err != nil {
		return err
	}
	return admitMember(context.Background(), store, m)
}

// adoptDesired takes over the desired state that a member handed to this host as it joined.
func adoptDesired(state string, m pki.Member, resources []byte) error {
	store, err := desired.Open(resourcesDir(state), desired.Options{Host: m.Name})
	if err != nil {
		return err
	}
	return store.Import(context.Background(), resources)
}

// admitMember makes a machine's Host resource, or refuses the name.
func admitMember(ctx context.Context, store *desired.Files, m pki.Member) error {
	present, err := desired.Get[v1.Host](ctx, store, string(m.Name))
	var bound *v1.Host
	switch {
	case errors.Is(err, desired.ErrNotFound):
		bound, err = pki.Bind(nil, m)
	case err == nil:
		bound, err = pki.Bind(present, m)
	}
	if err != nil {
		return err
	}
	_, err = store.Apply(ctx, bound, desired.ApplyOptions{System: true})
	return err
}

// view is the desired state with defaults filled in, read from the store once after each change.
type view struct {
	store *desired.Files

	mu     sync.Mutex
	fresh  bool
	cached struct {
		sources   []v1.Source
		locations []v1.Location
		hosts     []v1.Host
		cluster   v1.Cluster
	}
}

var _ controllers.Desired = (*view)(nil)

func (v *view) changed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fresh = false
}

// read refreshes the cache if need be. The caller holds v.mu. A store of files answers from memory and cannot fail.
func (v *view) read() {
	if v.fresh {
		return
	}
	v.fresh = true
	ctx := context.Background()
	cluster, err := desired.Get[v1.Cluster](ctx, v.store, v1.ClusterName)
	if err != nil {
		cluster = &v1.Cluster{}
		cluster.Name = v1.ClusterName
	}
	v1.Default(cluster, nil)
	v.cached.cluster = *cluster
	v.cached.sources, _ = desired.List[v1.Source](ctx, v.store)
	v.cached.locations, _ = desired.List[v1.Location](ctx, v.store)
	v.cached.hosts, _ = desired.List[v1.Host](ctx, v.store)
	for i := range v.cached.sources {
		v1.Default(&v.cached.sources[i], &cluster.Spec)
	}
	for i := range v.cached.locations {
		v1.Default(&v.cached.locations[i], &cluster.Spec)
	}
	for i := range v.cached.hosts {
		v1.Default(&v.cached.hosts[i], &cluster.Spec)
	}
}

func (v *view) Sources() []*v1.Source {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read()
	return copies(v.cached.sources, (*v1.Source).DeepCopy)
}

func (v *view) Locations() []*v1.Location {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read()
	return copies(v.cached.locations, (*v1.Location).DeepCopy)
}

func (v *view) Hosts() []*v1.Host {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read()
	return copies(v.cached.hosts, (*v1.Host).DeepCopy)
}

func (v *view) Cluster() *v1.Cluster {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read()
	return v.cached.cluster.DeepCopy()
}

func copies[T any](all []T, deepCopy func(*T) *T) []*T {
	out := make([]*T, len(all))
	for i := range all {
		out[i] = deepCopy(&all[i])
	}
	return out
}

// host returns the Host resource of a name, nil if there is none.
func (v *view) host(name v1.HostName) *v1.Host {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read()
	return one[v1.Host](v.cached.hosts, string(name))
}

// source returns the Source resource of a name, nil if there is none.
func (v *view) source(name v1.SourceName) *v1.Source {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read()
	return one[v1.Source](v.cached.sources, string(name))
}

// one is a copy of the object of a name, nil if there is none.
func one[T any, P interface {
	*T
	GetName() string
	DeepCopy() *T
}](all []T, name string) *T {
	for i := range all {
		if o := P(&all[i]); o.GetName() == name {
			return o.DeepCopy()
		}
	}
	return nil
}

// The messages by which desired state spreads: the asker sends its digest, and what it has if that is another.
type (
	pullRequest struct {
		Digest desired.SetDigest
		Have   []desired.Have
		Seen   map[v1.HostName]time.Duration // how long ago the asker heard of each host
		// Address is where the asker is reached, for a host that has lost what it knew of the others.
		Address string
		// Version is the asker's daemon's.
		Version string
	}
	pullAnswer struct {
		Same  bool
		Items []desired.Item
		Seen  map[v1.HostName]time.Duration
		// Version is the answerer's daemon's.
		Version string
	}
)

// changedNotice tells a host that something was changed at the sender, which is worth a pull.
type changedNotice struct{ Digest desired.SetDigest }

// gossip answers pulls of other hosts and pulls from them.
type gossip struct {
	store *desired.Files
	peers *peers
	log   logr.Logger
	// lost: the desired state is, and is to be taken from the first member that calls.
	lost     atomic.Bool
	lostMark string
}

// methodPull is what hosts call to learn what is newer.
const methodPull = "cb.Pull"

// announce tells every other host that something was changed here. It is a courtesy: whoever misses it learns of the change by
// its next pull.
func (g *gossip) announce(ctx context.Context, hosts []*v1.Host) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var telling sync.WaitGroup
	for _, h := range hosts {
		if name := v1.HostName(h.Name); name != g.peers.identity.Host() {
			telling.Go(func() { askHost[struct{}](ctx, g.peers, name, "cb.Changed", &changedNotice{g.store.Digest()}) })
		}
	}
	telling.Wait()
}

func (g *gossip) register(server *transport.Server) {
	transport.Handle(server, "cb.Changed", func(ctx context.Context, peer transport.Peer, q changedNotice) (struct{}, error) {
		from, err := hostOf(peer)
		if err != nil {
			return struct{}{}, err
		}
		g.peers.heard(from, time.Now())
		if q.Digest == g.store.Digest() {
			return struct{}{}, nil
		}
		return struct{}{}, g.pull(ctx, from)
	})
	transport.Handle(server, methodPull, func(ctx context.Context, peer transport.Peer, q pullRequest) (pullAnswer, error) {
		from, err := hostOf(peer)
		if err != nil {
			return pullAnswer{}, err
		}
		g.peers.heard(from, time.Now())
		g.peers.heardOf(q.Seen)
		g.peers.setVersion(from, q.Version)
		if g.lost.Load() {
			g.takeBack(ctx, from, q.Address)
		}
		a := pullAnswer{Same: q.Digest == g.store.Digest(), Seen: g.peers.ages(), Version: version.Get().Version}
		if !a.Same && q.Have != nil {
			a.Items = g.store.Diff(q.Have)
		}
		return a, nil
	})
}

// pulled notes that there is nothing more to take from a host.
func (g *gossip) pulled(ctx context.Context) {
	if g.lost.Load() {
		g.foundAgain(ctx)
	}
}

// pull takes in what a host has that is newer. Hosts that agree exchange a digest each.
func (g *gossip) pull(ctx context.Context, host v1.HostName) error {
	if err := g.store.Refresh(ctx); err != nil {
		return err
	}
	request := pullRequest{Digest: g.store.Digest(), Seen: g.peers.ages(), Address: g.peers.own(), Version: version.Get().Version}
	for {
		answer, err := askHost[pullAnswer](ctx, g.peers, host, methodPull, &request)
		if err != nil {
			return err
		}
		g.peers.heardOf(answer.Seen)
		g.peers.setVersion(host, answer.Version)
		if answer.Same {
			g.pulled(ctx)
			return nil
		}
		if request.Have == nil {
			request.Have = g.store.Have()
			continue
		}
		merged, err := g.store.Merge(ctx, answer.Items)
		if err != nil {
			return err
		}
		if len(merged.Refused) > 0 {
			g.pulled(ctx)
			return fmt.Errorf("take over desired state: %w", errors.Join(merged.Refused...))
		}
		// Nothing more to take: what differs is newer here, and is the other host's to pull.
		if merged.Taken == 0 {
			g.pulled(ctx)
			return nil
		}
		request.Digest, request.Have = g.store.Digest(), g.store.Have()
	}
}
