// Package wire is the byte format of transport's connections: the preface each
// side opens with, the frames that follow, and the envelope a message begins
// with. It parses and writes bytes and nothing else; whatever a peer sends, it
// returns an error, never panics, and never allocates more than a few times
// what arrived.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Type says what a frame is for.
type Type uint8

// The frame types. Request, Reply and Failure carry messages; the others steer
// the connection.
const (
	Request Type = 1 + iota // a piece of a request; client to server
	Reply                   // a piece of a reply; server to client
	Failure                 // ends an exchange with an error; server to client
	Cancel                  // the client no longer wants the reply; its body may go on
	Credit                  // more bytes may be sent: on the stream of that id, or (id 0) on the connection
	Ping                    // answered by a Pong of the same id
	Pong
	GoAway // no request above this id will be looked at
	lastType
)

// Flags of a frame.
type Flags uint8

// The flags. They are valid on Request and Reply only.
const (
	First      Flags = 1 << iota // begins a message; the payload begins with an envelope
	Last                         // ends it
	Compressed                   // the whole body is one zstd frame; said on First, never of a Stream
	Stream                       // the body is read while it arrives; said on every frame
	allFlags   = First | Last | Compressed | Stream
)

// Sizes, in bytes.
const (
	HeaderLen  = 16
	MaxPayload = 64 << 10 // a frame's payload is never longer
	MaxControl = 16       // payload of the frames that steer
	MaxFailure = 8 << 10
)

// Header is the 16 bytes in front of every payload, little-endian: type, flags,
// codec (2 bytes), payload length (4), id (8).
type Header struct {
	Type  Type
	Flags Flags
	Codec uint16
	Len   uint32
	ID    uint64
}

// ErrProtocol is wrapped by every error about bytes that no correct peer sends.
var ErrProtocol = errors.New("protocol violation")

// Append appends the header's bytes to b.
func (h Header) Append(b []byte) []byte {
	b = append(b, byte(h.Type), byte(h.Flags))
	b = binary.LittleEndian.AppendUint16(b, h.Codec)
	b = binary.LittleEndian.AppendUint32(b, h.Len)
	return binary.LittleEndian.AppendUint64(b, h.ID)
}

// ParseHeader reads a header from b, which holds at least HeaderLen bytes, and
// checks everything that can be checked without the connection's state.
func ParseHeader(b []byte) (Header, error) {
	_ = b[HeaderLen-1]
	h := Header{
		Type:  Type(b[0]),
		Flags: Flags(b[1]),
		Codec: binary.LittleEndian.Uint16(b[2:]),
		Len:   binary.LittleEndian.Uint32(b[4:]),
		ID:    binary.LittleEndian.Uint64(b[8:]),
	}
	return h, h.check()
}

func (h Header) check() error {
	switch h.Type {
	case Request, Reply:
		return h.checkMessage()
	case Failure:
		return h.checkSteer(MaxFailure, true)
	case Cancel:
		return h.checkSteer(0, true)
	case Credit, Ping, Pong, GoAway:
		return h.checkSteer(MaxControl, false)
	}
	return fmt.Errorf("frame of unknown type %d: %w", h.Type, ErrProtocol)
}

func (h Header) checkMessage() error {
	switch {
	case h.Len > MaxPayload:
		return fmt.Errorf("frame of %d bytes, at most %d are allowed: %w", h.Len, MaxPayload, ErrProtocol)
	case h.Flags&^allFlags != 0:
		return fmt.Errorf("frame with unknown flags %#x: %w", h.Flags, ErrProtocol)
	case h.ID == 0:
		return fmt.Errorf("message frame without an id: %w", ErrProtocol)
	case h.Flags&Compressed != 0 && (h.Flags&First == 0 || h.Flags&Stream != 0):
		return fmt.Errorf("frame with flags %#x, which exclude each other: %w", h.Flags, ErrProtocol)
	case h.Len == 0 && h.Flags&Last == 0:
		return fmt.Errorf("empty frame inside a message: %w", ErrProtocol)
	}
	return nil
}

func (h Header) checkSteer(limit uint32, needID bool) error {
	switch {
	case h.Len > limit:
		return fmt.Errorf("frame of type %d with %d bytes, at most %d are allowed: %w", h.Type, h.Len, limit, ErrProtocol)
	case h.Flags != 0:
		return fmt.Errorf("frame of type %d with flags %#x: %w", h.Type, h.Flags, ErrProtocol)
	case needID && h.ID == 0:
		return fmt.Errorf("frame of type %d without an id: %w", h.Type, ErrProtocol)
	}
	return nil
}

// AppendCredit appends a whole Credit frame: n more bytes for id.
func AppendCredit(b []byte, id uint64, n int64) []byte {
	b = Header{Type: Credit, Len: 8, ID: id}.Append(b)
	return binary.LittleEndian.AppendUint64(b, uint64(n))
}

// MaxCredit is the most credit that may ever be outstanding.
const MaxCredit = 1 << 30

// ParseCredit reads the payload of a Credit frame.
func ParseCredit(p []byte) (int64, error) {
	if len(p) != 8 {
		return 0, fmt.Errorf("credit of %d bytes: %w", len(p), ErrProtocol)
	}
	n := binary.LittleEndian.Uint64(p)
	if n == 0 || n > MaxCredit {
		return 0, fmt.Errorf("credit of %d: %w", n, ErrProtocol)
	}
	return int64(n), nil
}
