package location

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

// The child process does what a test names on a location, and dies by SIGKILL at a given step, or whenever its parent pleases.
const (
	childEnv = "LOCATION_TEST_CHILD" // what to do
	diesEnv  = "LOCATION_TEST_DIES"  // at which step, STEP:TIMES
)

func child() int {
	l, err := Open(Config{Root: os.Getenv("LOC_ROOT"), Name: "usb", ClusterUID: cluster, IndexDir: os.Getenv("LOC_INDEX"), Init: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	l.links = os.Getenv("LOC_LINKS") != "no"
	l.wholeSync = l.wholeSync && os.Getenv("LOC_SYNC") != "each"
	step, times, _ := strings.Cut(os.Getenv(diesEnv), ":")
	left, _ := strconv.Atoi(times)
	l.fault = func(at string) {
		if at != step {
			return
		}
		if left--; left <= 0 {
			die()
		}
	}
	t := childTB{}
	switch os.Getenv(childEnv) {
	case "publish":
		put(t, l, generation(2)...)
	case "folders":
		put(t, l, newFolders()...)
	case "retire":
		_, err = l.Retire(context.Background(), photos, []v1.RelPath{"d/0", "d/1", "d/2"}, time.Hour, nil)
	case "drop":
		_, err = l.DropAll(context.Background(), photos, doomed("d/0", "d/1", "d/2"))
	case "expire":
		_, err = l.Expire(context.Background(), time.Now().Add(1000*time.Hour), func(v1.SourceName) Retention { return Retention{} })
	case "conflict":
		put(t, l, file{"d", "a file where a folder was", 2})
	case "churn":
		churn(t, l)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// childTB fails the child process.
type childTB struct{ testing.TB }

func (childTB) Helper()                   {}
func (childTB) Fatal(a ...any)            { fmt.Fprintln(os.Stderr, a...); os.Exit(1) }
func (childTB) Fatalf(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...); os.Exit(1) }

// generation is the n-th version of a few files.
func generation(n uint64) (files []file) {
	for i := range 12 {
		files = append(files, file{v1.RelPath(fmt.Sprintf("d/%d", i)), fmt.Sprintf("file %d version %d", i, n), n})
	}
	return files
}

// newFolders are files of which some can only get their names one by one, others with their whole folder.
func newFolders() (files []file) {
	for _, dir := range []string{"d/new", "new", "new/below", "new/below/further", "other"} {
		for i := range 3 {
			files = append(files, file{v1.RelPath(fmt.Sprintf("%s/%d", dir, i)), fmt.Sprintf("file %d in %s", i, dir), 2})
		}
	}
	return append(files, file{"d/12", "one more", 2})
}

func doomed(paths ...v1.RelPath) (all []Doomed) {
	for _, p := range paths {
		all = append(all, Doomed{Path: p, Gen: v1.Generation{Epoch: 7, Seq: 1}, Valid: func() bool { return true }})
	}
	return all
}

// churn publishes, retires and expires for ever; it says what was published once that is certain.
func churn(t testing.TB, l *Location) {
	ctx := context.Background()
	last, err := l.Highest(photos)
	if err != nil {
		t.Fatal(err)
	}
	for n := last.Seq + 1; ; n++ {
		put(t, l, generation(n)...)
		fmt.Printf("published %d\n", n)
		if n%3 == 0 {
			if _, err := l.Retire(ctx, photos, []v1.RelPath{"d/0", "d/1"}, time.Hour, nil); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("retired %d\n", n)
		}
		_, err := l.Expire(ctx, time.Now().Add(1000*time.Hour), func(v1.SourceName) Retention { return Retention{} })
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (h *home) child(t *testing.T, what, dies string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what, diesEnv+"="+dies, "LOC_ROOT="+h.cfg.Root, "LOC_INDEX="+h.cfg.IndexDir)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestCrashAtEveryStep kills the process at each step of each operation: no file may be half, none without its record, no record
// without its file, and no content that was held may be gone but by a drop or the end of its retention.
func TestCrashAtEveryStep(t *testing.T) {
	cases := []struct {
		what  string
		steps []string
	}{
		{"publish", []string{"intents:1", "aside:1", "renamed:1", "renamed:7", "renamed:12", "synced:1", "recorded:1"}},
		{"folders", []string{"intents:1", "renamed:1", "renamed:2", "renamed:3", "renamed:4", "synced:1", "recorded:1"}},
		{"retire", []string{"retireIntents:1", "retireMoved:1", "retireMoved:3"}},
		{"drop", []string{"dropIntents:1", "dropped:1", "dropped:3"}},
		{"expire", []string{"expireIntents:1", "expired:1", "expired:12"}},
		{"conflict", []string{"retireIntents:1", "retireMoved:5", "intents:1", "renamed:1", "synced:1"}},
	}
	for _, c := range cases {
		for _, step := range c.steps {
			t.Run(c.what+"/"+step, func(t *testing.T) { crash(t, c.what, step) })
			t.Run(c.what+"/"+step+"/plain", func(t *testing.T) { crash(t, c.what, step, "LOC_LINKS=no", "LOC_SYNC=each") })
		}
	}
}

func crash(t *testing.T, what, step string, env ...string) {
	h := newHome(t)
	l := h.open()
	put(t, l, generation(0)...)
	put(t, l, generation(1)...)
	paths := make([]v1.RelPath, 0, 12)
	for _, f := range generation(1) {
		paths = append(paths, f.path)
	}
	fatalIf(t, l.Confirmed(photos, paths))
	fatalIf(t, l.Close())
	cmd := h.child(t, what, step)
	cmd.Env = append(cmd.Env, env...)
	err := cmd.Run()
	if exit, ok := err.(*exec.ExitError); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed: %v", err)
	}
	if l = h.open(); !l.Rebuilding() {
		t.Error("a location that was not closed in order is believed at once")
	}
	fatalIf(t, l.Close())
	l = h.openAfterCrash()
	audit(t, l)
	for _, f := range generation(1) {
		if what != "drop" && !holdsContent(t, l, f) {
			t.Errorf("%q of generation 1 is gone", f.path)
		}
	}
	if what == "publish" && step == "recorded:1" {
		for _, f := range generation(2) {
			if got := contentOf(t, l, "photos/"+string(f.path)); got != f.content {
				t.Errorf("%q holds %q after it was published", f.path, got)
			}
		}
	}
	put(t, l, generation(3)...) // and it goes on
	put(t, l, newFolders()...)
	audit(t, l)
}

// holdsContent looks for a file's content under its name and among its versions.
func holdsContent(t *testing.T, l *Location, f file) bool {
	if data, err := os.ReadFile(filepath.Join(l.Root(), "photos", string(f.path))); err == nil && string(data) == f.content {
		return true
	}
	for _, v := range versionsOf(t, l, string(f.path)) {
		if contentOf(t, l, v.Name) == f.content {
			return true
		}
	}
	return false
}

// TestCrashAtAnyTime kills a busy process at moments it does not choose.
func TestCrashAtAnyTime(t *testing.T) {
	h := newHome(t)
	l := h.open()
	put(t, l, generation(1)...)
	fatalIf(t, l.Close())
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	sure := uint64(1)
	for round := range rounds {
		cmd := h.child(t, "churn", "")
		out, err := cmd.StdoutPipe()
		fatalIf(t, err)
		fatalIf(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for i := 0; i < round%4 && lines.Scan(); i++ {
			sure = noteSure(sure, lines.Text())
		}
		time.Sleep(time.Duration(round*7919%13000) * time.Microsecond) // any moment will do
		fatalIf(t, cmd.Process.Kill())
		for lines.Scan() {
			sure = noteSure(sure, lines.Text())
		}
		_ = cmd.Wait()
		l := h.openAfterCrash()
		audit(t, l)
		for rec, err := range l.Records(photos, "") {
			fatalIf(t, err)
			if rec.Gen.Seq < sure {
				t.Fatalf("round %d: %q is generation %d, %d was published", round, rec.Path, rec.Gen.Seq, sure)
			}
		}
		if n := len(recordsOf(t, l, "")); n < 10 {
			t.Fatalf("round %d: %d replicas are left", round, n)
		}
		fatalIf(t, l.Close())
	}
	if sure < uint64(rounds)/4 {
		t.Errorf("only %d generations were published: the test did not test much", sure)
	}
}

func noteSure(sure uint64, line string) uint64 {
	word, number, _ := strings.Cut(line, " ")
	if n, err := strconv.ParseUint(number, 10, 64); err == nil && word == "published" {
		return max(sure, n)
	}
	return sure
}
