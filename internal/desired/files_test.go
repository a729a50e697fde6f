package desired_test

import (
	"testing"

	"clusterbackup/internal/desired"
	"clusterbackup/internal/desired/storetest"
)

func TestFilesIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) desired.Store {
		s, err := desired.Open(t.TempDir(), desired.Options{Host: "mini"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for _, p := range s.Problems() {
				t.Errorf("problem: %v", p.Err)
			}
		})
		return s
	})
}
