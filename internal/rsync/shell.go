package rsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"clusterbackup/internal/ask"
)

// Shell is the rest of "cbd rsh" once Ask has said yes: it carries rsync's bytes both ways until the peer has sent its
// last. The end of stdin is passed on as the end of our half of the connection. stdin's Close must end a Read of it (as of
// Standard's does). It ends, too, when the process that called Run does, and with
// ErrTooLarge when that process wants no more bytes.
func Shell(ctx context.Context, stdin io.ReadCloser, stdout io.Writer, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer watchRun(func() { conn.Close() })()
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := pump(conn, stdin); err == nil {
			closeWrite(conn)
		}
	})
	_, err := pump(stdout, metered(limited(conn)))
	stdin.Close()
	conn.Close()
	sending.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil, errors.Is(err, syscall.EPIPE): // our rsync has ended: it knows why
		return nil
	case errors.Is(err, ErrTooLarge):
		return fmt.Errorf("carry rsync's bytes: %w", err)
	}
	return fmt.Errorf("carry rsync's bytes: %w: %w", ask.ErrBroken, err)
}

// Standard is the process's standard input and output such that closing ends a read. The caller closes both.
func Standard() (in, out *os.File, err error) {
	if in, err = pollable(0, "stdin"); err != nil {
		return nil, nil, fmt.Errorf("prepare standard input: %w", err)
	}
	if out, err = pollable(1, "stdout"); err != nil {
		in.Close()
		return nil, nil, fmt.Errorf("prepare standard output: %w", err)
	}
	return in, out, nil
}

// pollable is a copy of fd that the runtime waits for without a thread. A copy, since fd itself may be known to it already,
// by another name.
func pollable(fd int, name string) (*os.File, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(own, true); err != nil {
		unix.Close(own)
		return nil, err
	}
	return os.NewFile(uintptr(own), name), nil
}

var buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// pump copies until the source ends or either side fails. It never hands the copying to either side's own method:
// those use small buffers.
func pump(to io.Writer, from io.Reader) (int64, error) {
	buf := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf[:])
}

func closeWrite(conn io.Closer) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return conn.Close()
}
