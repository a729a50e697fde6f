package daemon

import (
	"testing"
	"time"

	"clusterbackup/internal/coordinator"
)

func TestACountStandsUntilAReplicaBecomesOverdue(t *testing.T) {
	read := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	v := &verification{interval: time.Hour, counts: coordinator.Verification{Replicas: 3, Oldest: read.Unix()}}
	if !v.stands(read.Add(time.Hour - time.Second)) {
		t.Error("nothing became overdue, and it is counted again")
	}
	if v.stands(read.Add(time.Hour)) {
		t.Error("a replica is overdue, and it does not show")
	}
	if none := (&verification{interval: time.Hour}); !none.stands(read) {
		t.Error("there is nothing that could become overdue")
	}
}
