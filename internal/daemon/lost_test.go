package daemon

import (
	"testing"

	"clusterbackup/internal/pki"
)

func TestServes(t *testing.T) {
	for _, c := range []struct {
		lost, member bool
		kind         pki.Kind
		method       string
		want         bool
	}{
		{member: true, kind: pki.KindHost, method: "cb.Drop", want: true},
		{member: false, kind: pki.KindHost, method: methodPull, want: false},
		{lost: true, member: false, kind: pki.KindHost, method: methodPull, want: true},
		{lost: true, member: false, kind: pki.KindHost, method: "cb.Changed", want: false},
		{lost: true, member: true, kind: pki.KindHost, method: "cb.Hello", want: false},
		{lost: true, member: true, kind: pki.KindAdmin, method: "admin.Get", want: true},
	} {
		if got := serves(c.lost, c.member, c.kind, c.method); got != c.want {
			t.Errorf("lost %v, member %v, %s, %s: %v", c.lost, c.member, c.kind, c.method, got)
		}
	}
}
