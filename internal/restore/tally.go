package restore

import (
	"sync"

	v1 "clusterbackup/api/v1"
)

// tally counts outcomes and passes them on.
type tally struct {
	mu       sync.Mutex
	result   Result
	progress Progress
}

func (r *restore) report(path v1.RelPath, outcome Outcome, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.counter(outcome); n != nil {
		*n++
	}
	if r.opts.Report != nil {
		r.opts.Report(Item{Path: path, Outcome: outcome, Message: message})
	}
}

// blocked reports what the target does not take.
func (r *restore) blocked(path v1.RelPath, err error) {
	r.report(path, Failed, err.Error())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Blocked++
}

func (r *restore) counter(outcome Outcome) *int64 {
	switch outcome {
	case Kept:
		return &r.result.Kept
	case Outdated:
		return &r.result.Outdated
	case Lost:
		return &r.result.Lost
	case Failed:
		return &r.result.Failed
	case Unlisted:
		return &r.result.Unlisted
	case Warned:
		return &r.result.Warned
	}
	return nil
}

// done counts a file that nothing more is done about.
func (r *restore) done(size int64, count func(*Result)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if count != nil {
		count(&r.result)
	}
	r.progress.DoneFiles++
	r.progress.DoneBytes += size
	if r.opts.Progress != nil {
		r.opts.Progress(r.progress)
	}
}
