package restore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/restore"
)

// flaky is a cluster the first connections of which break after some bytes.
type flaky struct {
	*cluster
	breaks, after int
	dialled       atomic.Int64
}

// Dial implements restore.Cluster.
func (f *flaky) Dial(ctx context.Context, h restore.Holder) (net.Conn, error) {
	conn, err := f.cluster.Dial(ctx, h)
	if n := f.dialled.Add(1); err == nil && n <= int64(f.breaks) {
		return &breaking{conn, f.after}, nil
	}
	return conn, err
}

type breaking struct {
	net.Conn
	left int
}

// Read implements io.Reader.
func (b *breaking) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the line is cut")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func TestOnlyHolderIsAskedAgainAfterABrokenConnection(t *testing.T) {
	for _, tc := range []struct {
		name          string
		breaks, after int
		off           bool
		dialled       int64
		want          error
	}{
		{name: "at once", breaks: 1, dialled: 2},
		{name: "on the way", breaks: 1, after: 100_000, dialled: 2},
		{name: "often, but something comes each time", breaks: 5, after: 100_000, dialled: 6},
		{name: "each time", breaks: 1000, dialled: 2, want: restore.ErrIncomplete},
		{name: "refused", off: true, dialled: 1, want: restore.ErrIncomplete},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, "one")
			var files []file
			for i := range 100 {
				files = append(files, file{v1.RelPath(fmt.Sprintf("d/%d", i)), strings.Repeat("x", 10_000), 1})
			}
			c.holders["one"].put(t, files...)
			c.holders["one"].list(t, 1, files)
			if tc.off {
				c.holders["one"].off()
			}
			f := &flaky{cluster: c, breaks: tc.breaks, after: tc.after}
			result, err := restore.Run(t.Context(), f, restore.Options{Source: source, To: t.TempDir()})
			if !errors.Is(err, tc.want) || tc.want == nil && result.Restored != int64(len(files)) {
				t.Errorf("%d restored: %v, want %v", result.Restored, err, tc.want)
			}
			if n := f.dialled.Load(); n != tc.dialled {
				t.Errorf("connected %d times, want %d", n, tc.dialled)
			}
		})
	}
}
