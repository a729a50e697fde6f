package e2e

import (
	"bytes"
	"path/filepath"
	"testing"

	v1 "clusterbackup/api/v1"
)

// TestVerify: of large replicas blocks are sampled unless all is asked for, and the condition Verified says what is so.
func TestVerify(t *testing.T) {
	const large = 32 << 20
	c := newCluster(t, "origin", "a")
	origin, a := c.host("origin"), c.host("a")
	write(t, filepath.Join(origin.source(), "large"), bytes.Repeat([]byte("0123456789abcdef"), large/16))
	write(t, filepath.Join(origin.source(), "small"), []byte("1234"))
	c.locations("1Gi", "a")
	origin.apply(`
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: photos}
spec: {host: origin, path: "` + origin.source() + `", minReplicas: 1, verify: {interval: 10s, sampleAbove: 1Mi}}
`)
	origin.waitProtected("photos")
	wait := func(condition string) {
		t.Helper()
		origin.ctl("wait", "source/photos", "--for=condition="+condition, "--timeout", patience.String())
	}
	wait("Verified")
	wait("Verified=False") // nothing is read in a daemon's first minute
	if read := a.metric("clusterbackup_verified_bytes_total"); read != 0 {
		t.Fatalf("%v bytes were read", read)
	}

	before := origin.files("photos")["large"].Status.Replicas[0]
	origin.ctl("verify", "photos")
	sampled := a.metric("clusterbackup_verified_bytes_total")
	if sampled < 1<<20 || sampled > large/4 {
		t.Errorf("%v of %d bytes were read", sampled, int(large))
	}
	wait("Verified")
	after := origin.files("photos")["large"].Status.Replicas[0]
	if after.State != v1.ReplicaConfirmed || !after.VerifiedTime.After(before.VerifiedTime.Time) {
		t.Errorf("replica was %+v, is %+v", before, after)
	}
	origin.ctl("verify", "location/a-disk", "--full")
	if read := a.metric("clusterbackup_verified_bytes_total") - sampled; read != large+4 {
		t.Errorf("%v of %d bytes were read whole", read, large)
	}
}
