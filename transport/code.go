package transport

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Code classifies an error, the same on both sides of the wire. A Code is itself
// an error: return one from a handler, compare with errors.Is. Applications
// declare their own beside the ones below:
//
//	const NoRoom transport.Code = "no-room"
type Code string

// The codes that the library itself gives.
const (
	Closed      Code = "closed"         // this client or server was closed
	Unavailable Code = "unavailable"    // no connection to the server, or it was lost
	TimedOut    Code = "timeout"        // no answer before the deadline
	Canceled    Code = "canceled"       // the caller gave up
	TooLarge    Code = "too-large"      // a message over MaxMessage
	Denied      Code = "denied"         // certificate refused, or plaintext off loopback
	Overloaded  Code = "overloaded"     // more requests than the server takes at once
	Decode      Code = "decode"         // the value does not fit the type asked for
	Encode      Code = "encode"         // the value cannot be sent
	Unknown     Code = "unknown-method" // the server has no handler of that name
	Failed      Code = "failed"         // an error without a code, from the body or handler
	Panicked    Code = "panicked"       // the body or handler panicked
)

// Error returns the code.
func (c Code) Error() string { return string(c) }

// Error is the outcome of an exchange that failed. errors.Is compares its Code;
// TimedOut and Canceled also match context.DeadlineExceeded and context.Canceled.
type Error struct {
	Code   Code
	Msg    string
	Remote bool // the server said so
	Sent   bool // the request may have reached the server, and been acted upon
	cause  error
}

// Error returns the message after the code.
func (e *Error) Error() string {
	if e.Msg == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Msg
}

// Unwrap returns what caused the error on this side, if anything did.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is e's Code.
func (e *Error) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded, os.ErrDeadlineExceeded:
		return e.Code == TimedOut
	case context.Canceled:
		return e.Code == Canceled
	}
	c, ok := target.(Code)
	return ok && c == e.Code
}

// fault makes an Error of this side. A cause among the arguments is kept.
func fault(c Code, format string, args ...any) *Error {
	e := &Error{Code: c, Msg: fmt.Errorf(format, args...).Error()}
	for _, a := range args {
		if err, ok := a.(error); ok {
			e.cause = err
		}
	}
	return e
}

// codeOf is how an application's error is told to the peer.
func codeOf(err error) (Code, string) {
	var e *Error
	var c Code
	switch {
	case errors.As(err, &e):
		if e.Code == "" {
			return Failed, e.Msg
		}
		if err == error(e) {
			return e.Code, e.Msg
		}
		return e.Code, err.Error()
	case errors.As(err, &c):
		if err == error(c) {
			return c, ""
		}
		return c, err.Error()
	case errors.Is(err, context.Canceled):
		return Canceled, err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut, err.Error()
	}
	return Failed, err.Error()
}

// expired is the error of a context that has ended.
func expired(ctx context.Context, doing string) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault(TimedOut, "%s: %w", doing, ctx.Err())
	}
	return fault(Canceled, "%s: %w", doing, ctx.Err())
}
