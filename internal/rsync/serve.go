package rsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"clusterbackup/internal/ask"
)

// Module is a folder to be served.
type Module struct {
	Name string // "" is DefaultModule
	Root string // absolute
	// Scratch is where a small configuration file is kept meanwhile; "" is the system's temporary folder, which is also used where it
	// cannot be written there.
	Scratch string
}

// ServeModule lets the peer at the other end of conn read the module's files, and nothing else, with rsync: until the peer
// is done, the connection ends or ctx does. conn is closed. The error, if any, is for a log: it says what rsync said.
func ServeModule(ctx context.Context, conn io.ReadWriteCloser, tool Tool, m Module) error {
	defer conn.Close()
	scratch, err := m.configure()
	if err != nil {
		return fmt.Errorf("serve %q: %w", m.Root, err)
	}
	defer os.RemoveAll(scratch)
	if err := serve(ctx, conn, tool, m.Root, scratch); err != nil {
		return fmt.Errorf("serve %q: %w", m.Root, err)
	}
	return nil
}

func serve(ctx context.Context, conn io.ReadWriteCloser, tool Tool, root, scratch string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	toChild, in, err := os.Pipe()
	if err != nil {
		return err
	}
	out, fromChild, err := os.Pipe()
	if err != nil {
		toChild.Close()
		in.Close()
		return err
	}
	widen(in)
	widen(out)

	messages := &head{limit: 4 << 10}
	started := make(chan error, 1)
	ended := make(chan error, 1)
	go func() { // ended is always received
		ended <- runHere(func() error {
			cmd := exec.CommandContext(ctx, tool.Path, "--server", "--daemon", "--config="+configPath(scratch), ".")
			prepare(cmd)
			cmd.Dir = "/"
			cmd.Stdin, cmd.Stdout, cmd.Stderr = toChild, fromChild, messages
			err := startConfined(cmd, root, scratch)
			toChild.Close()
			fromChild.Close()
			started <- err
			if err != nil {
				return err
			}
			return cmd.Wait()
		})
	}()
	if err := <-started; err != nil {
		in.Close()
		out.Close()
		<-ended
		return err
	}
	carry(cancel, conn, in, out)
	return served(ctx, <-ended, messages)
}

// carry moves the bytes until the child has written its last and the peer has heard it.
func carry(kill context.CancelFunc, conn io.ReadWriteCloser, in, out *os.File) {
	var receiving sync.WaitGroup
	receiving.Go(func() {
		defer in.Close()
		if _, err := pump(in, conn); err != nil && !errors.Is(err, os.ErrClosed) && !childGone(err) {
			kill() // the connection broke: nobody will read what the child sends
		}
	})
	if _, err := pump(conn, out); err != nil {
		kill()
	} else {
		closeWrite(conn)
		linger(conn)
	}
	out.Close()
	receiving.Wait()
	conn.Close()
}

// linger gives the peer a while to hang up first, so that the last bytes reach it.
func linger(conn io.Closer) {
	if d, ok := conn.(interface{ SetReadDeadline(time.Time) error }); ok {
		d.SetReadDeadline(time.Now().Add(10 * time.Second))
		return
	}
	conn.Close()
}

func served(ctx context.Context, err error, messages *head) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && (exit.ExitCode() == exitPartial || exit.ExitCode() == exitVanished):
		return nil
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return fmt.Errorf("%w: %w", ask.ErrBroken, err)
	}
	return fmt.Errorf("%w: %w: %s", ErrFailed, err, strings.Join(messages.lines(), "; "))
}

// childGone tells that the child does not read any more, which is how it ends when it has all it needs.
func childGone(err error) bool { return errors.Is(err, syscall.EPIPE) }
