package pki

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	v1 "clusterbackup/api/v1"

	"github.com/fxamacker/cbor/v2"
)

// The join protocol: on a TLS connection with ALPN JoinProtocol the newcomer sends one request, the member one answer, and that is all.
// A message is its length (32 bits, big-endian) and then CBOR.

// Versions is a range of protocol versions that a program speaks.
type Versions struct {
	Min, Max uint32
}

// JoinVersions are the versions of the join protocol that this program speaks.
func JoinVersions() Versions { return Versions{Min: 1, Max: 1} }

func (v Versions) meets(o Versions) bool { return v.Min <= o.Max && o.Min <= v.Max }

func (v Versions) String() string {
	if v.Min == v.Max {
		return fmt.Sprintf("version %d", v.Min)
	}
	return fmt.Sprintf("versions %d to %d", v.Min, v.Max)
}

const (
	maxJoinRequest = 64 << 10
	maxJoinAnswer  = 64 << 20
)

type joinRequest struct {
	Versions Versions
	Token    []byte // its number
	Secret   []byte
	Name     v1.HostName
	Address  string
	Request  []byte // PKCS #10, which proves that the newcomer has the key
	Time     time.Time
}

type joinAnswer struct {
	// Code is "" when the newcomer is admitted; Message then is empty, otherwise it says why not, for people.
	Code     string
	Message  string
	Versions Versions
	Time     time.Time

	AuthorityCertificate []byte
	AuthorityKey         []byte
	Certificate          []byte
	Resources            []byte
}

// joinCodes are the errors that cross the wire, by their stable codes. What is not among them is "refused".
var joinCodes = map[string]error{
	"token":    ErrToken,
	"expired":  ErrTokenExpired,
	"used":     ErrTokenUsed,
	"name":     ErrName,
	"taken":    ErrNameTaken,
	"address":  ErrAddress,
	"skew":     ErrClockSkew,
	"protocol": ErrProtocol,
}

func codeOf(err error) string {
	for code, sentinel := range joinCodes {
		if errors.Is(err, sentinel) {
			return code
		}
	}
	return "refused"
}

// refusal is an error that came over the wire: its kind by its code, its words as they were.
type refusal struct {
	kind    error
	message string
}

func (e *refusal) Error() string { return e.message }
func (e *refusal) Unwrap() error { return e.kind }

func errorOf(a *joinAnswer) error {
	kind, ok := joinCodes[a.Code]
	if !ok {
		kind = ErrRefused
	}
	if a.Message == "" {
		return kind
	}
	return &refusal{kind: kind, message: a.Message}
}

// codec refuses what no honest peer sends: repeated keys, deep nesting, endless lists.
func codec() (cbor.EncMode, cbor.DecMode, error) {
	enc, err := cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode()
	if err != nil {
		return nil, nil, err
	}
	dec, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 8, MaxArrayElements: 1024, MaxMapPairs: 64, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	return enc, dec, err
}

func writeMessage(w io.Writer, message any) error {
	enc, _, err := codec()
	if err != nil {
		return err
	}
	body, err := enc.Marshal(message)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

var errMessage = errors.New("message is malformed")

func readMessage(r io.Reader, limit uint32, message any) error {
	_, dec, err := codec()
	if err != nil {
		return err
	}
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > limit {
		return fmt.Errorf("%w: it has %d bytes, at most %d are taken", errMessage, size, limit)
	}
	// What is announced is not believed until it is there.
	body, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return err
	}
	if uint32(len(body)) < size {
		return io.ErrUnexpectedEOF
	}
	if err := dec.Unmarshal(body, message); err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	return nil
}
