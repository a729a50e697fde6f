package daemon

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"clusterbackup/internal/admin"
)

func TestTopAddsWhatHoldersReadToASourcesRow(t *testing.T) {
	got := merge([]admin.TopRow{
		{Name: "photos", Verify: 3, Download: 1}, {Name: "gone", Verify: 9}, {Name: "photos", Host: "mini", Files: 7, Upload: 5}, {Name: "docs", Host: "rpi1"},
		{Name: "photos", Verify: 4},
	})
	want := []admin.TopRow{{Name: "docs", Host: "rpi1"}, {Name: "photos", Host: "mini", Files: 7, Upload: 5, Verify: 7, Download: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
