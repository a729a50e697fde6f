package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcserver"
)

// Records in Protocol Buffers. So that no generated code is needed here, they are
// of a generated type that has just their fields: a text, two numbers, bytes.
func toProto(rs records) *descriptorpb.FieldOptions {
	list := make([]*descriptorpb.UninterpretedOption, len(rs))
	for i := range rs {
		r := &rs[i]
		list[i] = &descriptorpb.UninterpretedOption{
			IdentifierValue: &r.Name, PositiveIntValue: &r.Size, NegativeIntValue: &r.ModTime, StringValue: r.Digest[:],
		}
	}
	return &descriptorpb.FieldOptions{UninterpretedOption: list}
}

func fromProto(m *descriptorpb.FieldOptions) records {
	rs := make(records, len(m.UninterpretedOption))
	for i, o := range m.UninterpretedOption {
		rs[i] = record{Name: o.GetIdentifierValue(), Size: o.GetPositiveIntValue(), ModTime: o.GetNegativeIntValue(), Digest: [32]byte(o.GetStringValue())}
	}
	return rs
}

// gRPC on one connection.
type grpcPeer struct{}

func unary[Req any, P interface {
	*Req
	proto.Message
}](answer func(P) proto.Message) func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
	return func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := P(new(Req))
		if err := decode(in); err != nil {
			return nil, err
		}
		return answer(in), nil
	}
}

func (grpcPeer) serve(l net.Listener, cfg *tls.Config) error {
	opts := []grpc.ServerOption{grpc.MaxRecvMsgSize(64 << 20)}
	if cfg != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(cfg)))
	}
	s := grpc.NewServer(opts...)
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "S", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		{MethodName: "Echo", Handler: unary(func(in *wrapperspb.BytesValue) proto.Message { return in })},
		{MethodName: "Report", Handler: unary(func(in *descriptorpb.FieldOptions) proto.Message {
			return wrapperspb.Int64(int64(len(fromProto(in))))
		})},
	}}, struct{}{})
	return s.Serve(l)
}

func (grpcPeer) dial(addr string, cfg *tls.Config, _ int) (client, error) {
	creds := insecure.NewCredentials()
	if cfg != nil {
		creds = credentials.NewTLS(cfg)
	}
	cc, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	return grpcClient{cc}, err
}

type grpcClient struct{ cc *grpc.ClientConn }

func (c grpcClient) echo(_ int, p []byte) error {
	var out wrapperspb.BytesValue
	if err := c.cc.Invoke(context.Background(), "/S/Echo", wrapperspb.Bytes(p), &out); err != nil {
		return err
	}
	return sameLength(len(out.Value), len(p))
}

func (c grpcClient) report(_ int, rs records) error {
	var out wrapperspb.Int64Value
	if err := c.cc.Invoke(context.Background(), "/S/Report", toProto(rs), &out); err != nil {
		return err
	}
	return sameLength(int(out.Value), len(rs))
}

func (c grpcClient) close() { c.cc.Close() }

// drpc, which has one request at a time on a connection: one for each caller.
type drpcPeer struct{}

type protoEncoding struct{}

func (protoEncoding) Marshal(m drpc.Message) ([]byte, error) { return proto.Marshal(m.(proto.Message)) }
func (protoEncoding) Unmarshal(b []byte, m drpc.Message) error {
	return proto.Unmarshal(b, m.(proto.Message))
}

type drpcHandler struct{}

func (drpcHandler) HandleRPC(stream drpc.Stream, method string) error {
	if method == "Echo" {
		var in wrapperspb.BytesValue
		if err := stream.MsgRecv(&in, protoEncoding{}); err != nil {
			return err
		}
		return stream.MsgSend(&in, protoEncoding{})
	}
	var in descriptorpb.FieldOptions
	if err := stream.MsgRecv(&in, protoEncoding{}); err != nil {
		return err
	}
	return stream.MsgSend(wrapperspb.Int64(int64(len(fromProto(&in)))), protoEncoding{})
}

func (drpcPeer) serve(l net.Listener, cfg *tls.Config) error {
	return drpcserver.New(drpcHandler{}).Serve(context.Background(), secured(l, cfg))
}

func (drpcPeer) dial(addr string, cfg *tls.Config, callers int) (client, error) {
	c := &drpcClient{}
	for range callers {
		nc, err := connect(addr, cfg)
		if err != nil {
			return nil, err
		}
		c.conns = append(c.conns, drpcconn.New(nc))
	}
	return c, nil
}

type drpcClient struct{ conns []*drpcconn.Conn }

func (c *drpcClient) echo(i int, p []byte) error {
	var out wrapperspb.BytesValue
	if err := c.conns[i].Invoke(context.Background(), "Echo", protoEncoding{}, wrapperspb.Bytes(p), &out); err != nil {
		return err
	}
	return sameLength(len(out.Value), len(p))
}

func (c *drpcClient) report(i int, rs records) error {
	var out wrapperspb.Int64Value
	if err := c.conns[i].Invoke(context.Background(), "Report", protoEncoding{}, toProto(rs), &out); err != nil {
		return err
	}
	return sameLength(int(out.Value), len(rs))
}

func (c *drpcClient) close() {
	for _, cc := range c.conns {
		cc.Close()
	}
}

// NATS, request and reply through a broker, which lives in the server's process.
type natsPeer struct{}

func (natsPeer) serve(l net.Listener, cfg *tls.Config) error {
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	opts := &server.Options{Host: "127.0.0.1", Port: addr.Port, NoLog: true, NoSigs: true, MaxPayload: 8 << 20}
	if cfg != nil {
		opts.TLSConfig, opts.TLS, opts.TLSVerify, opts.TLSTimeout = cfg, true, true, 5
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("NATS does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return err
	}
	nc.Subscribe("echo", func(m *nats.Msg) { m.Respond(m.Data) })
	nc.Subscribe("report", func(m *nats.Msg) {
		var in descriptorpb.FieldOptions
		if proto.Unmarshal(m.Data, &in) == nil {
			b, _ := proto.Marshal(wrapperspb.Int64(int64(len(fromProto(&in)))))
			m.Respond(b)
		}
	})
	nc.Flush()
	select {}
}

func (natsPeer) dial(addr string, cfg *tls.Config, _ int) (c client, err error) {
	opts := []nats.Option{nats.Timeout(5 * time.Second)}
	if cfg != nil {
		opts = append(opts, nats.Secure(cfg))
	}
	var nc *nats.Conn
	for range 100 { // the broker opens its own listener, and then finds its responders
		if nc, err = nats.Connect("nats://"+addr, opts...); err == nil {
			if _, err = nc.Request("echo", []byte("x"), time.Second); err == nil {
				return &natsClient{nc: nc}, nil
			}
			nc.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, err
}

type natsClient struct{ nc *nats.Conn }

func (c *natsClient) echo(_ int, p []byte) error {
	m, err := c.nc.Request("echo", p, 10*time.Second)
	if err != nil {
		return err
	}
	return sameLength(len(m.Data), len(p))
}

func (c *natsClient) report(_ int, rs records) error {
	b, err := proto.Marshal(toProto(rs))
	if err != nil {
		return err
	}
	m, err := c.nc.Request("report", b, 10*time.Second)
	if err != nil {
		return err
	}
	var out wrapperspb.Int64Value
	if err := proto.Unmarshal(m.Data, &out); err != nil {
		return err
	}
	return sameLength(int(out.Value), len(rs))
}

func (c *natsClient) close() { c.nc.Close() }
