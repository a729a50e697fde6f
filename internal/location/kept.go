package location

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"clusterbackup/internal/beneath"
)

const unfinished = ".new-"

// replaceKept writes a file beside the replicas, durably and whole, as far as there is room.
func (l *Location) replaceKept(ctx context.Context, dir, name string, write func(io.Writer) error) (err error) {
	if err := l.Check(ctx); err != nil {
		return err
	}
	l.keptMu.Lock()
	defer l.keptMu.Unlock()
	at, err := l.top.Open(dir)
	if err != nil {
		return err
	}
	defer at.Close()
	tmp := unfinished + name
	fd, err := at.Create(tmp, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), tmp)
	counted := &countedWriter{w: f, space: l.space}
	err = write(counted)
	err = errors.Join(err, ctx.Err())
	if err == nil {
		err = beneath.Fsync(fd)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = l.Check(ctx)
	}
	old := int64(0)
	if err == nil {
		if st, statErr := at.Stat(name); statErr == nil {
			old = st.Size
		}
		err = at.Rename(tmp, at, name)
	}
	if err != nil {
		_ = at.Remove(tmp)
		_ = l.space.keep(-counted.n)
		return err
	}
	_ = l.space.keep(-old)
	return beneath.Fsync(at.FD())
}

// countedWriter asks for room before it writes.
type countedWriter struct {
	w     io.Writer
	space *space
	n     int64
}

func (c *countedWriter) Write(p []byte) (int, error) {
	if err := c.space.keep(int64(len(p))); err != nil {
		return 0, err
	}
	c.n += int64(len(p))
	return c.w.Write(p)
}

// keptBytes adds up sums and manifests.
func (l *Location) keptBytes() int64 {
	return l.top.TreeBytes(sumsRoot) + l.top.TreeBytes(manifestsRoot)
}

// sweepKept removes what a crash left of writing sums and manifests.
func (l *Location) sweepKept() error {
	for _, dir := range []string{sumsRoot, manifestsRoot} {
		at, err := l.top.Open(dir)
		if err != nil {
			return err
		}
		defer at.Close()
		names, err := at.Names()
		for _, name := range names {
			if strings.HasPrefix(name, unfinished) {
				err = errors.Join(err, at.Remove(name))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
