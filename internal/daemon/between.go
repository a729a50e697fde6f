package daemon

import (
	"context"
	"iter"

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
