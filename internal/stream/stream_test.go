package stream

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/beneath"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func put(t testing.TB, root, path string, data []byte, mode os.FileMode) File {
	t.Helper()
	name := filepath.Join(root, path)
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, data, 0o600))
	must(t, os.Chmod(name, mode))
	return File{v1.RelPath(path), int64(len(data))}
}

// connected is both ends of a TCP connection.
func connected(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	near, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	far, err = l.Accept()
	must(t, err)
	return near, far
}

// fetched has the files served from a folder and returns where they came to.
func fetched(t testing.TB, from Folder, f Fetch) (dest string, err error) {
	t.Helper()
	dest = t.TempDir()
	f.Dest, err = beneath.OpenFolder(dest)
	must(t, err)
	defer f.Dest.Close()
	near, far := connected(t)
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), far, from) }()
	err = f.Run(t.Context(), near)
	if s := <-served; err == nil && s != nil && !errors.Is(s, unix.ECONNRESET) {
		t.Errorf("serve: %v", s)
	}
	return dest, err
}

func filesBelow(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	}))
	return names
}

func TestFilesArriveAsTheyAre(t *testing.T) {
	root := t.TempDir()
	var files []File
	for i, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 5*chunk + 7} {
		files = append(files, put(t, root, fmt.Sprintf("sizes/%d", i), content(size), 0o644))
	}
	for i, name := range []string{"new\nline", "not UTF-8 \xff\xfe", "-rf", " ", strings.Repeat("n", 255), strings.Repeat("deep/", 400) + "end", "a/b", "*?[", "a\\b"} {
		files = append(files, put(t, root, name, content(i), 0o644))
	}
	for _, mode := range []os.FileMode{0o400, 0o600, 0o640, 0o777, 0o755 | os.ModeSetuid, 0o755 | os.ModeSetgid, 0o644 | os.ModeSticky} {
		files = append(files, put(t, root, fmt.Sprintf("modes/%o", uint32(mode)), content(10), mode))
	}
	for i, at := range []time.Time{time.Unix(1, 1), time.Unix(-5, 999_999_999), time.Unix(4_000_000_000, 123_456_789)} {
		f := put(t, root, fmt.Sprintf("times/%d", i), content(10), 0o644)
		must(t, os.Chtimes(filepath.Join(root, string(f.Path)), at, at))
		files = append(files, f)
	}
	counted := 0
	dest, err := fetched(t, Folder{Root: root}, Fetch{Files: files, Owner: true,
		Meter: func(_ context.Context, n int) error { counted += n; return nil }})
	must(t, err)
	total := 0
	for _, f := range files {
		total += int(f.Size)
		want, err := os.ReadFile(filepath.Join(root, string(f.Path)))
		must(t, err)
		got, err := os.ReadFile(filepath.Join(dest, string(f.Path)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %d bytes, want %d, %v", f.Path, len(got), len(want), err)
			continue
		}
		was, _ := os.Stat(filepath.Join(root, string(f.Path)))
		is, _ := os.Stat(filepath.Join(dest, string(f.Path)))
		if was.Mode() != is.Mode() || !was.ModTime().Equal(is.ModTime()) {
			t.Errorf("%q: %v %v, want %v %v", f.Path, is.Mode(), is.ModTime(), was.Mode(), was.ModTime())
		}
	}
	if n := len(filesBelow(t, dest)); n != len(files) {
		t.Errorf("%d files arrived, want %d", n, len(files))
	}
	if counted < total || counted > total+100*len(files) {
		t.Errorf("%d bytes were counted, of %d", counted, total)
	}
}

func TestOwnersArriveForRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := t.TempDir()
	f := put(t, root, "f", content(10), 0o755)
	must(t, os.Chown(root+"/f", 4711, 4712))
	must(t, os.Chmod(root+"/f", 0o755|os.ModeSetuid))
	for _, owner := range []bool{true, false} {
		dest, err := fetched(t, Folder{Root: root}, Fetch{Files: []File{f}, Owner: owner})
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Stat(dest+"/f", &st))
		if st.Mode&0o7777 != 0o4755 || (st.Uid == 4711 && st.Gid == 4712) != owner {
			t.Errorf("owner %v: mode %o, %d:%d", owner, st.Mode, st.Uid, st.Gid)
		}
	}
}

