package daemon

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/coordinator"
)

func TestVerifiedSaysWhatIsKnown(t *testing.T) {
	corrupt := []v1.Problem{{Path: "a", Reason: "Corrupt"}}
	for _, tc := range []struct {
		name     string
		interval time.Duration
		problems []v1.Problem
		counted  *coordinator.Verification
		never    bool // scanned
		status   metav1.ConditionStatus
		reason   string
		says     string
	}{
		{"all read", 720 * time.Hour, nil, &coordinator.Verification{Replicas: 8}, false, metav1.ConditionTrue, "WithinInterval", "all 8 replicas were read within 720h"},
		{"some long ago", time.Hour, nil, &coordinator.Verification{Replicas: 8, Overdue: 3, Unknown: 1}, false, metav1.ConditionFalse, "Overdue", "3 of 8 replicas were not read within 1h"},
		{"nobody said", 90 * time.Second, nil, &coordinator.Verification{Replicas: 8, Unknown: 2}, false, metav1.ConditionUnknown, "NotReported", "2 of 8"},
		{"corrupt", time.Hour, corrupt, &coordinator.Verification{Replicas: 8, Overdue: 3}, false, metav1.ConditionFalse, "Corrupt", "1 replicas"},
		{"never by itself", 0, nil, &coordinator.Verification{Replicas: 8, Overdue: 8}, false, metav1.ConditionUnknown, "NoInterval", "cbctl verify"},
		{"not scanned", time.Hour, nil, &coordinator.Verification{}, true, metav1.ConditionUnknown, "NotScanned", ""},
		{"not counted", time.Hour, nil, nil, false, metav1.ConditionUnknown, "NotCounted", ""},
	} {
		want := &v1.Source{Spec: v1.SourceSpec{Verify: &v1.VerifyPolicy{Interval: &metav1.Duration{Duration: tc.interval}}}}
		var state controllers.SourceState
		if !tc.never {
			state.Scan.Ended = time.Unix(1, 0)
		}
		got := verified(want, state, &coordinator.Status{Problems: tc.problems}, tc.counted)
		if got.Status != tc.status || got.Reason != tc.reason || !strings.Contains(got.Message, tc.says) {
			t.Errorf("%s: %s %s: %s", tc.name, got.Status, got.Reason, got.Message)
		}
	}
}
