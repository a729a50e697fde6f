package wire

import (
	"encoding/binary"
	"fmt"
)

// PrefaceLen is the length of the preface in bytes.
const PrefaceLen = 24

// Version of the protocol that this package speaks.
const Version = 1

// Floors that every preface must reach, so that a side can begin to send
// before the other's preface has arrived.
const (
	MinWindow   = 64 << 10
	MinInFlight = 16
)

// Features a side may offer; used when both do.
const FeatureZstd uint16 = 1

var magic = [4]byte{'d', 'g', '\r', '\n'}

// Preface is what each side sends first, at once and without waiting: magic
// (4 bytes), lowest and highest version, features (2), longest frame, window
// of the connection, window of a stream, requests in flight (4 each).
type Preface struct {
	MinVersion, MaxVersion uint8
	Features               uint16
	MaxFrame               uint32
	Window                 uint32 // bytes the other side may send before credit is needed
	StreamWindow           uint32 // the same for one stream
	InFlight               uint32 // requests the other side may have unanswered
}

// Append appends the preface's bytes to b.
func (p Preface) Append(b []byte) []byte {
	b = append(b, magic[:]...)
	b = append(b, p.MinVersion, p.MaxVersion)
	b = binary.LittleEndian.AppendUint16(b, p.Features)
	b = binary.LittleEndian.AppendUint32(b, p.MaxFrame)
	b = binary.LittleEndian.AppendUint32(b, p.Window)
	b = binary.LittleEndian.AppendUint32(b, p.StreamWindow)
	return binary.LittleEndian.AppendUint32(b, p.InFlight)
}

// ParsePreface reads a preface from b, which holds PrefaceLen bytes.
func ParsePreface(b []byte) (Preface, error) {
	_ = b[PrefaceLen-1]
	if [4]byte(b) != magic {
		return Preface{}, fmt.Errorf("peer does not speak this protocol (it opens with %q): %w", b[:4], ErrProtocol)
	}
	p := Preface{
		MinVersion:   b[4],
		MaxVersion:   b[5],
		Features:     binary.LittleEndian.Uint16(b[6:]),
		MaxFrame:     binary.LittleEndian.Uint32(b[8:]),
		Window:       binary.LittleEndian.Uint32(b[12:]),
		StreamWindow: binary.LittleEndian.Uint32(b[16:]),
		InFlight:     binary.LittleEndian.Uint32(b[20:]),
	}
	return p, p.check()
}

func (p Preface) check() error {
	switch {
	case p.MinVersion > Version || p.MaxVersion < Version:
		return fmt.Errorf("peer speaks versions %d to %d of the protocol, this side %d: %w", p.MinVersion, p.MaxVersion, Version, ErrProtocol)
	case p.MaxFrame < MaxPayload:
		return fmt.Errorf("peer takes frames of %d bytes, at least %d are needed: %w", p.MaxFrame, MaxPayload, ErrProtocol)
	case p.Window < MinWindow || p.Window > MaxCredit:
		return fmt.Errorf("peer offers a window of %d bytes: %w", p.Window, ErrProtocol)
	case p.StreamWindow < MinWindow || p.StreamWindow > MaxCredit:
		return fmt.Errorf("peer offers a stream window of %d bytes: %w", p.StreamWindow, ErrProtocol)
	case p.InFlight < MinInFlight:
		return fmt.Errorf("peer allows %d requests in flight, at least %d are needed: %w", p.InFlight, MinInFlight, ErrProtocol)
	}
	return nil
}