func TestFilesBelowASubfolder(t *testing.T) {
	root := t.TempDir()
	put(t, root, "photos/a/f", []byte("photos"), 0o644)
	put(t, root, "a/f", []byte("other."), 0o644)
	dest, err := fetched(t, Folder{Root: root}, Fetch{Subdir: "photos", Files: []File{{"a/f", 6}}})
	must(t, err)
	if got, err := os.ReadFile(dest + "/a/f"); string(got) != "photos" {
		t.Errorf("%q, %v", got, err)
	}
}

// What is not a regular file of that size below the folder does not come, and keeps no other from coming.
func TestWhatIsNotThereStaysAway(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	put(t, outside, "secret", []byte("secret"), 0o644)
	put(t, root, "first", []byte("first."), 0o644)
	put(t, root, "a/last", []byte("last.."), 0o644)
	put(t, root, "larger", []byte("larger now"), 0o644)
	must(t, os.Symlink(outside+"/secret", root+"/link"))
	must(t, os.Symlink(outside, root+"/away"))
	must(t, os.Symlink("a", root+"/inside"))
	must(t, unix.Mkfifo(root+"/fifo", 0o644))
	dest, err := fetched(t, Folder{Root: root}, Fetch{Files: []File{{"first", 6}, {"gone", 6}, {"gone/below", 6}, {"link", 6}, {"away/secret", 6},
		{"inside/last", 6}, {"fifo", 0}, {"a", 0}, {"larger", 6}, {"first/below", 6}, {"a/last", 6}}})
	must(t, err)
	if got := filesBelow(t, dest); !slices.Equal(got, []string{"a/last", "first"}) {
		t.Errorf("arrived: %q", got)
	}
}

// A folder that is moved out of the root is soon no longer served to who has been asking for its files.
func TestFolderThatIsMovedOut(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	in := []File{put(t, root, "private/a", content(6), 0o644)}
	conn, far := connected(t)
	go Serve(t.Context(), far, Folder{Root: root})
	ask := func(f File) byte {
		_, err := conn.Write(appendQuestion(nil, f))
		must(t, err)
		status := make([]byte, 1)
		_, err = io.ReadFull(conn, status)
		must(t, err)
		if status[0] == comes {
			_, err = io.CopyN(io.Discard, conn, headerBytes-1+lengthBytes+f.Size)
			must(t, err)
		}
		return status[0]
	}
	if ask(in[0]) != comes {
		t.Fatal("it is not served at all")
	}
	must(t, os.Rename(root+"/private", outside+"/private"))
	secret := put(t, outside, "private/secret", content(9), 0o600)
	secret.Path = "private/secret"
	for begun := time.Now(); ask(secret) == comes; time.Sleep(stale / 10) {
		if time.Since(begun) > 10*stale {
			t.Fatal("it goes on being served")
		}
	}
}

// Who waits to write to a FIFO goes on waiting.
func TestNobodyIsLetGoAtAFIFO(t *testing.T) {
	root := t.TempDir()
	must(t, unix.Mkfifo(root+"/fifo", 0o644))
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(root+"/fifo", nil, 0) }()
	for range 3 {
		_, err := fetched(t, Folder{Root: root}, Fetch{Files: []File{{"fifo", 0}}})
		must(t, err)
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case err := <-written:
		t.Errorf("it was opened: %v", err)
	default:
		_, err := os.ReadFile(root + "/fifo")
		must(t, err)
	}
}

