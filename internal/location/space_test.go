package location

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

func TestSevenMebibytesHoldExactlySevenFiles(t *testing.T) {
	h := newHome(t)
	h.cfg.Capacity = 7 * mebibyte
	l := h.open()
	for i := range 8 {
		room, err := l.Reserve(mebibyte, 1)
		if i == 7 {
			wantErr(t, err, ErrFull)
			break
		}
		fatalIf(t, err)
		b, err := l.Begin(t.Context(), photos, BatchOptions{Reservation: room})
		fatalIf(t, err)
		out, err := b.Publish(t.Context(), stage(t, b, file{v1.RelPath(fmt.Sprint(i)), strings.Repeat("x", mebibyte), uint64(i + 1)}))
		if err != nil || out[0].Err != nil {
			t.Fatal(err, out)
		}
		fatalIf(t, b.Close())
		fatalIf(t, l.FlushSums(t.Context(), 0))
	}
	if s := l.Space(); s != (Space{Capacity: 7 * mebibyte, Used: 7 * mebibyte, Replicas: 7}) {
		t.Errorf("space %+v", s)
	}
	// Small files that nothing was reserved for don't get in either.
	if out := tryPut(t, l, file{"small", "x", 9}); !errors.Is(out[0].Err, ErrFull) {
		t.Errorf("error %v", out[0].Err)
	}
	// Replacing needs room for both.
	if out := tryPut(t, l, file{"0", "x", 10}); !errors.Is(out[0].Err, ErrFull) {
		t.Errorf("error %v", out[0].Err)
	}
	fatalIf(t, l.Drop(t.Context(), photos, "6", v1.Generation{Epoch: 7, Seq: 7}, func() bool { return true }))
	put(t, l, file{"0", "x", 10})
	if s := l.Space(); s.Used != 6*mebibyte+1 || s.Versions != 1 || s.Free != mebibyte-1 {
		t.Errorf("space %+v", s)
	}
	audit(t, h.reopen(l))
}

func TestCapacityHoldsWithManyAtOnce(t *testing.T) {
	h := newHome(t)
	h.cfg.Capacity = 100_000
	l := h.open()
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			dice := rand.New(rand.NewPCG(1, uint64(worker)))
			for n := range 12 {
				size := dice.IntN(9000)
				room, err := l.Reserve(int64(size), 1)
				if errors.Is(err, ErrFull) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if dice.IntN(4) == 0 {
					room.Release()
					continue
				}
				b, err := l.Begin(t.Context(), photos, BatchOptions{Reservation: room})
				if err != nil {
					t.Error(err)
					return
				}
				name := v1.RelPath(fmt.Sprint("w", worker, "/", n%5))
				if _, err := b.Publish(t.Context(), stage(t, b, file{name, strings.Repeat("y", size), uint64(n + 1)})); err != nil {
					t.Error(err)
				}
				if s := l.Space(); s.Used+s.Reserved > 100_000 || s.Free < 0 {
					t.Errorf("space %+v", s)
				}
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	s := l.Space()
	if s.Reserved != 0 || s.Used < 80_000 || s.Used > 100_000 {
		t.Errorf("space %+v", s)
	}
	audit(t, l)
}

func TestReserveIsLeftAloneByLocationsOfOneDisk(t *testing.T) {
	var disks Disks
	one, two := newHome(t), newHome(t)
	one.cfg.Disks, two.cfg.Disks = &disks, &disks
	a, b := one.open(), two.open()
	free, _, err := freeBytes(a.top)
	fatalIf(t, err)
	const room = 64 * mebibyte // others write to this disk, too
	a.SetLimits(0, free-room)
	b.SetLimits(0, free-room)
	res, err := a.Reserve(room*3/4, 1)
	fatalIf(t, err)
	_, err = b.Reserve(room/2, 1)
	wantErr(t, err, ErrFull)
	_, err = b.Reserve(0, 20_000) // empty files need room, too
	wantErr(t, err, ErrFull)
	if s := a.Space(); s.Reserved != room*3/4 || s.Free > room/2 || s.Capacity > 2*room {
		t.Errorf("space %+v", s)
	}
	res.Release()
	res.Release()
	again, err := b.Reserve(room/2, 1)
	fatalIf(t, err)
	again.Release()
	if len(disks.reserved) != 1 || disks.reserved[a.device] != 0 {
		t.Errorf("still reserved: %v", disks.reserved)
	}
}

func TestUnfinishedBigCopyIsResumedAndMakesWay(t *testing.T) {
	h := newHome(t)
	h.cfg.Capacity = 1000
	l := h.open()
	begin := func() *Batch {
		room, err := l.Reserve(600, 1)
		fatalIf(t, err)
		b, err := l.Begin(t.Context(), photos, BatchOptions{Reservation: room, Resume: "big"})
		fatalIf(t, err)
		return b
	}
	b := begin()
	part := filepath.Join(b.Dir(), "big")
	fatalIf(t, os.WriteFile(part, make([]byte, 400), 0o600))
	_, err := l.Begin(t.Context(), photos, BatchOptions{Resume: "big"})
	wantErr(t, err, ErrBusy)
	fatalIf(t, b.Close())
	if s := l.Space(); s.Used != 400 || s.Reserved != 0 {
		t.Errorf("space %+v", s)
	}
	l = h.reopen(l)
	if s := l.Space(); s.Used != 400 || s.Free != 1000 { // it makes way for another file
		t.Errorf("space after opening again %+v", s)
	}
	b = begin()
	if data, err := os.ReadFile(part); err != nil || len(data) != 400 {
		t.Fatalf("nothing to resume: %d bytes, %v", len(data), err)
	}
	if s := l.Space(); s.Used+s.Reserved != 600 {
		t.Errorf("space while resuming %+v", s)
	}
	_, err = l.Reserve(600, 1)
	wantErr(t, err, ErrFull)
	if _, err := os.Stat(part); err != nil {
		t.Errorf("a copy under way was removed: %v", err)
	}
	fatalIf(t, b.Close())
	room, err := l.Reserve(900, 1) // an idle one goes
	fatalIf(t, err)
	room.Release()
	if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the idle copy is still there: %v", err)
	}
	if s := l.Space(); s.Used != 0 || s.Reserved != 0 {
		t.Errorf("space %+v", s)
	}
}

