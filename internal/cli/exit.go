package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// Exit codes, the same for every command.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitNotFound   = 3
	exitTimedOut   = 4
	exitConflict   = 5
	exitIncomplete = 6
)

// usageError is a command line that makes no sense.
type usageError struct{ why, command string }

func (e *usageError) Error() string {
	if e.command == "" {
		return e.why
	}
	return e.command + ": " + e.why
}

func usagef(format string, args ...any) error { return &usageError{why: fmt.Sprintf(format, args...)} }

// silent ends a command with an exit code when all has been said.
type silent int

func (s silent) Error() string { return fmt.Sprintf("exit %d", int(s)) }

// exitCode is what a script learns of err.
func exitCode(err error) int {
	var usage *usageError
	var said silent
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &said):
		return int(said)
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimedOut
	}
	switch admin.ReasonOf(err) {
	case admin.NotFound:
		return exitNotFound
	case admin.TimedOut:
		return exitTimedOut
	case admin.Conflict:
		return exitConflict
	case admin.Incomplete:
		return exitIncomplete
	}
	return exitFailed
}

// printError says what went wrong and, where it helps, what to do.
func printError(w io.Writer, err error) {
	var said silent
	if err == nil || errors.As(err, &said) {
		return
	}
	for _, line := range errorLines(err) {
		fmt.Fprintf(w, "error: %s\n", line)
	}
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
}

// errorLines is one line for each mistake in a file, one line for anything else.
func errorLines(err error) []string {
	var inFile v1.FileErrors
	if errors.As(err, &inFile) {
		lines := make([]string, len(inFile))
		for i, one := range inFile {
			lines[i] = oneLine(one.Error())
		}
		return lines
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded) && admin.ReasonOf(err) == admin.Failed:
		return []string{"no answer in time"}
	case errors.Is(err, context.Canceled) && admin.ReasonOf(err) == admin.Failed:
		return []string{"interrupted"}
	}
	return []string{oneLine(err.Error())}
}

// oneLine keeps what others named (files, hosts) from writing lines or escape sequences of their own.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f:
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
}

func hintFor(err error) string {
	var usage *usageError
	var e *admin.Error
	switch {
	case errors.As(err, &usage) && usage.command != "":
		return fmt.Sprintf("see `%s --help`", usage.command)
	case errors.As(err, &e):
		return e.Hint
	}
	return ""
}