func TestFileThatIsTooLargeForTheDestination(t *testing.T) {
	root := t.TempDir()
	files := []File{put(t, root, "a", content(10), 0o644), put(t, root, "large", content(3*chunk), 0o644), put(t, root, "z", content(10), 0o644)}
	var was unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &was))
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: chunk, Max: was.Max}))
	var refused []v1.RelPath
	dest, err := fetched(t, Folder{Root: root}, Fetch{Files: files, Refused: func(path v1.RelPath, why error) {
		if errors.Is(why, unix.EFBIG) {
			refused = append(refused, path)
		}
	}})
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &was))
	must(t, err)
	if got := filesBelow(t, dest); !slices.Equal(refused, []v1.RelPath{"large"}) || !slices.Contains(got, "a") || !slices.Contains(got, "z") {
		t.Errorf("refused %q, arrived %q", refused, got)
	}
}

func TestPeerThatStandsStill(t *testing.T) {
	at, err := beneath.OpenFolder(t.TempDir())
	must(t, err)
	defer at.Close()
	conn, _ := connected(t)
	err = Fetch{Files: []File{{"f", 10}}, Dest: at, Idle: 10 * time.Millisecond}.Run(t.Context(), conn)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
}

// What a transfer takes in all does not matter, as long as it moves.
func TestTransferLongerThanItMayStandStill(t *testing.T) {
	defer func(was time.Duration) { idle = was }(idle)
	idle = 400 * time.Millisecond
	root, long := t.TempDir(), strings.Repeat("long", 50)
	var files []File
	for i := range 1000 {
		files = append(files, put(t, root, fmt.Sprintf("%s/%04d", long, i), content(1<<10), 0o644))
	}
	dest := t.TempDir()
	at, err := beneath.OpenFolder(dest)
	must(t, err)
	defer at.Close()
	conn, far := connected(t)
	must(t, errors.Join(far.(*net.TCPConn).SetWriteBuffer(16<<10), conn.(*net.TCPConn).SetReadBuffer(16<<10)))
	go Serve(t.Context(), far, Folder{Root: root})
	slow := func(context.Context, int) error { time.Sleep(idle / 8); return nil }
	must(t, Fetch{Files: files, Dest: at, Meter: slow}.Run(t.Context(), conn))
	if n := len(filesBelow(t, dest)); n != len(files) {
		t.Errorf("%d of %d files came", n, len(files))
	}
}

// watch is called at a file's Begin, and notes what is read.
type watch struct {
	begin func(path v1.RelPath)
	read  map[v1.RelPath]int
	ended []v1.RelPath
	path  v1.RelPath
}

func (w *watch) Begin(path v1.RelPath, _ int, _ *unix.Stat_t) {
	w.path = path
	w.begin(path)
}
func (w *watch) Read(part []byte) { w.read[w.path] += len(part) }
func (w *watch) End(int)          { w.ended = append(w.ended, w.path) }

// A file that shrinks while it is sent stays unfinished; one that grows comes as long as it was.
func TestFilesThatChangeMeanwhile(t *testing.T) {
	root := t.TempDir()
	files := []File{put(t, root, "shrinks", content(3*chunk), 0o644), put(t, root, "vanishes", content(100), 0o644),
		put(t, root, "grows", content(100), 0o644), put(t, root, "empties", content(10), 0o644), put(t, root, "stays", content(100), 0o644)}
	w := &watch{read: map[v1.RelPath]int{}, begin: func(path v1.RelPath) {
		name := filepath.Join(root, string(path))
		switch path {
		case "shrinks":
			must(t, os.Truncate(name, chunk+5))
		case "vanishes":
			must(t, os.Remove(name))
		case "grows":
			must(t, os.Truncate(name, 200))
		case "empties":
			must(t, os.Truncate(name, 0))
		}
	}}
	dest, err := fetched(t, Folder{Root: root, Watch: w}, Fetch{Files: files})
	must(t, err)
	sizes := map[string]int64{}
	for _, name := range filesBelow(t, dest) {
		st, err := os.Stat(filepath.Join(dest, name))
		must(t, err)
		sizes[name] = st.Size()
	}
	if want := map[string]int64{"shrinks": chunk + 5, "vanishes": 100, "grows": 100, "empties": 0, "stays": 100}; !maps.Equal(sizes, want) {
		t.Errorf("arrived: %v", sizes)
	}
	if want := []v1.RelPath{"vanishes", "grows", "stays"}; !slices.Equal(w.ended, want) || w.read["shrinks"] != chunk+5 || w.read["stays"] != 100 {
		t.Errorf("ended %q, read %v", w.ended, w.read)
	}
	if st, err := os.Stat(dest + "/shrinks"); err != nil || time.Since(st.ModTime()) > time.Hour || st.Size() == 3*chunk {
		t.Errorf("unfinished: %v, %v", st, err)
	}
}

