package rsync_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"clusterbackup/internal/ask"
	"clusterbackup/internal/rsync"
	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"
)

var strange = []string{"plain", "\xff\xfe", "new\nline", strings.Repeat("x", 250), "-rf", " lead", "trail ", "a:b", "host::mod", "#hash",
	";semi", "*?[a]", "back\\slash", "'quote\"", "$(id)", "%h", "deep/er/\n/-/file", "ü", "\x01", "~", "a b/c d", ".hidden", "..."}

func TestPullBringsFilesOfAnyName(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	pullStrange(t, src, dst)
	if _, err := os.Lstat(dst + "/unasked"); err == nil {
		t.Error("a file came that nobody asked for")
	}
}

func TestPullBringsFilesOfAnyNameAsUser(t *testing.T) {
	if asUser(t) {
		pullStrange(t, t.TempDir(), t.TempDir())
	}
}

func TestPullWithStrangeFolders(t *testing.T) {
	for _, name := range []string{"new\nline", "per%cent %RSYNC_HOST_ADDR%", " blanks ", "'quo\"tes'", "back\\", "#x", "\xff", "*", "a:b"} {
		src, dst := t.TempDir()+"/"+name, t.TempDir()+"/"+name
		must(t, os.Mkdir(src, 0o755))
		must(t, os.Mkdir(dst, 0o755))
		pullStrange(t, src, dst)
	}
}

func pullStrange(t *testing.T, src, dst string) {
	t.Helper()
	when := time.Unix(1700000000, 123456789)
	for _, name := range strange {
		put(t, src+"/"+name, "content of "+name)
		must(t, os.Chmod(src+"/"+name, 0o640))
		must(t, os.Chtimes(src+"/"+name, when, when))
	}
	put(t, src+"/unasked", "x")
	stats, err := serve(t, src).pull(t, dst, strange...).Run(t.Context())
	must(t, err)
	if stats.Partial || stats.Files != int64(len(strange)) || stats.BytesReceived == 0 || stats.Duration == 0 {
		t.Errorf("stats %+v", stats)
	}
	for _, name := range strange {
		if got := read(t, dst+"/"+name); got != "content of "+name {
			t.Errorf("%q holds %q", name, got)
		}
		info, err := os.Lstat(dst + "/" + name)
		must(t, err)
		if info.Mode() != 0o640 || !info.ModTime().Equal(when) {
			t.Errorf("%q has mode %v, time %v", name, info.Mode(), info.ModTime())
		}
	}
}

// Files that have grown since their sizes were told must not fill the disk: each may be as large as the largest, all together may not.
func TestPullEndsWhenMoreComesThanWasAskedFor(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	files := []string{"a", "b", "c", "d"}
	for _, name := range files {
		put(t, src+"/"+name, strings.Repeat(name, 1<<20))
	}
	p := serve(t, src).pull(t, dst, files...)
	p.MaxSize, p.MaxBytes = 1<<20, 2<<20
	_, err := p.Run(t.Context())
	if !errors.Is(err, rsync.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, rsync.ErrTooLarge)
	}
	sum := int64(0)
	for _, name := range files {
		if info, err := os.Stat(dst + "/" + name); err == nil {
			sum += info.Size()
		}
	}
	if sum > p.MaxBytes+256<<10 {
		t.Errorf("%d bytes came, at most %d were wanted", sum, p.MaxBytes)
	}
	dst = t.TempDir()
	p.Dest, p.MaxBytes = dst, 4<<20
	if _, err := p.Run(t.Context()); err != nil {
		t.Errorf("as much as was asked for: %v", err)
	}
}

// rsync gives a whole batch up over one name: some releases did when they did not recognise a long one that they had asked for.
func TestOneNameDoesNotKeepOthersFromArriving(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	var files []string
	for i := range 200 {
		files = append(files, strconv.Itoa(i))
		put(t, src+"/"+files[i], files[i])
	}
	put(t, src+"/poison", "x")
	p := serve(t, src).pull(t, dst, append(files, "poison")...)
	picky := t.TempDir() + "/rsync"
	must(t, os.WriteFile(picky, []byte("#!/bin/sh\nlist=$(mktemp)\ntrap 'rm $list' EXIT\ncat >$list\n"+
		"if grep -q poison $list; then exit 4; fi\n"+p.Tool.Path+" \"$@\" <$list\n"), 0o755))
	p.Tool.Path = picky
	stats, err := p.Run(t.Context())
	must(t, err)
	if !stats.Partial || stats.Files != 200 {
		t.Errorf("stats %+v", stats)
	}
	for _, name := range files {
		if got := read(t, dst+"/"+name); got != name {
			t.Errorf("%q holds %q", name, got)
		}
	}
}

