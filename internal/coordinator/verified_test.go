package coordinator

import (
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// TestVerificationIsCountedAsItWas: a replica counts as read when its holder read it, not when it was told of.
func TestVerificationIsCountedAsItWas(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, t, 2, "a", "b")
	t.Cleanup(w.stop)
	w.tree.put("f", 10)
	w.tree.put("g", 10)
	w.scan()
	for _, name := range []v1.HostName{"a", "b"} {
		w.peers[name].capacity = 100
		w.peers[name].meet()
	}
	for _, name := range []v1.HostName{"a", "b"} {
		p := w.peers[name]
		for _, claimed := range p.claim(10) {
			r, _ := p.copy(claimed)
			if name == "a" || r.Path == "f" {
				r.Verified = w.now.Unix() - 3600 // copied, and hashed, an hour ago; b does not say when it hashed g
			}
			if err := p.confirm([]Record{r}); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(ago time.Duration, want Verification) {
		t.Helper()
		if got, err := w.c.Verification(ctx, w.now.Add(-ago)); err != nil || got != want {
			t.Errorf("of the last %v: %+v, %v; want %+v", ago, got, err, want)
		}
	}
	count(2*time.Hour, Verification{Replicas: 4, Unknown: 1, Oldest: w.now.Unix() - 3600})
	count(30*time.Minute, Verification{Replicas: 4, Overdue: 3, Unknown: 1})

	b := w.peers["b"]
	for _, path := range []string{"f", "g"} {
		found := Reported{Path: v1.RelPath(path), Kind: FoundGood, At: w.now.UnixNano()}
		if _, err := w.c.Report(ctx, "b", &Report{Source: "photos", Location: b.loc, Life: b.life, Turn: b.nextTurn(), Files: []Reported{found}}); err != nil {
			t.Fatal(err)
		}
	}
	count(30*time.Minute, Verification{Replicas: 4, Overdue: 2, Oldest: w.now.Unix()})
	if at := w.file("f").Status.Replicas; at[0].VerifiedTime.Equal(at[1].VerifiedTime) {
		t.Errorf("both replicas of f are said to have been read at %v", at[0].VerifiedTime)
	}
}
