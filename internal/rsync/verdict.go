package rsync

import (
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"clusterbackup/internal/ask"
)

// rsync doesn't pass on how its remote shell ended, so "cbd rsh" tells Run beside it: a pipe that rsync inherits and passes
// on, whose number is in the environment, takes one byte.
const verdictVariable = "CLUSTERBACKUP_RSH_VERDICT"

// verdictFD is the pipe's number in rsync and the shell: the first of exec.Cmd's ExtraFiles.
const verdictFD = 3

var verdicts = []struct {
	err  error
	code byte
}{{ask.ErrDenied, 1}, {ask.ErrUnavailable, 2}, {ask.ErrBroken, 3}, {ErrTooLarge, 5}, {ErrUnreachable, 4}}

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
	if fd, ok := verdictPipe(); ok {
		pipe := os.NewFile(uintptr(fd), "verdict")
		pipe.Write([]byte{code}) // unheard, Run goes by rsync's exit code
		pipe.Close()
	}
	return 255
}

func verdictPipe() (fd int, ok bool) {
	fd, err := strconv.Atoi(os.Getenv(verdictVariable))
	return fd, err == nil
}

// watchRun calls gone when the process that called Run has ended, unless stop is called before: nobody listens at the
// pipe's other end any more. rsync's receiving half, a process of its own, would go on without it.
func watchRun(gone func()) (stop func()) {
	fd, ok := verdictPipe()
	if !ok {
		return func() {}
	}
	wake, waker, err := os.Pipe()
	if err != nil {
		return func() {} // out of descriptors: what is watched for is rare, and costs only time
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ends := []unix.PollFd{{Fd: int32(fd)}, {Fd: int32(wake.Fd()), Events: unix.POLLIN}} // errors come unasked
		for n := 0; n <= 0; {
			if n, err = unix.Poll(ends, -1); err != nil && err != unix.EINTR {
				return
			}
		}
		if ends[0].Revents != 0 {
			gone()
		}
	}()
	return func() {
		waker.Close()
		<-done
		wake.Close()
	}
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
