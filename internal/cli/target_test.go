package cli

import (
	"path/filepath"
	"testing"
)

// TestTargetFromElsewhere: rsync's remote shell runs in a folder of its own and has to reach the same daemon, however it was named.
func TestTargetFromElsewhere(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ given, want Target }{
		{Target{State: "mini/state"}, Target{State: filepath.Join(here, "mini/state")}},
		{Target{State: "/state"}, Target{State: "/state"}},
		{Target{State: "/state", Server: "rpi1:7420", Identity: "ada.identity"},
			Target{State: "/state", Server: "rpi1:7420", Identity: filepath.Join(here, "ada.identity")}},
	} {
		if got, err := tc.given.absolute(); err != nil || got != tc.want {
			t.Errorf("%+v is %+v, %v; want %+v", tc.given, got, err, tc.want)
		}
	}
}
