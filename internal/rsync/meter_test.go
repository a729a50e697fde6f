package rsync_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"clusterbackup/internal/ask"
)

func TestMeterIsToldOfAllBytesAndHoldsThemBack(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	const size = 4 << 20
	put(t, src+"/big", string(random(t, size)))
	p := serve(t, src).pull(t, dst, "big")
	var told atomic.Int64
	goOn := make(chan struct{})
	p.Meter = func(ctx context.Context, bytes int) error {
		if told.Add(int64(bytes)) < size/2 {
			return nil
		}
		select {
		case <-goOn:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ended := make(chan error, 1)
	go func() { _, err := p.Run(t.Context()); ended <- err }()
	eventually(t, "half of the bytes have come", func() bool { return told.Load() >= size/2 })
	if info, err := os.Stat(dst + "/big"); err == nil && info.Size() == size {
		t.Error("the file is there, though half of it was held back")
	}
	close(goOn)
	must(t, <-ended)
	if told.Load() < size {
		t.Errorf("told of %d bytes, the file has %d", told.Load(), size)
	}
	if info, err := os.Stat(dst + "/big"); err != nil || info.Size() != size {
		t.Errorf("the file: %v", err)
	}
}

func TestMeterEndsATransfer(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	put(t, src+"/big", string(random(t, 4<<20)))
	s := serve(t, src)
	p := s.pull(t, dst, "big")
	p.Meter = func(context.Context, int) error { return errors.New("enough") }
	if _, err := p.Run(t.Context()); !errors.Is(err, ask.ErrBroken) {
		t.Errorf("pull: %v", err)
	}
	eventually(t, "all processes are gone", func() bool { return len(running(t, dst)) == 0 && len(running(t, s.addr)) == 0 })
}
