package rsync

import (
	"errors"
	"io"
	"os"
	"strconv"
	"time"
)

// rsync doesn't pass on how its remote shell ended, so "cbd rsh" tells Run beside it: a pipe that rsync inherits and passes
// on, whose number is in the environment, takes one byte.
const verdictVariable = "CLUSTERBACKUP_RSH_VERDICT"

// verdictFD is the pipe's number in rsync and the shell: the first of exec.Cmd's ExtraFiles.
const verdictFD = 3

var verdicts = []struct {
	err  error
	code byte
}{{ErrDenied, 1}, {ErrUnavailable, 2}, {ErrBroken, 3}, {ErrUnreachable, 4}}

// ExitCode ends "cbd rsh": it tells Run what became of the connection and returns the process's exit code. An error of no
// known kind is taken for ErrUnreachable.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	code := verdicts[len(verdicts)-1].code
	for _, v := range verdicts {
		if errors.Is(err, v.err) {
			code = v.code
			break
		}
	}
	if fd, bad := strconv.Atoi(os.Getenv(verdictVariable)); bad == nil {
		pipe := os.NewFile(uintptr(fd), "verdict")
		pipe.Write([]byte{code}) // unheard, Run goes by rsync's exit code
		pipe.Close()
	}
	return 255
}

// readVerdict is the shell's error, nil if it told none. It waits for the shell to end, but not long.
func readVerdict(pipe *os.File) error {
	defer pipe.Close()
	pipe.SetReadDeadline(time.Now().Add(2 * time.Second))
	said, _ := io.ReadAll(io.LimitReader(pipe, 1))
	for _, v := range verdicts {
		if len(said) == 1 && said[0] == v.code {
			return v.err
		}
	}
	return nil
}
