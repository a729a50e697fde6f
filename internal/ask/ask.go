// Package ask is how a connection that carries files begins: the one side asks for the files of a source or a location, the other says
// yes or why not. What follows is internal/rsync's or internal/stream's, as the connection's protocol (ALPN) says.
package ask

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Kinds of what can be served.
const (
	KindSource   = "source"
	KindLocation = "location"
)

// Request is what a peer wants served on a connection. It is the peer's word: who the peer is comes from its certificate.
type Request struct {
	Kind string `json:"kind"` // KindSource or KindLocation
	Name string `json:"name"`
}

// maxFrame bounds a request and an answer, in bytes.
const maxFrame = 4096

// What can be answered, and what can go wrong with it.
var (
	ErrDenied      = errors.New("the peer refused")
	ErrUnavailable = errors.New("the peer cannot serve it now")
	ErrBroken      = errors.New("the connection broke")
	// ErrMalformed: what the peer sent is no request.
	ErrMalformed = errors.New("malformed request")
)

const (
	codeOK = iota
	codeDenied
	codeUnavailable
)

type answer struct {
	Code    int    `json:"code"`
	Message string `json:"message,omitempty"`
}

// Ask sends the request and waits for the answer, at most timeout and until ctx ends. nil: the connection now speaks its own protocol. ErrDenied,
// ErrUnavailable: the peer's answer, with its reason; ErrBroken: there was none. With an error the connection is closed.
func Ask(ctx context.Context, conn net.Conn, req Request, timeout time.Duration) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var got answer
	err := within(conn, timeout, func() error {
		if err := writeFrame(conn, req); err != nil {
			return err
		}
		return readFrame(conn, &got)
	})
	if err == nil && got.Code == codeOK {
		return nil
	}
	conn.Close()
	switch {
	case err != nil:
		return fmt.Errorf("ask for %s %s: %w: %w", req.Kind, req.Name, ErrBroken, err)
	case got.Code == codeDenied:
		return fmt.Errorf("ask for %s %s: %w: %s", req.Kind, req.Name, ErrDenied, got.Message)
	}
	return fmt.Errorf("ask for %s %s: %w: %s", req.Kind, req.Name, ErrUnavailable, got.Message)
}

// Receive reads a request, for at most timeout. ErrMalformed: close the connection.
func Receive(conn net.Conn, timeout time.Duration) (Request, error) {
	var req Request
	if err := within(conn, timeout, func() error { return readFrame(conn, &req) }); err != nil {
		return req, fmt.Errorf("receive request: %w", err)
	}
	if req.Kind != KindSource && req.Kind != KindLocation || req.Name == "" {
		return req, fmt.Errorf("receive request: kind %q, name %q: %w", req.Kind, req.Name, ErrMalformed)
	}
	return req, nil
}

// Accept says yes. What serves the files follows.
func Accept(conn net.Conn) error { return reply(conn, answer{Code: codeOK}) }

// Deny says no; the reason is shown to people at the other end.
func Deny(conn net.Conn, reason string) error {
	return reply(conn, answer{Code: codeDenied, Message: clip(reason)})
}

// Decline says not now (the folder is not mounted, say); the peer asks again later.
func Decline(conn net.Conn, reason string) error {
	return reply(conn, answer{Code: codeUnavailable, Message: clip(reason)})
}

func clip(s string) string { return s[:min(len(s), 500)] }

func reply(conn net.Conn, a answer) error {
	if err := within(conn, 30*time.Second, func() error { return writeFrame(conn, a) }); err != nil {
		return fmt.Errorf("answer request: %w", err)
	}
	return nil
}

func within(conn net.Conn, timeout time.Duration, do func() error) error {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// writeFrame writes a two-byte length and JSON.
func writeFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("%d bytes: %w", len(body), ErrMalformed)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...))
	return err
}

// readFrame reads no byte beyond the frame: others' follow.
func readFrame(r io.Reader, v any) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxFrame {
		return fmt.Errorf("%d bytes: %w", n, ErrMalformed)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}
