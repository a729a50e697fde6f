package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/manifest"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

var header = manifest.Header{Format: 1, Source: "photos", ClusterUID: "c", SourceUID: "s", Generation: v1.Generation{Epoch: 1 << 63, Seq: 9},
	Time: time.Unix(1700000000, 5).UTC(), Host: "mini",
	Root: &manifest.Entry{Type: manifest.Folder, Mode: 0o755, ModTime: 1700000000000000001, Xattrs: map[string][]byte{"user.r": {0}}}}

func entries() []manifest.Entry {
	return []manifest.Entry{
		{Path: "a", Type: manifest.Folder, Mode: 0o1777, ModTime: -1},
		{Path: "a/\xff\n", Type: manifest.File, Size: 1 << 60, ModTime: 1<<63 - 1, Mode: 0o4751, UID: 1000, GID: 1<<32 - 1, User: "ü", Group: "g",
			Digest: v1.Digest{1, 2, 3}, Generation: v1.Generation{Epoch: 5, Seq: 6},
			Xattrs: map[string][]byte{"user.a": {0xff, 0}, "user.\xfe": []byte("x"), "user.empty": {}}},
		{Path: "a/link", Type: manifest.Symlink, Mode: 0o777, Target: "../\xff", ModTime: -1 << 63},
		{Path: "a/\u2028<>&\"\\", Type: manifest.Other, Mode: 0},
	}
}

