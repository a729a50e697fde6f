package daemon

import (
	"context"
	"iter"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
	"clusterbackup/transport"
)

type verifyRequest struct {
	Location v1.LocationName
	Source   v1.SourceName
	// Full reads large replicas whole that are otherwise sampled.
	Full bool
}

type feasibleRequest struct {
	Source   v1.SourceName
	Replicas int
}

// registerBetween has this host tell others what its own administrators ask them about: events, figures, verification. Each
// answer is about this host alone.
func registerBetween(server *transport.Server, b *backend) {
	transport.Handle(server, "cb.Events", func(_ context.Context, peer transport.Peer, q admin.EventQuery) ([]admin.Event, error) {
		if _, err := hostOf(peer); err != nil {
			return nil, err
		}
		return b.events.list(q), nil
	})
	transport.Handle(server, "cb.Top", func(_ context.Context, peer transport.Peer, q topRequest) ([]admin.TopRow, error) {
		if _, err := hostOf(peer); err != nil {
			return nil, err
		}
		return b.topHere(q.Kind), nil
	})
	transport.Handle(server, "cb.Feasible", func(_ context.Context, peer transport.Peer, q feasibleRequest) (string, error) {
		if _, err := hostOf(peer); err != nil {
			return "", err
		}
		return b.feasibleHere(q), nil
	})
	transport.HandleStream(server, "cb.Verify", func(ctx context.Context, peer transport.Peer, q verifyRequest) iter.Seq2[admin.VerifyProgress, error] {
		if _, err := hostOf(peer); err != nil {
			return failing[admin.VerifyProgress](err)
		}
		return func(yield func(admin.VerifyProgress, error) bool) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			send := func(p admin.VerifyProgress) bool {
				if ctx.Err() == nil && !yield(p, nil) {
					cancel()
				}
				return ctx.Err() == nil
			}
			if err := b.verifyHere(ctx, q, send); err != nil && ctx.Err() == nil {
				yield(admin.VerifyProgress{}, err)
			}
		}
	})
}

func callVerify(ctx context.Context, p *peers, host v1.HostName, q verifyRequest) iter.Seq2[admin.VerifyProgress, error] {
	return transport.CallStream[admin.VerifyProgress](ctx, p.client(host), "cb.Verify", q)
}

// feasibleHere says why so many replicas of a source of this host don't fit; empty if they do, or if that can't be told now.
func (b *backend) feasibleHere(q feasibleRequest) string {
	running, done := b.sources.Use(q.Source)
	defer done()
	if running == nil {
		return ""
	}
	return running.Coordinator.Feasible(q.Replicas)
}

// unfit says the same of a changed source on any host, and does not wait long for an answer.
func (b *backend) unfit(ctx context.Context, source *v1.Source) string {
	sources := b.desired.Sources()
	i := slices.IndexFunc(sources, func(s *v1.Source) bool { return s.Name == source.Name })
	if i < 0 || sources[i].Spec.Host != source.Spec.Host {
		return "" // nobody knows its files yet
	}
	want := source.DeepCopy()
	cluster := b.desired.Cluster()
	v1.Default(want, &cluster.Spec)
	q := feasibleRequest{v1.SourceName(source.Name), int(want.Spec.MinReplicas)}
	if source.Spec.Host == b.identity.Host() {
		return b.feasibleHere(q)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	why, err := askHost[string](ctx, b.peers, source.Spec.Host, "cb.Feasible", &q)
	if err != nil {
		return ""
	}
	return *why
}
