package pki

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// StateLock is the right to work on a state directory. It ends with Close or with the process, however that ends.
type StateLock struct{ file *os.File }

// Lock takes the lock of a state directory (which it makes, 0700, when it is missing), or says at once with ErrLocked that
// another process has it.
func Lock(state string) (*StateLock, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	path := filepath.Join(state, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		if errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("lock %s: %w%s", state, ErrLocked, holderOf(f))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// The number is for the error above alone; the lock is the operating system's, so a stale one does no harm.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return &StateLock{file: f}, nil
}

// Close gives the lock back.
func (l *StateLock) Close() error { return l.file.Close() }

func holderOf(f *os.File) string {
	data, _ := io.ReadAll(io.NewSectionReader(f, 0, 32))
	pid := strings.TrimSpace(string(data))
	if pid == "" {
		return ""
	}
	return " (process " + pid + ")"
}