func write(t *testing.T, h manifest.Header, list []manifest.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := manifest.NewWriter(&b, h)
	must(t, err)
	for i := range list {
		must(t, w.Write(&list[i]))
	}
	must(t, w.Close())
	return b.Bytes()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(r io.Reader) (h manifest.Header, list []manifest.Entry, err error) {
	h, seq, err := manifest.Read(r)
	if err != nil {
		return h, nil, err
	}
	for e, err := range seq {
		if err != nil {
			return h, list, err
		}
		list = append(list, e)
	}
	return h, list, nil
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	h, list, err := read(iotest.OneByteReader(bytes.NewReader(write(t, header, entries()))))
	must(t, err)
	if diff := cmp.Diff(header, h); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(entries(), list); diff != "" {
		t.Error(diff)
	}
}

func TestAnyEntrySurvives(t *testing.T) {
	name := rapid.SliceOfN(rapid.ByteRange(1, 255), 1, 255)
	rapid.Check(t, func(rt *rapid.T) {
		e := manifest.Entry{Path: v1.RelPath(name.Draw(rt, "path")), Type: manifest.Symlink, Target: string(name.Draw(rt, "target")),
			ModTime: rapid.Int64().Draw(rt, "time"), Mode: rapid.Uint32Max(0o7777).Draw(rt, "mode")}
		if _, err := v1.ParseRelPath(string(e.Path)); err != nil {
			rt.Skip()
		}
		_, list, err := read(bytes.NewReader(write(t, header, []manifest.Entry{e})))
		if err != nil || len(list) != 1 || !cmp.Equal(list[0], e) {
			rt.Fatalf("%+v came back as %+v, %v", e, list, err)
		}
	})
}

// However much of the end is missing, reading doesn't end well.
func TestTruncationIsNoticedAtEveryByte(t *testing.T) {
	whole := write(t, header, entries())
	for n := range whole {
		if _, _, err := read(bytes.NewReader(whole[:n])); !errors.Is(err, manifest.ErrTruncated) && !errors.Is(err, manifest.ErrCorrupt) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, _, err := read(bytes.NewReader(whole[:len(whole)/2])); !errors.Is(err, manifest.ErrTruncated) {
		t.Errorf("half: %v", err)
	}
}

func TestFlippedBitsNeverReadWell(t *testing.T) {
	whole := write(t, header, entries())
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		h, list, err := read(bytes.NewReader(damaged))
		if err == nil && (!cmp.Equal(h, header) || !cmp.Equal(list, entries())) {
			t.Fatalf("byte %d damaged: read well, and wrong", i)
		}
	}
}

func TestReadersFailureIsNotTakenForDamage(t *testing.T) {
	broken := errors.New("disk")
	whole := write(t, header, entries())
	_, _, err := read(io.MultiReader(bytes.NewReader(whole[:len(whole)-3]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || errors.Is(err, manifest.ErrCorrupt) || errors.Is(err, manifest.ErrTruncated) {
		t.Errorf("got %v", err)
	}
}

func pack(t *testing.T, lines ...string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	must(t, err)
	_, err = io.WriteString(w, strings.Join(lines, "\n")+"\n")
	must(t, err)
	must(t, w.Close())
	return &b
}

func TestHostileManifestsAreRefused(t *testing.T) {
	const head, end = `{"format":1,"time":"2024-01-01T00:00:00Z"}`, `{"end":{"entries":1,"files":1,"bytes":0}}`
	file := func(more string) string {
		return `{"type":"file","modTime":"2024-01-01T00:00:00Z","mode":"0644",` + more + `}`
	}
	if _, _, err := read(pack(t, head, file(`"path":"a"`), end)); err != nil {
		t.Fatalf("the well-formed one: %v", err)
	}
	for name, lines := range map[string][]string{
		"climbs out":        {head, file(`"path":"../a"`), end},
		"absolute":          {head, file(`"path":"/a"`), end},
		"no path":           {head, file(`"uid":1`), end},
		"NUL":               {head, file(`"path":"a\u0000b"`), end},
		"base64 climbs out": {head, file(`"pathBase64":"Li4vYQ=="`), end},
		"negative size":     {head, file(`"path":"a","size":-1`), end},
		"file with target":  {head, file(`"path":"a","target":"b"`), end},
		"bad digest":        {head, file(`"path":"a","sha256":"12"`), end},
		"far time":          {head, strings.Replace(file(`"path":"a"`), "2024", "9024", 1), end},
		"bad mode":          {head, strings.Replace(file(`"path":"a"`), "0644", "77777", 1), end},
		"wrong count":       {head, end},
		"goes on":           {head, file(`"path":"a"`), end, file(`"path":"b"`)},
		"no JSON":           {head, "x"},
		"long line":         {head, strings.Repeat(" ", 9<<20), end},
	} {
		if _, _, err := read(pack(t, lines...)); !errors.Is(err, manifest.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := read(pack(t, `{"format":2}`)); !errors.Is(err, manifest.ErrFormat) {
		t.Errorf("later format: %v", err)
	}
	if _, _, err := read(pack(t, head)); !errors.Is(err, manifest.ErrTruncated) {
		t.Errorf("no end: %v", err)
	}
}

func TestWriterRefusesWhatReaderWould(t *testing.T) {
	w, err := manifest.NewWriter(io.Discard, header)
	must(t, err)
	for _, e := range []manifest.Entry{{Path: "../a", Type: manifest.File}, {Path: "a"}, {Path: "a", Type: manifest.File, Size: -1}} {
		if w.Write(&e) == nil {
			t.Errorf("%+v was written", e)
		}
	}
	must(t, w.Close())
}

func TestWriteFailureShowsAtClose(t *testing.T) {
	w, err := manifest.NewWriter(failing{}, header)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		t.Error("nothing was written and nobody was told")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestCommonToolsReadIt(t *testing.T) {
	zstdcat, err := exec.LookPath("zstdcat")
	if err != nil {
		t.Skip("no zstdcat here")
	}
	cmd := exec.Command(zstdcat)
	cmd.Stdin = bytes.NewReader(write(t, header, entries()))
	out, err := cmd.Output()
	must(t, err)
	if lines := strings.Count(string(out), "\n"); lines != len(entries())+2 {
		t.Errorf("%d lines:\n%s", lines, out)
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	w, err := manifest.NewWriter(&b, header)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries() {
		w.Write(&e)
	}
	w.Close()
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:40])
	f.Fuzz(func(t *testing.T, data []byte) {
		_, list, err := read(bytes.NewReader(data))
		for _, e := range list {
			if _, bad := v1.ParseRelPath(string(e.Path)); bad != nil {
				t.Errorf("%q came through, %v", e.Path, err)
			}
		}
	})
}

func BenchmarkWriteAndRead(b *testing.B) {
	for b.Loop() {
		var buf bytes.Buffer
		w, _ := manifest.NewWriter(&buf, header)
		for i := range 10000 {
			e := manifest.Entry{Path: v1.RelPath(fmt.Sprintf("folder/%d", i)), Type: manifest.File, Size: 4096, ModTime: int64(i) * 1e12, Mode: 0o644,
				Digest: v1.Digest{byte(i), byte(i >> 8)}, Generation: v1.Generation{Epoch: 1, Seq: uint64(i)}}
			w.Write(&e)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		if _, _, err := read(&buf); err != nil {
			b.Fatal(err)
		}
	}
}
