package admin

import (
	"context"
	"errors"
	"iter"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/transport"
)

// Client asks a daemon. It is a Backend.
type Client struct{ t *transport.Client }

var _ Backend = (*Client)(nil)

// NewClient asks the daemon that t is connected to. Closing t is the caller's.
func NewClient(t *transport.Client) *Client { return &Client{t} }

// ask is one exchange.
func ask[Resp, Req any](ctx context.Context, c *Client, method string, req Req) (Resp, error) {
	answer, err := transport.Call[envelope[Resp]](ctx, c.t, methodPrefix+method, req)
	if err != nil {
		var zero Resp
		return zero, fromTransport(ctx, err)
	}
	return answer.open()
}

// askStream is one exchange whose answer is a stream.
func askStream[T, Req any](ctx context.Context, c *Client, method string, req Req) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for item, err := range transport.CallStream[envelope[T]](ctx, c.t, methodPrefix+method, req) {
			if err != nil {
				yield(*new(T), fromTransport(ctx, err))
				return
			}
			value, err := item.open()
			if !yield(value, err) || err != nil {
				return
			}
		}
	}
}

// fromTransport makes an Error of one that the transport met, so that a daemon that is down can be told from one that refuses. An
// *Error that the dialling function gave is kept.
func fromTransport(ctx context.Context, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, transport.Unavailable), errors.Is(err, transport.Closed):
		return Errorf(Unavailable, "", "%v", err)
	case errors.Is(err, transport.TimedOut):
		return Errorf(TimedOut, "", "%v", err)
	case errors.Is(err, transport.Denied):
		return Errorf(Denied, "", "%v", err)
	case errors.Is(err, transport.Unknown):
		return Errorf(Failed, "", "%v", err).WithHint("is the daemon of an older version? see `cbctl version`")
	}
	return err
}

// Get implements Resources.
func (c *Client) Get(ctx context.Context, kind string, names ...string) ([]v1.Object, error) {
	packed, err := ask[[]wireObject](ctx, c, "Get", getRequest{kind, names})
	if err != nil {
		return nil, err
	}
	return unpackObjects(packed)
}

// Apply implements Resources.
func (c *Client) Apply(ctx context.Context, objs []v1.Object, opts ApplyOptions) ([]Applied, error) {
	packed, err := packObjects(objs)
	if err != nil {
		return nil, err
	}
	applied, err := ask[[]wireApplied](ctx, c, "Apply", applyRequest{packed, opts})
	if err != nil {
		return nil, err
	}
	return unpackApplied(applied)
}

// Delete implements Resources.
func (c *Client) Delete(ctx context.Context, kind, name string, force bool) error {
	_, err := ask[none](ctx, c, "Delete", deleteRequest{kind, name, force})
	return err
}

// Events implements Resources.
func (c *Client) Events(ctx context.Context, query EventQuery) ([]Event, error) {
	return ask[[]Event](ctx, c, "Events", query)
}

// Files implements Files.
func (c *Client) Files(ctx context.Context, query FileQuery) iter.Seq2[FilePage, error] {
	return mapSeq(askStream[wirePage](ctx, c, "Files", packQuery(query)), wirePage.unpack)
}

// File implements Files.
func (c *Client) File(ctx context.Context, source v1.SourceName, path v1.RelPath) (*v1.File, error) {
	packed, err := ask[wireObject](ctx, c, "File", fileRequest{source, []byte(path)})
	if err != nil {
		return nil, err
	}
	obj, err := packed.unpack()
	if err != nil {
		return nil, err
	}
	file, ok := obj.(*v1.File)
	if !ok {
		return nil, Errorf(Failed, string(source)+"/"+string(path), "the answer is a %s, not a File", packed.Kind)
	}
	return file, nil
}

// Version implements Members.
func (c *Client) Version(ctx context.Context) (VersionInfo, error) {
	return ask[VersionInfo](ctx, c, "Version", none{})
}

// CreateToken implements Members.
func (c *Client) CreateToken(ctx context.Context, ttl time.Duration) (Token, error) {
	return ask[Token](ctx, c, "CreateToken", tokenRequest{ttl})
}

// CreateIdentity implements Members.
func (c *Client) CreateIdentity(ctx context.Context, name string) (Identity, error) {
	return ask[Identity](ctx, c, "CreateIdentity", identityRequest{name})
}

// Approve implements Operations.
func (c *Client) Approve(ctx context.Context, source v1.SourceName) (int64, error) {
	return ask[int64](ctx, c, "Approve", approveRequest{source})
}

// Verify implements Operations.
func (c *Client) Verify(ctx context.Context, query VerifyQuery) iter.Seq2[VerifyProgress, error] {
	return mapSeq(askStream[wireProgress](ctx, c, "Verify", query), wireProgress.unpack)
}

// Top implements Operations.
func (c *Client) Top(ctx context.Context, kind string) ([]TopRow, error) {
	return ask[[]TopRow](ctx, c, "Top", topRequest{kind})
}

// Holders implements Holders.
func (c *Client) Holders(ctx context.Context, source v1.SourceName) ([]Holder, error) {
	return ask[[]Holder](ctx, c, "Holders", holdersRequest{source})
}

// Manifest implements Holders.
func (c *Client) Manifest(ctx context.Context, source v1.SourceName, holder HolderKey) iter.Seq2[[]byte, error] {
	return askStream[[]byte](ctx, c, "Manifest", holdingsRequest{Source: source, Holder: holder})
}

// Holdings implements Holders.
func (c *Client) Holdings(ctx context.Context, source v1.SourceName, holder HolderKey, prefix v1.RelPath) iter.Seq2[Holding, error] {
	req := holdingsRequest{Source: source, Holder: holder, Prefix: []byte(prefix)}
	return unchunkSeq(askStream[[]wireHolding](ctx, c, "Holdings", req), wireHolding.unpack)
}