// A file that cannot be written here keeps no other from coming.
func TestRefusedFiles(t *testing.T) {
	root := t.TempDir()
	var files []File
	for _, path := range []string{"before", "folder", "file/below", "after"} {
		files = append(files, put(t, root, path, content(2*chunk), 0o644))
	}
	long := v1.RelPath(strings.Repeat("long/", 14000) + "path")
	files = append(files, File{long, 1})
	dest := t.TempDir()
	must(t, os.Mkdir(dest+"/folder", 0o755))
	must(t, os.WriteFile(dest+"/file", nil, 0o644))
	at, err := beneath.OpenFolder(dest)
	must(t, err)
	defer at.Close()
	near, far := connected(t)
	go Serve(t.Context(), far, Folder{Root: root})
	refused := map[v1.RelPath]error{}
	must(t, Fetch{Files: files, Dest: at, Refused: func(path v1.RelPath, why error) { refused[path] = why }}.Run(t.Context(), near))
	if len(refused) != 3 || refused[long] == nil || !errors.Is(refused["folder"], unix.EISDIR) || refused["file/below"] == nil {
		t.Errorf("refused: %v", refused)
	}
	if got := filesBelow(t, dest); !slices.Equal(got, []string{"after", "before", "file"}) {
		t.Errorf("there are %q", got)
	}
}

// peer plays the other end.
func peer(t *testing.T, play func(conn net.Conn)) net.Conn {
	near, far := connected(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		play(far)
	}()
	t.Cleanup(func() { near.Close(); <-done })
	return near
}

func TestAPeerThatMakesNoSense(t *testing.T) {
	sent := make([]byte, headerBytes)
	header{mode: 0o644}.put(sent)
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(slices.Clone(sent), n) }
	for name, c := range map[string]struct {
		says []byte
		want error
	}{
		"hangs up":              {nil, io.ErrUnexpectedEOF},
		"half a header":         {sent[:7], io.ErrUnexpectedEOF},
		"another status":        {append([]byte{7}, sent[1:]...), ErrProtocol},
		"more than was asked":   {append(length(11), make([]byte, 11)...), ErrProtocol},
		"a part that is huge":   {length(1 << 31), ErrProtocol},
		"breaks off in a part":  {append(length(10), 1, 2, 3), io.ErrUnexpectedEOF},
		"breaks off in between": {append(length(3), 1, 2, 3), io.ErrUnexpectedEOF},
	} {
		dest := t.TempDir()
		at, err := beneath.OpenFolder(dest)
		must(t, err)
		conn := peer(t, func(conn net.Conn) {
			conn.Write(append([]byte{absent}, c.says...))
			conn.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, conn)
		})
		err = Fetch{Files: []File{{"gone", 1}, {"f", 10}}, Dest: at}.Run(t.Context(), conn)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), `"f"`) {
			t.Errorf("%s: %v", name, err)
		}
		if st, err := os.Stat(dest + "/f"); err == nil && st.Size() == 10 {
			t.Errorf("%s: the file is whole", name)
		}
		at.Close()
	}
}

