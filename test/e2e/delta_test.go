package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestOnlyWhatDiffersTravels: an interrupted copy of a large file goes on from where it was, and a changed file travels as the difference to
// its earlier version, while others beside it come whole.
func TestOnlyWhatDiffersTravels(t *testing.T) {
	const size = 64 << 20
	c := newCluster(t, "origin", "a")
	origin, a := c.host("origin"), c.host("a")
	big := filepath.Join(origin.source(), "big")
	write(t, big, content("big", size))
	c.locations("1Gi", "a")
	limit := func(perSecond string) {
		a.apply(fmt.Sprintf("apiVersion: clusterbackup/v1\nkind: Host\nmetadata: {name: a}\nspec: {address: %q, limits: {download: %s}}\n", a.address, perSecond))
	}
	limit("16Mi")
	origin.apply(fmt.Sprintf(`
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: photos}
spec: {host: origin, path: %q, minReplicas: 1, scanInterval: 1s}
`, origin.source()))
	unfinished := func() (bytes int64) {
		filepath.WalkDir(filepath.Join(a.location(), ".clusterbackup/partial"), func(_ string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				info, _ := d.Info()
				bytes += info.Size()
			}
			return nil
		})
		return bytes
	}
	a.eventually("half of the file is there", func() error {
		if n := unfinished(); n < size/2 {
			return fmt.Errorf("%d bytes are", n)
		}
		return nil
	})
	a.kill()
	half := unfinished()
	a.start()
	limit("1Gi")
	a.waitProtected("photos")
	sameTree(t, origin.source(), filepath.Join(a.location(), "photos"))
	if received := a.metric(`clusterbackup_transfer_bytes_total{direction="in"}`); received > float64(size-half+8<<20) {
		t.Errorf("%.0f bytes came after %d of %d were there", received, half, size)
	}

	before := a.metric(`clusterbackup_transfer_bytes_total{direction="in"}`)
	f, err := os.OpenFile(big, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("another few bytes"), size/3)
	must(t, err)
	must(t, f.Close())
	write(t, filepath.Join(origin.source(), "beside"), content("beside", 1<<20))
	a.eventually("the new version and the new file are there", func() error {
		for _, name := range []string{"big", "beside"} {
			want, err := os.ReadFile(filepath.Join(origin.source(), name))
			must(t, err)
			if got, err := os.ReadFile(filepath.Join(a.location(), "photos", name)); err != nil || string(got) != string(want) {
				return fmt.Errorf("%s differs, %v", name, err)
			}
		}
		return nil
	})
	if received := a.metric(`clusterbackup_transfer_bytes_total{direction="in"}`) - before; received > 8<<20 {
		t.Errorf("%.0f bytes came for a difference of a few, and 1 MiB", received)
	}
}