// What fails for all of them is an error, after a bounded number of attempts.
func TestPullGivesUp(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	var files []string
	for i := range 300 {
		files = append(files, "file"+strings.Repeat("x", i%200)+string(rune('a'+i/200)))
	}
	p := serve(t, src).pull(t, dst, files...)
	starts := t.TempDir() + "/starts"
	broken := t.TempDir() + "/rsync"
	must(t, os.WriteFile(broken, []byte("#!/bin/sh\necho >>"+starts+"\nexit 1\n"), 0o755))
	p.Tool.Path = broken
	if _, err := p.Run(t.Context()); !errors.Is(err, rsync.ErrFailed) {
		t.Errorf("got %v, want %v", err, rsync.ErrFailed)
	}
	if n := strings.Count(read(t, starts), "\n"); n > 100 {
		t.Errorf("rsync was started %d times", n)
	}
}

func TestPullFromBelowASubfolder(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	put(t, src+"/.clusterbackup/versions/photos/a/#b~20260101T000000Z", "old")
	p := serve(t, src).pull(t, dst, "a/#b~20260101T000000Z")
	p.Subdir = ".clusterbackup/versions/photos"
	_, err := p.Run(t.Context())
	must(t, err)
	if got := read(t, dst+"/a/#b~20260101T000000Z"); got != "old" {
		t.Errorf("got %q", got)
	}
}

func TestPullGoesOnWithoutWhatIsMissing(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	put(t, src+"/a/here", "x")
	put(t, src+"/last", "x")
	must(t, os.Symlink("a/here", src+"/link"))
	must(t, unix.Mkfifo(src+"/fifo", 0o644))
	must(t, os.Mkdir(src+"/folder", 0o755))
	put(t, src+"/folder/inside", "x")
	stats, err := serve(t, src).pull(t, dst, "a/vanished", "a/here", "gone/for/good", "link", "fifo", "folder", strings.Repeat("long/", 1000)+"x", "last").Run(t.Context())
	must(t, err)
	if !stats.Partial || stats.Files != 2 || len(stats.Messages) == 0 {
		t.Errorf("stats %+v", stats)
	}
	if read(t, dst+"/a/here") != "x" || read(t, dst+"/last") != "x" {
		t.Error("what was there did not arrive")
	}
	for _, name := range []string{"link", "fifo", "folder/inside", "a/vanished"} {
		if _, err := os.Lstat(dst + "/" + name); err == nil {
			t.Errorf("%s arrived", name)
		}
	}
}

func TestPullGoesOnWithoutWhatIsUnreadable(t *testing.T) {
	if !asUser(t) {
		return
	}
	src, dst := t.TempDir(), t.TempDir()
	for _, name := range []string{"shut", "shut-folder/x", "open", "readonly/x"} {
		put(t, src+"/"+name, name)
	}
	must(t, os.Chmod(src+"/shut", 0))
	must(t, os.Chmod(src+"/shut-folder", 0))
	must(t, os.Chmod(src+"/readonly", 0o555))
	must(t, os.Chmod(src+"/readonly/x", 0o400))
	defer os.Chmod(src+"/shut-folder", 0o700)
	defer os.Chmod(src+"/readonly", 0o700)
	s := serve(t, src)
	stats, err := s.pull(t, dst, "shut", "shut-folder/x", "open", "readonly/x").Run(t.Context())
	must(t, err)
	if !stats.Partial || stats.Files != 2 || read(t, dst+"/open") != "open" || read(t, dst+"/readonly/x") != "readonly/x" {
		t.Errorf("stats %+v", stats)
	}
	// What arrived in a folder that is read-only at the source can be moved away and replaced.
	must(t, os.Rename(dst+"/readonly/x", dst+"/moved"))
}

func random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(rand.Reader, b)
	must(t, err)
	return b
}

// A version that differs little from an older one, though it has its size and time, comes as a delta and right.
func TestPullOfAChangedFileMovesTheDifference(t *testing.T) {
	src, dst, old := t.TempDir(), t.TempDir(), t.TempDir()
	when := time.Unix(1700000000, 0)
	before := random(t, 16<<20)
	put(t, old+"/d/big", string(before))
	after := append([]byte{}, before...)
	after[5<<20] ^= 1
	put(t, src+"/d/big", string(after))
	must(t, os.Chtimes(old+"/d/big", when, when))
	must(t, os.Chtimes(src+"/d/big", when, when))
	p := serve(t, src).pull(t, dst, "d/big")
	p.CopyDest = []string{t.TempDir(), old}
	stats, err := p.Run(t.Context())
	must(t, err)
	if read(t, dst+"/d/big") != string(after) || read(t, old+"/d/big") != string(before) {
		t.Error("not the new version in place, or the old one touched")
	}
	if stats.BytesReceived > 1<<20 || stats.Matched < 15<<20 {
		t.Errorf("stats %+v", stats)
	}
}

