package rsync_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "clusterbackup/api/v1"
)

const secret = "what must not be seen"

// planted is a source in which links lead to a secret outside, with one honest file.
func planted(t *testing.T) (src string, paths []string) {
	t.Helper()
	outside := t.TempDir()
	put(t, outside+"/secret", secret)
	put(t, outside+"/deep/secret", secret)
	src = t.TempDir()
	put(t, src+"/honest", "x")
	put(t, src+"/a/b/c", "x")
	must(t, os.Symlink(outside, src+"/link"))
	must(t, os.Symlink(outside+"/secret", src+"/secret"))
	must(t, os.Symlink("../../../../../../../.."+outside, src+"/a/b/up"))
	must(t, os.Symlink("b/up", src+"/a/twice"))
	return src, []string{"link/secret", "link/deep/secret", "secret", "a/b/up/secret", "a/twice/secret", "a/b/up/deep/secret"}
}

// leaked looks for the secret in whatever arrived under dir.
func leaked(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(read(t, path), secret) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	must(t, err)
}

func TestPlantedLinksLeadNowhere(t *testing.T)       { plantedLinksLeadNowhere(t) }
func TestPlantedLinksLeadNowhereAsUser(t *testing.T) { asUserDo(t, plantedLinksLeadNowhere) }

func asUserDo(t *testing.T, test func(*testing.T)) {
	t.Helper()
	if asUser(t) {
		test(t)
	}
}

func plantedLinksLeadNowhere(t *testing.T) {
	src, paths := planted(t)
	dst := t.TempDir()
	s := serve(t, src)
	_, err := s.pull(t, dst, append(paths, "honest", "a/b/c")...).Run(t.Context())
	must(t, err)
	if read(t, dst+"/honest") != "x" || read(t, dst+"/a/b/c") != "x" {
		t.Error("the honest file didn't arrive")
	}
	leaked(t, dst)
	for _, subdir := range []string{"link", "a/b/up", "a/twice"} {
		p := s.pull(t, dst, "secret")
		p.Subdir = subdir
		p.Run(t.Context()) // however it ends
		leaked(t, dst)
	}
	p := s.pull(t, dst)
	p.Files = []v1.RelPath{"../secret", "../../etc/passwd", "a/../../secret"}
	p.Run(t.Context())
	leaked(t, dst)
}

// A peer with a certificate may run any rsync, with any options. It still gets nothing but the source, and can change nothing.
func TestHostilePeerGetsNothingMore(t *testing.T)       { hostilePeerGetsNothingMore(t) }
func TestHostilePeerGetsNothingMoreAsUser(t *testing.T) { asUserDo(t, hostilePeerGetsNothingMore) }

func hostilePeerGetsNothingMore(t *testing.T) {
	src, _ := planted(t)
	s := serve(t, src)
	shell := strings.Join([]string{self(t), "rsh", s.addr, "source", "photos"}, " ")
	var honest atomic.Int32
	t.Run("reads", func(t *testing.T) {
		for _, args := range hostileReads(src) {
			t.Run(strings.Join(args, " "), func(t *testing.T) {
				t.Parallel()
				dst := t.TempDir()
				out, err := exec.Command(tool(t).Path, append(append([]string{"-e", shell}, args...), dst+"/")...).CombinedOutput()
				if err == nil && fileHolds(dst+"/honest", "x") {
					honest.Add(1)
				}
				leaked(t, dst)
				if bytes.Contains(out, []byte(secret)) {
					t.Errorf("it says the secret: %s", out)
				}
			})
		}
	})
	if honest.Load() == 0 {
		t.Error("no way of asking brought the honest file: nothing was tested")
	}

	mine := t.TempDir()
	put(t, mine+"/planted", "evil")
	for _, args := range [][]string{{"-r"}, {"-r", "--delete"}, {"-r", "--inplace"}} {
		if err := exec.Command(tool(t).Path, append(append([]string{"-e", shell}, args...), mine+"/", "x::data/")...).Run(); err == nil {
			t.Errorf("%q: writing was let through", args)
		}
	}
	for _, name := range []string{"planted", "written"} {
		if _, err := os.Lstat(src + "/" + name); err == nil {
			t.Errorf("%s was written into the source", name)
		}
	}
	if !fileHolds(src+"/honest", "x") || !fileHolds(src+"/a/b/c", "x") {
		t.Error("the source was changed")
	}
}

func hostileReads(src string) [][]string {
	return [][]string{
		{"-r", "x::data/"},
		{"-rL", "x::data/"},
		{"-r", "--copy-unsafe-links", "x::data/"},
		{"-rk", "x::data/"},
		{"-r", "x::data/link/"},
		{"-r", "x::data/../"},
		{"-r", "x::data/a/b/../../../"},
		{"-r", "x::data//etc/"},
		{"-rL", "x::data/link/./"},
		{"-rR", "x::data/a/b/up/./secret"},
		{"-rl", "x::data/"},
		{"-r", "--no-relative", "--files-from=:/link/secret", "x::data/"},
		{"-r", "--remote-option=--copy-links", "x::data/"},
		{"-r", "--remote-option=-L", "x::data/"},
		{"-r", "--remote-option=--log-file=" + src + "/written", "x::data/"},
		{"-r", "--remote-option=--temp-dir=/tmp", "--remove-source-files", "x::data/"},
	}
}

func fileHolds(path, content string) bool {
	b, err := os.ReadFile(path)
	return err == nil && string(b) == content
}
