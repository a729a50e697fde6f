package controllers

import (
	"errors"
	"testing"

	"clusterbackup/internal/tree"
)

// A scan is clean if all could be read that is to be: what is left out on purpose is named, and no more.
func TestScanIsCleanButForWhatIsSkipped(t *testing.T) {
	var l problemList
	l.add(tree.Problem{Path: "proc", Reason: tree.ReasonSkipped, Err: tree.ErrOtherFileSystem})
	l.add(tree.Problem{Path: "socket", Reason: tree.ReasonSkipped, Err: tree.ErrSkipped})
	if s := l.scan(); !s.Clean || s.Unreadable != 0 || s.ProblemCount != 2 || len(s.Problems) != 2 {
		t.Errorf("with skipped paths alone: %+v", s)
	}
	l.add(tree.Problem{Path: "shut", Reason: tree.ReasonUnreadable, Err: errors.New("permission denied")})
	if s := l.scan(); s.Clean || s.Unreadable != 1 || s.ProblemCount != 3 {
		t.Errorf("with an unreadable folder: %+v", s)
	}
}
