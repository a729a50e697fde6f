package rsync

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"clusterbackup/internal/ask"
)

// What Run can answer beside the errors of ask. Wrapped, with rsync's own first message.
var (
	ErrUnreachable = errors.New("the peer cannot be reached")
	ErrWrite       = errors.New("cannot write to the destination")
	ErrFailed      = errors.New("rsync failed")
)

// Exit codes of rsync (rsync(1), EXIT VALUES).
const (
	exitFolders  = 3
	exitStart    = 5
	exitSocket   = 10
	exitFile     = 11
	exitProtocol = 12
	exitSignal   = 20
	exitPartial  = 23
	exitVanished = 24
	exitTimeout  = 30
)

// Stats are what rsync says it did.
type Stats struct {
	Files         int64 // regular files transferred, wholly or as a delta
	BytesReceived int64 // on the wire, protocol included
	BytesSent     int64
	Literal       int64 // bytes of files that travelled
	Matched       int64 // bytes of files that were taken from a basis
	Duration      time.Duration
	// Partial: some files did not arrive (vanished, unreadable, changed their kind); look which.
	Partial bool
	// Messages are rsync's own, for people, the first few.
	Messages []string
}

// maxMessages bounds Stats.Messages.
const maxMessages = 100

// judge turns what Wait and the remote shell said into Run's answer.
func judge(ctx context.Context, waited, shell error, stats *Stats) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *exec.ExitError
	switch {
	case waited == nil:
		return nil
	case !errors.As(waited, &exit):
		return fmt.Errorf("%w: %w", ErrFailed, waited)
	}
	code := exit.ExitCode()
	if code == exitPartial || code == exitVanished {
		stats.Partial = true
		return nil
	}
	why := exit.String()
	if len(stats.Messages) > 0 {
		why = stats.Messages[0]
	}
	if shell == nil {
		shell = classify(code)
	}
	return fmt.Errorf("%w: %s", shell, why)
}

func classify(code int) error {
	switch code {
	case exitStart:
		return ask.ErrUnavailable
	case exitSocket, exitProtocol, exitSignal, exitTimeout:
		return ask.ErrBroken
	case exitFile, exitFolders:
		return ErrWrite
	}
	return ErrFailed
}

// add adds what one run of rsync did.
func (s *Stats) add(one *Stats) {
	s.Files += one.Files
	s.BytesReceived += one.BytesReceived
	s.BytesSent += one.BytesSent
	s.Literal += one.Literal
	s.Matched += one.Matched
	s.Partial = s.Partial || one.Partial
	s.Messages = append(s.Messages, one.Messages...)
	s.Messages = s.Messages[:min(len(s.Messages), maxMessages)]
}

// read takes the figures from rsync's --stats, in English and without separators as Run asks for them.
func (s *Stats) read(lines []string) {
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(value, " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "Number of regular files transferred":
			s.Files = n
		case "Total bytes received":
			s.BytesReceived = n
		case "Total bytes sent":
			s.BytesSent = n
		case "Literal data":
			s.Literal = n
		case "Matched data":
			s.Matched = n
		}
	}
}
