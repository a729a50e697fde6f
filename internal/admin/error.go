package admin

import (
	"errors"
	"fmt"
)

// Reason classifies an error for scripts. It crosses the wire and never changes its meaning.
type Reason string

// The values of Reason.
const (
	Failed      Reason = "Failed"      // anything else
	Invalid     Reason = "Invalid"     // what was given is not valid
	NotFound    Reason = "NotFound"    // what was named is not there
	Conflict    Reason = "Conflict"    // the present state does not allow it
	TimedOut    Reason = "TimedOut"    // it did not happen in time
	Incomplete  Reason = "Incomplete"  // done in part
	Unavailable Reason = "Unavailable" // a host that is needed is down
	Denied      Reason = "Denied"      // the asker is not an administrator of this cluster
)

// Error is an error for an administrator: what was tried or is concerned, why it is not done, and what helps.
type Error struct {
	Reason Reason `cbor:"1,keyasint" json:"reason"`
	What   string `cbor:"2,keyasint" json:"what"` // "source/photos"; may be empty
	Why    string `cbor:"3,keyasint" json:"why"`
	Hint   string `cbor:"4,keyasint,omitempty" json:"hint,omitempty"`
}

// Error is WHAT: WHY.
func (e *Error) Error() string {
	if e.What == "" {
		return e.Why
	}
	return e.What + ": " + e.Why
}

// WithHint returns a copy with a hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	with := *e
	with.Hint = fmt.Sprintf(format, args...)
	return &with
}

// Errorf makes an Error.
func Errorf(reason Reason, what, format string, args ...any) *Error {
	return &Error{Reason: reason, What: what, Why: fmt.Sprintf(format, args...)}
}

// ReasonOf is the reason of the first *Error in err's chain, Failed where there is none, "" for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return Failed
}

// asError is err as it crosses the wire. The text of wrapping errors is kept.
func asError(err error) *Error {
	if err == nil {
		return nil
	}
	if bare, ok := err.(*Error); ok { //nolint:errorlint // one that is wrapped keeps the text around it
		return bare
	}
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Reason: Failed, Why: err.Error()}
	}
	return &Error{Reason: e.Reason, Why: err.Error(), Hint: e.Hint}
}