func TestUnfinishedCopyGoesWhenItIsOfNoUse(t *testing.T) {
	whole := file{"big", string(make([]byte, ResumeFrom)), 1}
	begin := func(l *Location, resume v1.RelPath) *Batch {
		room, err := l.Reserve(ResumeFrom, 1)
		fatalIf(t, err)
		b, err := l.Begin(t.Context(), photos, BatchOptions{Reservation: room, Resume: resume})
		fatalIf(t, err)
		return b
	}
	for why, c := range map[string]struct {
		left []byte
		then func(l *Location)
	}{
		"the file came otherwise": {make([]byte, 1000), func(l *Location) {
			b := begin(l, "")
			defer b.Close()
			_, err := b.Publish(t.Context(), stage(t, b, whole))
			fatalIf(t, err)
		}},
		"the location is too full": {make([]byte, 1000), func(l *Location) { l.SetLimits(500, 0) }},
		"it has other bytes": {nil, func(l *Location) {
			b := begin(l, "big")
			defer b.Close()
			in := stage(t, b, whole)
			in[0].Digest = sha256.Sum256([]byte("what it should be"))
			out, err := b.Publish(t.Context(), in)
			fatalIf(t, err)
			wantErr(t, out[0].Err, ErrDigest)
		}},
	} {
		t.Run(why, func(t *testing.T) {
			l := newHome(t).open()
			b := begin(l, "big")
			if c.left != nil {
				fatalIf(t, os.WriteFile(filepath.Join(b.Dir(), "big"), c.left, 0o600))
			}
			fatalIf(t, b.Close())
			c.then(l)
			if left := l.top.TreeBytes(partialRoot); left != 0 {
				t.Errorf("%d bytes lie in partial/", left)
			}
		})
	}
}

// What is left of a copy of a file that has shrunk since must not take more room than is reserved for the file as it is now.
func TestUnfinishedCopyLargerThanTheFileIsBegunAnew(t *testing.T) {
	h := newHome(t)
	h.cfg.Capacity = 1000
	l := h.open()
	begin := func(size int64) *Batch {
		room, err := l.Reserve(size, 1)
		fatalIf(t, err)
		b, err := l.Begin(t.Context(), photos, BatchOptions{Reservation: room, Resume: "big"})
		fatalIf(t, err)
		return b
	}
	b := begin(900)
	fatalIf(t, os.WriteFile(filepath.Join(b.Dir(), "big"), make([]byte, 800), 0o600))
	fatalIf(t, b.Close())
	b = begin(100)
	if left := l.top.TreeBytes(partialRoot); left > 100 {
		t.Errorf("%d bytes lie there, 100 are reserved", left)
	}
	fatalIf(t, b.Close())
	if s := l.Space(); s.Used != 0 || s.Reserved != 0 {
		t.Errorf("space %+v", s)
	}
}

