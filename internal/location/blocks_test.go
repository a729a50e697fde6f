package location

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "clusterbackup/api/v1"
)

// verifyAll verifies replicas and returns what was found and how many bytes were read.
func verifyAll(t *testing.T, l *Location, sampleAbove int64, paths ...v1.RelPath) (verdicts []Verdict, read int64) {
	t.Helper()
	verdicts, err := l.Verify(t.Context(), photos, paths, VerifyOptions{SampleAbove: sampleAbove, Read: func(n int) { read += int64(n) }})
	fatalIf(t, err)
	return verdicts, read
}

func TestLargeReplicasAreSampled(t *testing.T) {
	l := newHome(t).open()
	const blocks = 100
	large := strings.Repeat("0123456789abcdef", blocks*minBlock/16) + "and a bit"
	put(t, l, file{"large", large, 1}, file{"small", "1234", 1})
	verdicts, read := verifyAll(t, l, 1<<20, "large", "small")
	if verdicts[0] != Intact || verdicts[1] != Intact {
		t.Errorf("verdicts %v", verdicts)
	}
	if read < 4+minSample*minBlock || read > 4+(blocks/sampleStride+1)*minBlock {
		t.Errorf("%d bytes were read of %d", read, len(large))
	}
	for name, above := range map[string]int64{"0 means whole": 0, "no larger": int64(len(large))} {
		if _, read := verifyAll(t, l, above, "large"); read != int64(len(large)) {
			t.Errorf("%s: %d bytes were read of %d", name, read, len(large))
		}
	}
	audit(t, l)
}

// TestSampleFindsDecay: what a sample finds is decided by the whole, and what it can't see is found by and by.
func TestSampleFindsDecay(t *testing.T) {
	l := newHome(t).open()
	large := strings.Repeat("0123456789abcdef", 40*minBlock/16)
	put(t, l, file{"everywhere", large, 1}, file{"one bit", large, 1})
	rot := func(name string, bytes []byte, every int64) {
		path := filepath.Join(l.Root(), "photos", name)
		st, err := os.Stat(path)
		fatalIf(t, err)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		fatalIf(t, err)
		for at := int64(17); at < st.Size(); at += every {
			_, err := f.WriteAt(bytes, at)
			fatalIf(t, err)
		}
		fatalIf(t, f.Close())
		fatalIf(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
	}
	rot("everywhere", []byte("x"), minBlock)
	rot("one bit", []byte("x"), int64(len(large)))
	if verdicts, _ := verifyAll(t, l, 1, "everywhere"); verdicts[0] != Corrupt {
		t.Errorf("verdict %v", verdicts[0])
	}
	for range 10000 { // one sample in ten has the block
		if verdicts, _ := verifyAll(t, l, 1, "one bit"); verdicts[0] == Corrupt {
			return
		}
	}
	t.Error("samples never reach the first block")
}

// TestWithoutNotedBlocksTheWholeIsRead: of a location whose index was lost, or that an earlier version of the program filled.
func TestWithoutNotedBlocksTheWholeIsRead(t *testing.T) {
	l := newHome(t).open()
	large := strings.Repeat("0123456789abcdef", 40*minBlock/16)
	put(t, l, file{"large", large, 1})
	fatalIf(t, l.commit(func(u *update) error {
		s, err := u.source(photos)
		if err != nil {
			return err
		}
		return s.putBlocks("large", nil)
	}, nil))
	if _, read := verifyAll(t, l, 1, "large"); read != int64(len(large)) {
		t.Errorf("%d bytes were read of %d", read, len(large))
	}
	if _, read := verifyAll(t, l, 1, "large"); read >= int64(len(large))/2 {
		t.Errorf("the second time %d bytes were read of %d", read, len(large))
	}
	// Another version of the file is not compared with the blocks of the one before.
	other := strings.Repeat("fedcba9876543210", 40*minBlock/16)
	put(t, l, file{"large", other, 2})
	if verdicts, read := verifyAll(t, l, 1, "large"); verdicts[0] != Intact || read >= int64(len(other))/2 {
		t.Errorf("%v after %d bytes", verdicts, read)
	}
}

func TestBlocksOfHugeFilesAreLarger(t *testing.T) {
	for _, tc := range []struct{ file, block int64 }{
		{0, 0}, {minSample * minBlock, 0}, {minSample*minBlock + 1, minBlock}, {minBlock * maxBlocks, minBlock},
		{minBlock*maxBlocks + 1, 2 * minBlock}, {1 << 40, 1 << 24},
	} {
		if got := blockSize(tc.file); got != tc.block {
			t.Errorf("blocks of a file of %d bytes have %d, want %d", tc.file, got, tc.block)
		}
	}
}
