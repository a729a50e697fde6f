package pki

import (
	"fmt"
	"maps"

	v1 "clusterbackup/api/v1"
)

// MemberAnnotation on a Host resource names the machine that bears the name. Init and join write it; it is not for users.
const MemberAnnotation = "clusterbackup/member"

// Member is a machine that is or becomes a host of the cluster.
type Member struct {
	Name v1.HostName
	// ID is the machine's own, drawn from its key. It does not change when its certificate is renewed.
	ID string
	// Address is where others reach it, HOST:PORT.
	Address string
}

// Bind decides whether a machine may bear its name. Present is the Host resource of that name, nil when there is none. It returns the
// Host to be stored in its place (a Host that a user wrote beforehand keeps its spec but for an empty address; present is not
// changed), or ErrNameTaken when another machine bears the name. For a machine that bears it already the answer is the same
// again, so a join may be repeated.
func Bind(present *v1.Host, m Member) (*v1.Host, error) {
	if err := checkName(string(m.Name)); err != nil {
		return nil, err
	}
	host := &v1.Host{}
	if present != nil {
		host = present.DeepCopy()
	}
	bearer := host.Annotations[MemberAnnotation]
	if bearer != "" && bearer != m.ID {
		return nil, fmt.Errorf("%w: host %s is a member at %s; choose another --name, or remove that host with `cbctl delete host %s` if it is gone for good",
			ErrNameTaken, m.Name, host.Spec.Address, m.Name)
	}
	host.APIVersion, host.Kind, host.Name = v1.APIVersion, v1.KindHost, string(m.Name)
	if host.Spec.Address == "" {
		host.Spec.Address = m.Address
	}
	host.Annotations = maps.Clone(host.Annotations)
	if host.Annotations == nil {
		host.Annotations = map[string]string{}
	}
	host.Annotations[MemberAnnotation] = m.ID
	return host, nil
}

// Recognise decides whether a peer with a genuine certificate is a member now. Host is the Host resource of its name, nil when
// there is none; it is not asked for administrators. The error is ErrRemoved with its reason.
func Recognise(host *v1.Host, p Peer) error {
	if p.Kind == KindAdmin {
		return nil
	}
	if host == nil {
		return fmt.Errorf("%s: %w", p, ErrRemoved)
	}
	if bearer := host.Annotations[MemberAnnotation]; bearer != "" && bearer != p.Member {
		return fmt.Errorf("%s: %w: another machine has joined under this name", p, ErrRemoved)
	}
	return nil
}