// When others fill the disk while a copy is under way, the copy ends, and what there is of it goes.
func TestCopyEndsWhenOthersReachTheReserve(t *testing.T) {
	l := newHome(t).open()
	room, err := l.Reserve(1000, 1)
	fatalIf(t, err)
	b, err := l.Begin(t.Context(), photos, BatchOptions{Reservation: room, Resume: "big"})
	fatalIf(t, err)
	part := filepath.Join(b.Dir(), "big")
	fatalIf(t, os.WriteFile(part, make([]byte, 400), 0o600))
	ctx, stop := b.Guard(t.Context())
	fatalIf(t, ctx.Err())
	free, _, err := freeBytes(l.top)
	fatalIf(t, err)
	l.SetLimits(0, free*2) // as if others had written that much
	select {
	case <-ctx.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
	wantErr(t, context.Cause(ctx), ErrFull)
	stop()
	fatalIf(t, b.Close())
	if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unfinished copy is still there: %v", err)
	}
	if s := l.Space(); s.Used != 0 || s.Reserved != 0 {
		t.Errorf("space %+v", s)
	}
}

func TestManifestWithoutRoomIsRefused(t *testing.T) {
	h := newHome(t)
	h.cfg.Capacity = 2*mebibyte + 5
	l := h.open()
	put(t, l, file{"a", strings.Repeat("x", mebibyte+6), 1})
	fatalIf(t, l.PutManifest(t.Context(), photos, "1", strings.NewReader("first")))
	err := l.PutManifest(t.Context(), photos, "2", strings.NewReader(strings.Repeat("m", mebibyte)))
	wantErr(t, err, ErrFull)
	if v, _ := l.ManifestVersion(photos); v != "1" || contentOf(t, l, ".clusterbackup/manifests/photos.jsonl.zst") != "first" {
		t.Errorf("manifest is version %q", v)
	}
	if s := l.Space(); s.Used != mebibyte+6 {
		t.Errorf("space %+v", s)
	}
	fatalIf(t, l.PutManifest(t.Context(), photos, "3", strings.NewReader("third")))
	audit(t, h.reopen(l))
}

// TestEverythingAtOnce runs all that changes a location side by side.
func TestEverythingAtOnce(t *testing.T) {
	h := newHome(t)
	l := h.open()
	var group sync.WaitGroup
	run := func(do func(n uint64) error) {
		group.Go(func() {
			for n := range uint64(15) {
				if err := do(n + 1); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for worker := range uint64(2) {
		run(func(n uint64) error {
			var files []file
			for i := range 20 {
				files = append(files, file{v1.RelPath(fmt.Sprint("d/", i)), fmt.Sprint(worker, n, i), n})
			}
			b, err := l.Begin(t.Context(), photos, BatchOptions{})
			if err != nil {
				return err
			}
			_, err = b.Publish(t.Context(), stage(t, b, files...))
			return errors.Join(err, b.Close())
		})
	}
	paths := []v1.RelPath{"d/1", "d/2", "d/3"}
	run(func(uint64) error { _, err := l.Retire(t.Context(), photos, paths[:2], 0, nil); return err })
	run(func(n uint64) error {
		_, err := l.DropAll(t.Context(), photos, []Doomed{{Path: "d/3", Gen: gen(n), Valid: always}})
		return err
	})
	run(func(uint64) error {
		verdicts, err := l.Verify(t.Context(), photos, paths, VerifyOptions{})
		if slices.Contains(verdicts, Corrupt) {
			t.Error("a replica that was being replaced is called corrupt")
		}
		return err
	})
	run(func(uint64) error { _, err := l.Rebuild(t.Context(), nil); return err })
	run(func(uint64) error { return l.FlushSums(t.Context(), 0) })
	run(func(uint64) error {
		_, err := l.Expire(t.Context(), time.Now().Add(1000*time.Hour), func(v1.SourceName) Retention { return Retention{} })
		return err
	})
	group.Wait()
	audit(t, h.reopen(l))
}