func TestAHolderThatMakesNoSense(t *testing.T) {
	outside := t.TempDir()
	put(t, outside, "secret", []byte("secret"), 0o644)
	root := outside + "/root"
	must(t, os.Mkdir(root, 0o755))
	for name, says := range map[string][]byte{
		"up":           appendQuestion(nil, File{"../secret", 6}),
		"absolute":     appendQuestion(nil, File{v1.RelPath(outside + "/secret"), 6}),
		"nothing":      appendQuestion(nil, File{"", 6}),
		"NUL":          appendQuestion(nil, File{"a\x00b", 6}),
		"no such size": appendQuestion(nil, File{"a", -1}),
		"breaks off":   appendQuestion(nil, File{"a", 1})[:5],
	} {
		heard := make(chan []byte, 1)
		conn := peer(t, func(conn net.Conn) {
			conn.Write(says)
			conn.(*net.TCPConn).CloseWrite()
			b, _ := io.ReadAll(conn)
			heard <- b
		})
		err := Serve(t.Context(), conn, Folder{Root: root})
		if name == "breaks off" && !errors.Is(err, io.ErrUnexpectedEOF) || name != "breaks off" && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		if b := <-heard; len(b) > 0 {
			t.Errorf("%s: was answered %q", name, b)
		}
	}
}

func TestTheEndOfTheContextEndsATransfer(t *testing.T) {
	why := errors.New("the disk is full")
	ctx, cancel := context.WithCancelCause(t.Context())
	conn := peer(t, func(conn net.Conn) {
		conn.Write([]byte{absent})
		cancel(why)
		io.Copy(io.Discard, conn)
	})
	at, err := beneath.OpenFolder(t.TempDir())
	must(t, err)
	defer at.Close()
	if err := (Fetch{Files: []File{{"a", 1}, {"b", 1}}, Dest: at}).Run(ctx, conn); !errors.Is(err, why) {
		t.Errorf("fetch: %v", err)
	}
	near, far := connected(t)
	defer near.Close()
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { served <- Serve(ctx, far, Folder{Root: t.TempDir()}) }()
	stop()
	<-served
}

func TestAMeterEndsATransfer(t *testing.T) {
	root := t.TempDir()
	f := put(t, root, "f", content(3*chunk), 0o644)
	why := errors.New("enough")
	_, err := fetched(t, Folder{Root: root}, Fetch{Files: []File{f}, Meter: func(context.Context, int) error { return why }})
	if !errors.Is(err, why) {
		t.Errorf("fetch: %v", err)
	}
}

// FuzzAnswers: whatever a peer answers, the holder writes where it was told to alone, no more than it asked for, and comes to an end.
func FuzzAnswers(f *testing.F) {
	sent := make([]byte, headerBytes)
	header{mode: 0o600, owner: 1, group: 1, modTime: 1}.put(sent)
	f.Add(append(binary.BigEndian.AppendUint32(sent, 3), "abc"...))
	f.Add([]byte{absent, absent})
	f.Fuzz(func(t *testing.T, answers []byte) {
		dest := t.TempDir()
		at, err := beneath.OpenFolder(dest)
		must(t, err)
		defer at.Close()
		near, far := net.Pipe()
		go func() {
			go io.Copy(io.Discard, far)
			far.Write(answers)
			far.Close()
		}()
		Fetch{Files: []File{{"a/b", 3}, {"c", 70}}, Dest: at}.Run(t.Context(), near)
		for _, name := range filesBelow(t, dest) {
			st, err := os.Lstat(filepath.Join(dest, name))
			if err != nil || name == "a/b" && st.Size() > 3 || name == "c" && st.Size() > 70 || name != "a/b" && name != "c" {
				t.Errorf("%s: %v, %v", name, st, err)
			}
		}
	})
}

// BenchmarkFetch fetches files over loopback, without TLS.
func BenchmarkFetch(b *testing.B) {
	for _, shape := range []struct{ files, size int }{{1000, 4 << 10}, {2, 128 << 20}} {
		b.Run(fmt.Sprintf("%dx%dKiB", shape.files, shape.size>>10), func(b *testing.B) {
			root := b.TempDir()
			var files []File
			for i := range shape.files {
				files = append(files, put(b, root, fmt.Sprintf("%d/%d", i%20, i), content(shape.size), 0o644))
			}
			b.SetBytes(int64(shape.files) * int64(shape.size))
			for b.Loop() {
				dest, err := fetched(b, Folder{Root: root}, Fetch{Files: files})
				must(b, err)
				b.StopTimer()
				os.RemoveAll(dest)
				b.StartTimer()
			}
		})
	}
}
