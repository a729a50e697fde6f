package rsync_test

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestPullBringsFilesOfAnyName(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	names := []string{"plain", "\xff\xfe", "new\nline", strings.Repeat("x", 250), "-rf", " lead", "trail ", "a:b", "host::mod", "#hash", ";semi",
		"*?[a]", "back\\slash", "'quote\"", "$(id)", "%h", "deep/er/\n/-/file", "ü", "\x01", "~", "a b/c d"}
	when := time.Unix(1700000000, 123456789)
	for _, name := range names {
		put(t, src+"/"+name, "content of "+name)
		must(t, os.Chmod(src+"/"+name, 0o640))
		must(t, os.Chtimes(src+"/"+name, when, when))
	}
	put(t, src+"/unasked", "x")
	stats, err := serve(t, src).pull(t, dst, names...).Run(t.Context())
	must(t, err)
	if stats.Partial || stats.Files != int64(len(names)) || stats.BytesReceived == 0 {
		t.Errorf("stats %+v", stats)
	}
	for _, name := range names {
		if got := read(t, dst+"/"+name); got != "content of "+name {
			t.Errorf("%q holds %q", name, got)
		}
		info, err := os.Lstat(dst + "/" + name)
		must(t, err)
		if info.Mode() != 0o640 || !info.ModTime().Equal(when) {
			t.Errorf("%q has mode %v, time %v", name, info.Mode(), info.ModTime())
		}
	}
	if _, err := os.Lstat(dst + "/unasked"); err == nil {
		t.Error("a file came that nobody asked for")
	}
}
