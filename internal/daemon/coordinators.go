package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/pki"
	"clusterbackup/transport"
)

// coordinators answers the protocol's messages for the sources of this host, or for those that it acts for.
type coordinators struct {
	prefix  string // of the messages' names
	sources *controllers.SourceSet
	peers   *peers
}

// codeNoSource: this host has no such source, or isn't ready to answer for it.
const codeNoSource transport.Code = "no-source"

// register has every message answered by the coordinator of the source that it names.
func (c *coordinators) register(server *transport.Server) {
	c.registerCopies(server)
	answer(c, server, "Report", func(q *coordinator.Report) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Report)
	answer(c, server, "Relieve", func(q *coordinator.Relieve) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Relieve)
	answer(c, server, "Drop", func(q *coordinator.Drop) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Drop)
	answer(c, server, "Dropped", func(q *coordinator.Dropped) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Dropped)
	answer(c, server, "Retire", func(q *coordinator.Retire) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Retire)
	answer(c, server, "Retired", func(q *coordinator.Retired) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Retired)
}

// registerCopies has those answered that a copy needs: all that one which acts for a source's host is asked.
func (c *coordinators) registerCopies(server *transport.Server) {
	answer(c, server, "Hello", func(q *coordinator.Hello) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Hello)
	answer(c, server, "Inventory", func(q *coordinator.Inventory) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Inventory)
	answer(c, server, "Claim", func(q *coordinator.Claim) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Claim)
	answer(c, server, "Renew", func(q *coordinator.Renew) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Renew)
	answer(c, server, "Release", func(q *coordinator.Release) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Release)
	answer(c, server, "Confirm", func(q *coordinator.Confirm) v1.SourceName { return q.Source }, (*coordinator.Coordinator).Confirm)
}

// answer has one kind of message answered. Who asks is what the certificate says, whatever the message says.
func answer[Q, A any](c *coordinators, server *transport.Server, method string, source func(*Q) v1.SourceName,
	f func(*coordinator.Coordinator, context.Context, v1.HostName, *Q) (*A, error)) {
	transport.Handle(server, c.prefix+method, func(ctx context.Context, peer transport.Peer, q Q) (A, error) {
		var none A
		from, err := hostOf(peer)
		if err != nil {
			return none, err
		}
		c.peers.heard(from, time.Now())
		running, done := c.sources.Use(source(&q))
		defer done()
		if running == nil {
			return none, &transport.Error{Code: codeNoSource, Msg: fmt.Sprintf("source %s is not open on this host", source(&q))}
		}
		ctx, stop := controllers.Until(ctx, running.Until)
		defer stop()
		a, err := f(running.Coordinator, ctx, from, &q)
		if err != nil {
			return none, codedError(err)
		}
		return *a, nil
	})
}

// hostOf is the host at the other end; administrators are none.
func hostOf(peer transport.Peer) (v1.HostName, error) {
	who, err := pki.PeerOf(peer.TLS())
	if err == nil && who.Host() == "" {
		err = fmt.Errorf("%s is not a host", who)
	}
	if err != nil {
		return "", &transport.Error{Code: transport.Denied, Msg: err.Error()}
	}
	return who.Host(), nil
}

// codedError gives the coordinator's errors the codes under which they cross the wire.
func codedError(err error) error {
	for _, known := range []struct {
		err  error
		code transport.Code
	}{
		{coordinator.ErrHelloFirst, "hello-first"},
		{coordinator.ErrOwnHost, "own-host"},
		{coordinator.ErrOtherSource, "other-source"},
		{coordinator.ErrUnknownHost, "unknown-host"},
		{coordinator.ErrNoFile, "no-file"},
		{coordinator.ErrBadRequest, "bad-request"},
	} {
		if errors.Is(err, known.err) {
			return &transport.Error{Code: known.code, Msg: err.Error()}
		}
	}
	return err
}