// What a killed copy had brought does not travel again.
func TestPullGoesOnWhereAKilledOneStopped(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	const size = 24 << 20
	content := random(t, size)
	put(t, src+"/big", string(content))
	must(t, os.Chmod(src+"/big", 0o444))
	s := serve(t, src)
	p := s.pull(t, dst, "big")
	p.BandwidthLimit = 8 << 20
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		eventually(t, "half of the file is there", func() bool {
			info, err := os.Stat(dst + "/big")
			return err == nil && info.Size() > size/2
		})
	}()
	if _, err := p.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	eventually(t, "all processes are gone", func() bool { return len(running(t, dst)) == 0 && len(running(t, s.addr)) == 0 })
	s.ended(t, 1)
	info, err := os.Stat(dst + "/big")
	must(t, err)
	if info.Size() >= size {
		t.Fatal("the copy was done already: nothing to go on with")
	}
	p.BandwidthLimit = 0
	stats, err := p.Run(t.Context())
	must(t, err)
	if read(t, dst+"/big") != string(content) {
		t.Error("another content")
	}
	if stats.Matched < size/3 || stats.BytesReceived > size*2/3 {
		t.Errorf("stats %+v", stats)
	}
}

func TestPullSaysWhoIsToBlame(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	put(t, src+"/f", "x")
	s := serve(t, src)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	nobody := l.Addr().String()
	l.Close()
	for name, c := range map[string]struct {
		change func(*rsync.Pull)
		want   error
	}{
		"denied":      {func(p *rsync.Pull) { p.Shell[4] = "secrets" }, ask.ErrDenied},
		"unavailable": {func(p *rsync.Pull) { p.Shell[4] = "absent" }, ask.ErrUnavailable},
		"unreachable": {func(p *rsync.Pull) { p.Shell[2] = nobody }, rsync.ErrUnreachable},
		"no shell":    {func(p *rsync.Pull) { p.Shell = []string{"/nonexistent/cbd"} }, rsync.ErrNoShell},
		"no module":   {func(p *rsync.Pull) { p.Module = "other" }, ask.ErrUnavailable},
		"no folder":   {func(p *rsync.Pull) { p.Dest = "/dev/null/x" }, rsync.ErrWrite},
		"relative":    {func(p *rsync.Pull) { p.Dest = "x" }, rsync.ErrNotAbsolute},
		"shell unset": {func(p *rsync.Pull) { p.Shell = nil }, rsync.ErrNoShell},
	} {
		p := s.pull(t, dst, "f")
		c.change(&p)
		if _, err := p.Run(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(dst + "/f"); err == nil {
		t.Error("the file arrived")
	}
}

func TestBrokenConnectionEndsBothEnds(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	put(t, src+"/big", string(random(t, 16<<20)))
	s := serve(t, src)
	p := s.pull(t, dst, "big")
	p.BandwidthLimit = 4 << 20
	go func() {
		eventually(t, "bytes flow", func() bool {
			info, err := os.Stat(dst + "/big")
			return err == nil && info.Size() > 1<<20
		})
		s.breakAll()
	}()
	if _, err := p.Run(t.Context()); !errors.Is(err, ask.ErrBroken) {
		t.Errorf("pull: %v", err)
	}
	if errs := s.ended(t, 1); errs[0] == nil {
		t.Error("the server took it for a good end")
	}
	eventually(t, "all processes are gone", func() bool { return len(running(t, dst)) == 0 && len(running(t, "clusterbackup-rsync-")) == 0 })
}

func TestPullOfNothingDoesNothing(t *testing.T) {
	p := rsync.Pull{Shell: []string{"false"}, Dest: t.TempDir()} // without a Tool, starting one would fail
	if stats, err := p.Run(t.Context()); err != nil || stats.Partial {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestPullKeepsOwnerAndAttributes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	src, dst := t.TempDir(), t.TempDir()
	put(t, src+"/f", "x")
	must(t, os.Chown(src+"/f", 4321, 8765))
	if err := xattr.Set(src+"/f", "user.note", []byte("n")); err != nil {
		t.Skipf("file system without extended attributes: %v", err)
	}
	p := serve(t, src).pull(t, dst, "f")
	p.Owner, p.Xattrs = true, true
	_, err := p.Run(t.Context())
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Lstat(dst+"/f", &st))
	if st.Uid != 4321 || st.Gid != 8765 {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
	if value, err := xattr.Get(dst+"/f", "user.note"); err != nil || string(value) != "n" {
		t.Errorf("attribute %q, %v", value, err)
	}
}

// A holder that is killed leaves no rsync behind that goes on writing, nor does it keep the sender busy.
func TestNothingOutlivesAKilledHolder(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	put(t, src+"/big", string(random(t, 16<<20)))
	s := serve(t, src)
	holder := exec.Command(self(t), "pull", self(t), s.addr, dst, "big")
	must(t, holder.Start())
	eventually(t, "bytes flow", func() bool {
		info, err := os.Stat(dst + "/big")
		return err == nil && info.Size() > 1<<20
	})
	must(t, holder.Process.Kill())
	holder.Wait()
	eventually(t, "all processes are gone", func() bool { return len(running(t, dst)) == 0 && len(running(t, s.addr)) == 0 })
	s.ended(t, 1)
}
