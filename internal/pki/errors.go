package pki

import (
	"errors"
	"fmt"
	"time"
)

// What can go wrong, to be told apart with errors.Is. The text around them names the thing, the reason and the way out.
var (
	// ErrCorrupt: a file of the state directory cannot be understood. It was left as it is.
	ErrCorrupt = errors.New("file is corrupted")
	// ErrExposed: others than the owner may read a private key.
	ErrExposed = errors.New("private key is readable by others")
	// ErrNoCluster: the state directory belongs to no cluster yet.
	ErrNoCluster = errors.New("host belongs to no cluster yet; make one with `cbd init` or join one with `cbd join`")
	// ErrBelongs: the state directory already belongs to a cluster.
	ErrBelongs = errors.New("state directory already belongs to a cluster")
	// ErrLocked: another process works on the state directory.
	ErrLocked = errors.New("state directory is in use by another process")
	// ErrName: a host's or administrator's name is no DNS label.
	ErrName = errors.New("name is not valid")
	// ErrAddress: an address is not HOST:PORT.
	ErrAddress = errors.New("address is not valid")

	// ErrToken: the token is not one that the asked host made, or was damaged on the way.
	ErrToken = errors.New("token is not valid")
	// ErrTokenExpired: the token's time is over.
	ErrTokenExpired = errors.New("token has expired")
	// ErrTokenUsed: another host has joined with the token.
	ErrTokenUsed = errors.New("token was already used")
	// ErrNameTaken: a member of that name exists.
	ErrNameTaken = errors.New("name is taken")
	// ErrClockSkew: the two hosts' clocks differ by more than certificates bear. See SkewError.
	ErrClockSkew = errors.New("clocks differ too much")
	// ErrUnreachable: nothing answers at the address.
	ErrUnreachable = errors.New("address is unreachable")
	// ErrProtocol: the two programs have no version of the join protocol in common.
	ErrProtocol = errors.New("join protocol is too old or too new")
	// ErrOtherCluster: what answers at the address is not of the cluster that the token is for.
	ErrOtherCluster = errors.New("host is not of the token's cluster")
	// ErrRefused: the asked host could not do it, for a reason of its own.
	ErrRefused = errors.New("join was refused")

	// ErrStranger: the peer shows no certificate of this cluster.
	ErrStranger = errors.New("peer is not of this cluster")
	// ErrWrongHost: the peer is of this cluster but is not the host that was called.
	ErrWrongHost = errors.New("peer is another host than the one called")
	// ErrRemoved: the peer's certificate is genuine, but it is no longer a member.
	ErrRemoved = errors.New("peer is no longer a member of this cluster")
)

// SkewError is an ErrClockSkew with the two clocks' readings.
type SkewError struct {
	Here, There time.Time
}

// Error says which clock is ahead.
func (e *SkewError) Error() string {
	d, word := e.Here.Sub(e.There), "ahead of"
	if d < 0 {
		d, word = -d, "behind"
	}
	return fmt.Sprintf("%v: this host's clock (%s) is %s %s the other's (%s); set the one that is wrong and try again",
		ErrClockSkew, e.Here.UTC().Format(time.RFC3339), d.Round(time.Second), word, e.There.UTC().Format(time.RFC3339))
}

// Unwrap makes errors.Is(err, ErrClockSkew) hold.
func (e *SkewError) Unwrap() error { return ErrClockSkew }
