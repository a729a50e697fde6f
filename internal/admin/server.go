package admin

import (
	"context"
	"iter"

	v1 "clusterbackup/api/v1"
	"clusterbackup/transport"
)

// Register answers the administrators' questions on server from b. allow is asked for every one of them whether this peer is an
// administrator; its error is what the peer is told.
func Register(server *transport.Server, b Backend, allow func(transport.Peer) error) {
	r := registry{server, allow}
	registerResources(r, b)
	registerFiles(r, b)
	registerMembers(r, b)
	registerOperations(r, b)
	registerHolders(r, b)
}

type registry struct {
	server *transport.Server
	allow  func(transport.Peer) error
}

// handle answers one method.
func handle[Req, Resp any](r registry, method string, answer func(context.Context, Req) (Resp, error)) {
	transport.Handle(r.server, methodPrefix+method, func(ctx context.Context, peer transport.Peer, req Req) (envelope[Resp], error) {
		if err := r.allow(peer); err != nil {
			return seal(*new(Resp), denied(err)), nil
		}
		return seal(answer(ctx, req)), nil
	})
}

// handleStream answers one method with a stream.
func handleStream[Req, T any](r registry, method string, answer func(context.Context, Req) iter.Seq2[T, error]) {
	transport.HandleStream(r.server, methodPrefix+method, func(ctx context.Context, peer transport.Peer, req Req) iter.Seq2[envelope[T], error] {
		return func(yield func(envelope[T], error) bool) {
			if err := r.allow(peer); err != nil {
				yield(seal(*new(T), denied(err)), nil)
				return
			}
			for item, err := range answer(ctx, req) {
				if !yield(seal(item, err), nil) || err != nil {
					return
				}
			}
		}
	})
}

func denied(err error) error {
	if ReasonOf(err) != Failed {
		return err
	}
	return Errorf(Denied, "", "%v", err)
}

func registerResources(r registry, b Resources) {
	handle(r, "Get", func(ctx context.Context, req getRequest) ([]wireObject, error) {
		objs, err := b.Get(ctx, req.Kind, req.Names...)
		if err != nil {
			return nil, err
		}
		return packObjects(objs)
	})
	handle(r, "Apply", func(ctx context.Context, req applyRequest) ([]wireApplied, error) {
		objs, err := unpackObjects(req.Objects)
		if err != nil {
			return nil, err
		}
		applied, err := b.Apply(ctx, objs, req.Options)
		if err != nil {
			return nil, err
		}
		return packApplied(applied)
	})
	handle(r, "Delete", func(ctx context.Context, req deleteRequest) (none, error) {
		return none{}, b.Delete(ctx, req.Kind, req.Name, req.Force)
	})
	handle(r, "Events", func(ctx context.Context, req EventQuery) ([]Event, error) { return b.Events(ctx, req) })
}

func registerFiles(r registry, b Files) {
	handleStream(r, "Files", func(ctx context.Context, req wireQuery) iter.Seq2[wirePage, error] {
		return mapSeq(b.Files(ctx, req.unpack()), packPage)
	})
	handle(r, "File", func(ctx context.Context, req fileRequest) (wireObject, error) {
		file, err := b.File(ctx, req.Source, v1.RelPath(req.Path))
		if err != nil {
			return wireObject{}, err
		}
		return packObject(file)
	})
}

func registerMembers(r registry, b Members) {
	handle(r, "Version", func(ctx context.Context, _ none) (VersionInfo, error) { return b.Version(ctx) })
	handle(r, "CreateToken", func(ctx context.Context, req tokenRequest) (Token, error) { return b.CreateToken(ctx, req.TTL) })
	handle(r, "CreateIdentity", func(ctx context.Context, req identityRequest) (Identity, error) {
		return b.CreateIdentity(ctx, req.Name)
	})
}

func registerOperations(r registry, b Operations) {
	handle(r, "Approve", func(ctx context.Context, req approveRequest) (int64, error) { return b.Approve(ctx, req.Source) })
	handleStream(r, "Verify", func(ctx context.Context, req VerifyQuery) iter.Seq2[wireProgress, error] {
		return mapSeq(b.Verify(ctx, req), func(p VerifyProgress) (wireProgress, error) { return packProgress(p), nil })
	})
	handle(r, "Top", func(ctx context.Context, req topRequest) ([]TopRow, error) { return b.Top(ctx, req.Kind) })
}

func registerHolders(r registry, b Holders) {
	handle(r, "Holders", func(ctx context.Context, req holdersRequest) ([]Holder, error) { return b.Holders(ctx, req.Source) })
	handleStream(r, "Manifest", func(ctx context.Context, req holdingsRequest) iter.Seq2[[]byte, error] {
		return b.Manifest(ctx, req.Source, req.Holder)
	})
	handleStream(r, "Holdings", func(ctx context.Context, req holdingsRequest) iter.Seq2[[]wireHolding, error] {
		return chunkSeq(b.Holdings(ctx, req.Source, req.Holder, v1.RelPath(req.Prefix)), holdingsPage, packHolding)
	})
}
