package rsync

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Why there is no Tool.
var (
	ErrMissing = errors.New("rsync is not installed")
	ErrTooOld  = errors.New("rsync is older than 3.1")
)

// Tool is the system's rsync.
type Tool struct {
	Path  string // absolute
	Major int
	Minor int
	Patch int
}

// String is for people.
func (t Tool) String() string {
	return fmt.Sprintf("rsync %d.%d.%d (%s)", t.Major, t.Minor, t.Patch, t.Path)
}

// AtLeast tells whether the tool is of that version or a later one.
func (t Tool) AtLeast(major, minor, patch int) bool {
	return slices.Compare([]int{t.Major, t.Minor, t.Patch}, []int{major, minor, patch}) >= 0
}

// Find looks for a usable rsync in PATH, then where package managers put one that PATH may lack. Of several it takes the
// first that is new enough. ErrMissing, ErrTooOld (also for openrsync, which macOS has as rsync): the message says what to
// install.
func Find(ctx context.Context) (Tool, error) { return find(ctx, candidates) }

var candidates = []string{"rsync", "/opt/homebrew/bin/rsync", "/usr/local/bin/rsync", "/opt/local/bin/rsync", "/usr/pkg/bin/rsync", "/usr/bin/rsync"}

const hint = "install rsync 3.1 or later (apt, dnf, pkg, pkgin or brew install rsync)"

func find(ctx context.Context, candidates []string) (Tool, error) {
	var old error
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		tool, err := probe(ctx, path)
		if err == nil {
			return tool, nil
		}
		if old == nil {
			old = err
		}
	}
	if old != nil {
		return Tool{}, fmt.Errorf("find rsync: %w; %s", old, hint)
	}
	return Tool{}, fmt.Errorf("find rsync: %w; %s", ErrMissing, hint)
}

var versionLine = regexp.MustCompile(`^rsync\s+version\s+v?(\d+)\.(\d+)(?:\.(\d+))?`)

func probe(ctx context.Context, path string) (Tool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = environment()
	out, err := cmd.Output()
	if err != nil {
		return Tool{}, fmt.Errorf("run %s --version: %w", path, err)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return Tool{}, fmt.Errorf("%s is not rsync 3 (openrsync perhaps): %w", path, ErrTooOld)
	}
	t := Tool{Path: path}
	for i, to := range []*int{&t.Major, &t.Minor, &t.Patch} {
		*to, _ = strconv.Atoi(string(m[i+1])) // digits by the expression; a missing patch level is 0
	}
	if !t.AtLeast(3, 1, 0) {
		return Tool{}, fmt.Errorf("%s is %d.%d.%d: %w", path, t.Major, t.Minor, t.Patch, ErrTooOld)
	}
	return t, nil
}
