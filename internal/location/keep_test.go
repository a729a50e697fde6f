package location

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	v1 "clusterbackup/api/v1"
)

func always() bool { return true }

func gen(seq uint64) v1.Generation { return v1.Generation{Epoch: 7, Seq: seq} }

func TestDropDeletesOnlyWhatIsPermitted(t *testing.T) {
	h := newHome(t)
	l := h.open()
	put(t, l, file{"d/e/a", "1", 1}, file{"b", "2", 2})
	wantErr(t, l.Drop(t.Context(), photos, "d/e/a", gen(2), always), ErrGeneration)
	wantErr(t, l.Drop(t.Context(), photos, "none", gen(1), always), ErrNotHeld)
	wantErr(t, l.Drop(t.Context(), photos, "d/e/a", gen(1), func() bool { return false }), ErrGrant)
	wantErr(t, l.Drop(t.Context(), photos, "d/e/a", gen(1), nil), ErrGrant)
	audit(t, l)
	fatalIf(t, l.Drop(t.Context(), photos, "d/e/a", gen(1), always))
	if _, err := os.Stat(filepath.Join(l.Root(), "photos/d")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty folder stays: %v", err)
	}
	if got := recordsOf(t, l, ""); !slices.Equal(got, []string{"b"}) || len(versionsOf(t, l, "")) != 0 {
		t.Errorf("held %q", got)
	}
	if g, _ := l.Highest(photos); g.Seq != 2 {
		t.Errorf("highest %v", g)
	}
	fatalIf(t, l.Drop(t.Context(), photos, "b", v1.Generation{}, always)) // whichever it is
	if got := recordsOf(t, l, ""); len(got) != 0 {
		t.Errorf("held %q", got)
	}
	audit(t, h.reopen(l))
}

func TestRetireLeavesWhatIsAnotherByNow(t *testing.T) {
	h := newHome(t)
	l := h.open()
	put(t, l, file{"a", "1", 1}, file{"b", "2", 2})
	errs, err := l.Retire(t.Context(), photos, []v1.RelPath{"a", "b", "none"}, time.Hour, func(r Record) bool { return r.Gen == gen(1) })
	fatalIf(t, err)
	wantErr(t, errs[1], ErrReplaced)
	fatalIf(t, errors.Join(errs[0], errs[2]))
	if got := recordsOf(t, l, ""); !slices.Equal(got, []string{"b"}) {
		t.Errorf("held %q", got)
	}
	audit(t, h.reopen(l))
}

func TestRetiredFileIsKeptByThisClock(t *testing.T) {
	h := newHome(t)
	clock := time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	h.cfg.Clock = func() time.Time { return clock }
	l := h.open()
	put(t, l, file{"d/a", "1", 1}, file{"b", "2", 1})
	errs, err := l.Retire(t.Context(), photos, []v1.RelPath{"d/a", "none"}, 100*time.Hour, nil)
	fatalIf(t, errors.Join(err, errors.Join(errs...)))
	if got := contentOf(t, l, ".clusterbackup/versions/photos/d/a~20261122T150405Z"); got != "1" {
		t.Errorf("version %q", got)
	}
	expire := func(after time.Duration, ret Retention) int64 {
		t.Helper()
		sum, err := l.Expire(t.Context(), clock.Add(after), func(v1.SourceName) Retention { return ret })
		fatalIf(t, err)
		return sum.Versions
	}
	if expire(99*time.Hour, Retention{}) != 0 || expire(101*time.Hour, Retention{Deleted: 102 * time.Hour}) != 0 {
		t.Error("deleted before its time")
	}
	l = h.reopen(l)
	// A clock that starts in 1970 after a power cut does not shorten anything.
	clock = time.Unix(1000, 0)
	errs, err = l.Retire(t.Context(), photos, []v1.RelPath{"b"}, time.Hour, nil)
	fatalIf(t, errors.Join(err, errors.Join(errs...)))
	if v := versionsOf(t, l, "b"); len(v) != 1 || v[0].Since.Year() != 2026 {
		t.Errorf("version %+v", v)
	}
	clock = time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	if n := expire(103*time.Hour, Retention{}); n != 2 {
		t.Errorf("%d versions expired, want 2", n)
	}
	if s := l.Space(); s.Used != 0 || s.Versions != 0 {
		t.Errorf("space %+v", s)
	}
	audit(t, l)
	if _, err := os.Stat(filepath.Join(l.Root(), versionsFolder(photos))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("empty folders stay: %v", err)
	}
}

func TestOldVersionStaysWhileTheNewOneIsUnconfirmed(t *testing.T) {
	l := newHome(t).open()
	expire := func() {
		t.Helper()
		_, err := l.Expire(t.Context(), time.Now().Add(10_000*time.Hour), func(v1.SourceName) Retention { return Retention{MaxVersions: 1} })
		fatalIf(t, err)
	}
	put(t, l, file{"a", "confirmed", 1})
	put(t, l, file{"a", "bad copy", 2})
	put(t, l, file{"a", "better copy", 3})
	expire()
	var kept []string
	for _, v := range versionsOf(t, l, "a") {
		kept = append(kept, contentOf(t, l, v.Name))
	}
	if !slices.Contains(kept, "confirmed") {
		t.Fatalf("kept %q", kept)
	}
	fatalIf(t, l.Confirmed(photos, []v1.RelPath{"a", "none"}))
	expire()
	if n := len(versionsOf(t, l, "a")); n != 0 {
		t.Errorf("%d versions stay after the new one was confirmed", n)
	}
	audit(t, l)
}

// TestThinLooksAtWhatWasReplaced: at those files, and at those that were not confirmed then once more.
func TestThinLooksAtWhatWasReplaced(t *testing.T) {
	l := newHome(t).open()
	keep := func(most int) func(v1.SourceName) Retention {
		return func(v1.SourceName) Retention { return Retention{MaxVersions: most, Versions: time.Hour} }
	}
	thin := func(most int, wantA, wantB int) {
		t.Helper()
		_, err := l.Thin(t.Context(), time.Now(), keep(most))
		fatalIf(t, err)
		if a, b := len(versionsOf(t, l, "a")), len(versionsOf(t, l, "a~/b")); a != wantA || b != wantB {
			t.Errorf("%d and %d versions, want %d and %d", a, b, wantA, wantB)
		}
	}
	rewrite := func(files ...file) {
		t.Helper()
		b, err := l.Begin(t.Context(), photos, BatchOptions{KeepVersions: time.Hour, MaxVersions: 1})
		fatalIf(t, err)
		published, err := b.Publish(t.Context(), stage(t, b, files...))
		fatalIf(t, errors.Join(err, published[0].Err, b.Close()))
	}
	for seq := range uint64(7) {
		fatalIf(t, l.Confirmed(photos, []v1.RelPath{"a~/b"}))
		rewrite(file{"a", fmt.Sprint(seq), seq + 1}, file{"a~/b", fmt.Sprint(seq), seq + 1})
		fatalIf(t, l.Confirmed(photos, []v1.RelPath{"a"}))
	}
	thin(3, 3, 4) // b's latest that was confirmed is kept besides
	fatalIf(t, l.Confirmed(photos, []v1.RelPath{"a~/b"}))
	thin(3, 3, 3)
	thin(2, 3, 3) // nothing was replaced
	rewrite(file{"a", "new", 9})
	fatalIf(t, l.Confirmed(photos, []v1.RelPath{"a"}))
	thin(2, 2, 3)
	audit(t, l)
}

// What was promised when a version was set aside is kept, whatever the source's retention says later, or that of a source that is gone.
func TestSmallerNumberOfVersionsShortensNothing(t *testing.T) {
	h := newHome(t)
	clock := time.Unix(1e9, 0)
	h.cfg.Clock = func() time.Time { return clock }
	h.cfg.Uptime = func() time.Duration { return time.Duration(clock.UnixNano()) }
	l := h.open()
	rewrite := func(n, most int) {
		for range n {
			clock = clock.Add(time.Minute)
			b, err := l.Begin(t.Context(), photos, BatchOptions{KeepVersions: 100 * time.Hour, MaxVersions: most})
			fatalIf(t, err)
			next := file{"a", fmt.Sprint(clock.Unix()), uint64(clock.Unix())}
			published, err := b.Publish(t.Context(), stage(t, b, next))
			fatalIf(t, errors.Join(err, published[0].Err, b.Close()))
			fatalIf(t, l.Confirmed(photos, []v1.RelPath{"a"}))
		}
	}
	kept := func(most int) int {
		t.Helper()
		_, err := l.Expire(t.Context(), clock, func(v1.SourceName) Retention { return Retention{MaxVersions: most} })
		fatalIf(t, err)
		l = h.reopen(l)
		return len(versionsOf(t, l, "a"))
	}
	rewrite(9, 20)
	if n := kept(3); n != 8 {
		t.Errorf("%d versions after the number was made smaller, 8 were promised", n)
	}
	rewrite(30, 20)
	if n := kept(20); n != 20 {
		t.Errorf("%d versions, 20 are wanted", n)
	}
	clock = clock.Add(101 * time.Hour)
	rewrite(9, 3)
	if n := kept(3); n != 3 {
		t.Errorf("%d versions after what was promised earlier is over, want 3", n)
	}
	audit(t, l)
}

// What is kept for thirty days lies there for thirty days of the host's running, whatever happens to its clock.
func TestRetentionRunsWhileSomebodyLooks(t *testing.T) {
	const day = 24 * time.Hour
	h := newHome(t)
	wall, up := time.Unix(1.7e9, 0), time.Duration(0)
	h.cfg.Clock = func() time.Time { return wall }
	h.cfg.Uptime = func() time.Duration { return up }
	l := h.open()
	pass := func(d time.Duration) { wall, up = wall.Add(d), up+d }
	start := wall
	aged := func(what string, want time.Duration) {
		t.Helper()
		now, err := l.AgingTime()
		fatalIf(t, err)
		if got := now.Sub(start); (got - want).Abs() > 10*time.Minute {
			t.Errorf("%s: aged by %v, want %v", what, got, want)
		}
	}
	aged("at first", 0)
	pass(day)
	aged("a day later", day)
	wall = wall.Add(60 * day)
	aged("after the clock was put forward", day)
	pass(time.Hour)
	aged("an hour later", day+time.Hour)
	wall = wall.Add(-60 * day)
	aged("after the clock was put back", day+time.Hour)
	wall = wall.Add(time.Minute)
	aged("after it was corrected a little", day+time.Hour)
	l = h.reopen(l)
	aged("after a restart", day+time.Hour)
	fatalIf(t, l.Close())
	wall = wall.Add(60 * day) // to where it was already
	l = h.open()
	aged("after a restart with another clock", day+time.Hour) // whether an hour passed meanwhile cannot be told
	fatalIf(t, l.Close())
	pass(90 * day)
	l = h.open()
	aged("after ninety days in a drawer", 2*day+time.Hour)
	pass(day)
	aged("a day after that", 3*day+time.Hour)
	for range 5 { // a host without a battery, whose clock is put right some time after its start, and which crashes
		h.cfg.Clock, up = func() time.Time { return time.Unix(1000, 0) }, 0
		l = h.reopen(l)
		h.cfg.Clock = func() time.Time { return wall }
		l = h.reopen(l)
	}
	aged("after five starts in 1970", 3*day+time.Hour)
	wall = wall.Add(70 * 365 * day)
	aged("after a step soon after the start", 3*day+time.Hour)
	wall = wall.Add(-70 * 365 * day)
	pass(day)
	aged("a day after the clock was put right", 4*day+time.Hour)
}

// What is set aside while the clock is wrong is kept neither too short nor for ever.
func TestRetentionWithAWrongClock(t *testing.T) {
	const keep = 720 * time.Hour
	right := time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		what           string
		before, during time.Time
	}{
		{"a location made in 1970", time.Unix(1000, 0), time.Unix(1000, 0)},
		{"a location made in 2099", right.AddDate(73, 0, 0), right.AddDate(73, 0, 0)},
		{"1970 for a while", right, time.Unix(1000, 0)},
		{"2099 for a while", right, right.AddDate(73, 0, 0)},
		{"2099 at first, then 1970", right.AddDate(73, 0, 0), time.Unix(1000, 0)},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := newHome(t)
			wall, up := c.before, time.Duration(0)
			h.cfg.Clock = func() time.Time { return wall }
			h.cfg.Uptime = func() time.Duration { return up }
			l := h.open()
			pass := func(d time.Duration) { wall, up = wall.Add(d), up+d }
			retire := func(path v1.RelPath) {
				t.Helper()
				put(t, l, file{path, "1", 1})
				errs, err := l.Retire(t.Context(), photos, []v1.RelPath{path}, keep, nil)
				fatalIf(t, errors.Join(append(errs, err)...))
			}
			kept := func() int {
				t.Helper()
				now, err := l.AgingTime()
				fatalIf(t, err)
				_, err = l.Expire(t.Context(), now, func(v1.SourceName) Retention { return Retention{Deleted: keep, Versions: keep} })
				fatalIf(t, err)
				return len(versionsOf(t, l, ""))
			}
			wall = c.during
			l = h.reopen(l)
			retire("wrong")
			pass(time.Hour)
			wall = right
			retire("right")
			if n := kept(); n != 2 {
				t.Fatalf("%d versions an hour later, 2 are kept", n)
			}
			pass(keep - 2*time.Hour)
			l = h.reopen(l)
			retire("later")
			if n := kept(); n != 3 {
				t.Fatalf("%d versions before their time, 3 are kept", n)
			}
			if ends := l.EndOf(versionsOf(t, l, "later")[0].Until); ends.Sub(wall.Add(keep)).Abs() > 2*time.Second {
				t.Errorf("the end is told to be %v, it is %v", ends, wall.Add(keep))
			}
			pass(3 * time.Hour)
			if n := kept(); n != 1 {
				t.Errorf("%d versions after their time, 1 is kept", n)
			}
			pass(keep)
			if n := kept(); n != 0 {
				t.Errorf("%d versions are kept for ever", n)
			}
			audit(t, l)
		})
	}
}

// What became of a clock that was wrong once: names of versions follow the one that is right as soon as that has had a day.
func TestVersionsAreNamedByTheRightClock(t *testing.T) {
	h := newHome(t)
	right := time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	wall, up := right.AddDate(73, 0, 0), time.Duration(0)
	h.cfg.Clock = func() time.Time { return wall }
	h.cfg.Uptime = func() time.Duration { return up }
	l := h.open()
	year := func(path v1.RelPath) int {
		t.Helper()
		_, err := l.AgingTime()
		fatalIf(t, err)
		put(t, l, file{path, "1", 1})
		put(t, l, file{path, "2", 2})
		return versionsOf(t, l, string(path))[0].Since.Year()
	}
	if y := year("a"); y != 2099 {
		t.Errorf("at first: %d", y)
	}
	wall = right
	if y := year("b"); y != 2099 {
		t.Errorf("just put back, and perhaps wrong now: %d", y)
	}
	wall, up = wall.Add(25*time.Hour), up+25*time.Hour
	if y := year("c"); y != 2026 {
		t.Errorf("a day later: %d", y)
	}
	l = h.reopen(l)
	if y := year("d"); y != 2026 {
		t.Errorf("after a restart: %d", y)
	}
}

// TestRetentionProperty: whatever the clock does, a version lies there for as long as was promised by the time that the location was
// open (and for each time that it was not, what the clock then was later than ever, but for a day), and not much longer.
func TestRetentionProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		hours := func(most int64) time.Duration {
			return time.Duration(rapid.Int64Range(0, most*3600e3).Draw(rt, "ms")) * time.Millisecond
		}
		must := func(err error) {
			if err != nil {
				rt.Fatal(err)
			}
		}
		h := newHome(t)
		wall, up := time.Unix(1.7e9, 0), time.Duration(0)
		jump := func() {
			if rapid.Bool().Draw(rt, "small") {
				wall = wall.Add(hours(100) - 50*time.Hour)
			} else {
				wall = time.Unix(rapid.Int64Range(0, 4e9).Draw(rt, "wall"), 0)
			}
		}
		if rapid.Bool().Draw(rt, "wrong at first") {
			jump()
		}
		h.cfg.Clock = func() time.Time { return wall }
		h.cfg.Uptime = func() time.Duration { return up }
		l := h.open()
		passed, latest := time.Duration(0), wholeSecond(wall)
		type promised struct{ at, keep time.Duration }
		promises := map[v1.RelPath]promised{}
		look := func(slack time.Duration) {
			now, err := l.AgingTime()
			must(err)
			_, err = l.Expire(context.Background(), now, func(v1.SourceName) Retention { return Retention{} })
			must(err)
			left := map[v1.RelPath]bool{}
			for _, v := range versionsOf(t, l, "") {
				left[v.Path] = true
			}
			for path, p := range promises {
				switch age := passed - p.at; {
				case !left[path] && age < p.keep:
					rt.Fatalf("%s went after %v of %v", path, age, p.keep)
				case left[path] && age > p.keep+slack:
					rt.Fatalf("%s stays after %v of %v", path, age, p.keep)
				case !left[path]:
					delete(promises, path)
				}
			}
		}
		for i := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"pass", "jump", "restart", "retire"}).Draw(rt, "step") {
			case "pass":
				d := hours(100)
				wall, up, passed = wall.Add(d), up+d, passed+d
			case "jump":
				jump()
			case "restart":
				must(l.Close())
				if rapid.Bool().Draw(rt, "with a jump") {
					jump()
				} else {
					wall = wall.Add(hours(100))
				}
				up = 0
				l = h.open()
				passed += max(0, min(wall.Sub(latest), maxAway))
			case "retire":
				path := v1.RelPath(fmt.Sprint(i))
				keep := hours(200)
				put(t, l, file{path, "1", 1})
				errs, err := l.Retire(context.Background(), photos, []v1.RelPath{path}, keep, nil)
				must(errors.Join(append(errs, err)...))
				promises[path] = promised{passed, keep}
			}
			if wall.After(latest) {
				latest = wholeSecond(wall)
			}
			look(time.Minute)
		}
		up, passed = up+201*time.Hour, passed+201*time.Hour
		look(0)
		if len(promises) != 0 {
			rt.Fatalf("kept for ever: %v", promises)
		}
		must(l.Close())
	})
}

func TestRetentionOfDeletedFilesOutlivesTheSource(t *testing.T) {
	h := newHome(t)
	l := h.open()
	fatalIf(t, l.NoteDeleted(photos, time.Hour)) // nothing is held: nothing to remember
	if keep := l.NotedDeleted(photos); keep != 0 {
		t.Errorf("noted %v", keep)
	}
	put(t, l, file{"a", "1", 1})
	fatalIf(t, l.NoteDeleted(photos, 8760*time.Hour))
	l = h.reopen(l)
	if keep := l.NotedDeleted(photos); keep != 8760*time.Hour {
		t.Errorf("noted %v", keep)
	}
}

// TestThinningKeepsOldestAndNewest: whoever writes a file over and over must not push out what was there before.
func TestThinningKeepsOldestAndNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 12).Draw(t, "n")
		times := rapid.SliceOfNDistinct(rapid.Int64Range(0, 1e6), 0, 40, rapid.ID[int64]).Draw(t, "times")
		slices.Sort(times)
		var versions []Version
		for _, at := range times {
			versions = append(versions, Version{Since: time.Unix(at, 0)})
		}
		out := thin(versions, n)
		if want := max(0, len(times)-n); len(out) != want {
			t.Fatalf("%d go, want %d", len(out), want)
		}
		for _, v := range out {
			if v.Since.Unix() == times[0] || v.Since.Unix() == times[len(times)-1] {
				t.Fatalf("the oldest or newest goes")
			}
		}
	})
}

func TestVersionsOfOneSecondHaveTheirOwnNames(t *testing.T) {
	h := newHome(t)
	h.cfg.Clock = func() time.Time { return time.Unix(1e9, 0) }
	l := h.open()
	for i := range uint64(5) {
		put(t, l, file{"a", fmt.Sprint(i), i + 1})
	}
	if n := len(versionsOf(t, l, "a")); n != 4 {
		t.Errorf("%d versions", n)
	}
	audit(t, l)
}

func TestVerifyTellsWhatLiesThere(t *testing.T) {
	l := newHome(t).open()
	put(t, l, file{"ok", "1", 1}, file{"rotten", "123", 1}, file{"gone", "1", 1}, file{"other", "1", 1})
	path := filepath.Join(l.Root(), "photos/rotten")
	st, err := os.Stat(path)
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(path, []byte("1x3"), 0o600))
	fatalIf(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
	fatalIf(t, os.Remove(filepath.Join(l.Root(), "photos/gone")))
	fatalIf(t, os.Remove(filepath.Join(l.Root(), "photos/other")))
	fatalIf(t, os.Mkdir(filepath.Join(l.Root(), "photos/other"), 0o700))
	var read int
	got, err := l.Verify(t.Context(), photos, []v1.RelPath{"ok", "rotten", "gone", "none", "other"}, VerifyOptions{
		Limit: func(_ context.Context, n int) error { read += n; return nil },
	})
	fatalIf(t, err)
	if want := []Verdict{Intact, Corrupt, Missing, NotHeld, Corrupt}; !slices.Equal(got, want) {
		t.Errorf("verdicts %v, want %v", got, want)
	}
	if read == 0 {
		t.Error("the limit was not asked")
	}
	if rec, _, _ := l.Get(photos, "rotten"); !rec.Bad {
		t.Errorf("record %+v", rec)
	}
	if _, held, _ := l.Get(photos, "gone"); held {
		t.Error("the record of a missing file stays")
	}
	put(t, l, file{"rotten", "123", 1}, file{"gone", "1", 1}, file{"other", "1", 1})
	if rec, _, _ := l.Get(photos, "rotten"); rec.Bad || contentOf(t, l, "photos/rotten") != "123" {
		t.Errorf("record %+v", rec)
	}
	audit(t, l)
}

func TestSumsAreWhatSha256sumReads(t *testing.T) {
	h := newHome(t)
	l := h.open()
	names := []v1.RelPath{"a", "d/b c", "new\nline", `back\slash`, "car\rriage", "\xff", "*star", " lead", "\\x\ny"}
	var files []file
	for i, n := range names {
		files = append(files, file{n, fmt.Sprint(i), 1})
	}
	put(t, l, files...)
	fatalIf(t, l.FlushSums(t.Context(), time.Hour))
	if _, err := os.Stat(filepath.Join(l.Root(), sumsRoot, "photos.sha256")); err == nil {
		t.Error("written although the changes are young")
	}
	fatalIf(t, l.FlushSums(t.Context(), 0))
	check := exec.Command("sha256sum", "--strict", "-c", ".clusterbackup/sums/photos.sha256")
	check.Dir = l.Root()
	out, err := check.CombinedOutput()
	if err != nil || strings.Count(string(out), "OK\n") != len(names) {
		t.Fatalf("%v\n%s", err, out)
	}
	// At rest nothing is written.
	before := treeOf(t, h.cfg.Root) + treeOf(t, h.cfg.IndexDir)
	fatalIf(t, l.FlushSums(t.Context(), 0))
	fatalIf(t, l.Confirmed(photos, names))
	if after := treeOf(t, h.cfg.Root) + treeOf(t, h.cfg.IndexDir); after != before {
		t.Errorf("written at rest:\n%s", after)
	}
	fatalIf(t, l.Drop(t.Context(), photos, "a", gen(1), always))
	l = h.reopen(l)
	fatalIf(t, l.FlushSums(t.Context(), 0))
	if got := contentOf(t, l, ".clusterbackup/sums/photos.sha256"); strings.Contains(got, "photos/a\n") {
		t.Errorf("the dropped file is still listed:\n%s", got)
	}
	audit(t, l)
}

// brokenReader ends with an error.
type brokenReader struct{ io.Reader }

func (r brokenReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestManifestIsReplacedWholeOrNotAtAll(t *testing.T) {
	h := newHome(t)
	l := h.open()
	_, err := l.OpenManifest(t.Context(), photos)
	wantErr(t, err, os.ErrNotExist)
	fatalIf(t, l.PutManifest(t.Context(), photos, "v1", strings.NewReader("one")))
	wantErr(t, l.PutManifest(t.Context(), photos, "v2", brokenReader{strings.NewReader("two")}), io.ErrUnexpectedEOF)
	l = h.reopen(l)
	r, err := l.OpenManifest(t.Context(), photos)
	fatalIf(t, err)
	data, err := io.ReadAll(r)
	fatalIf(t, errors.Join(err, r.Close()))
	if v, _ := l.ManifestVersion(photos); string(data) != "one" || v != "v1" {
		t.Errorf("manifest %q, version %q", data, v)
	}
	wantErr(t, l.AddManifest(t.Context(), photos, "v3", strings.NewReader("three")), ErrTaken)
	if v, _ := l.ManifestVersion(photos); contentOf(t, l, ".clusterbackup/manifests/photos.jsonl.zst") != "one" || v != "v1" {
		t.Errorf("a manifest that was only to be added replaced another; version %q", v)
	}
	fatalIf(t, l.AddManifest(t.Context(), "other", "v3", strings.NewReader("three")))
	if v, _ := l.ManifestVersion("other"); v != "v3" {
		t.Errorf("version %q", v)
	}
	audit(t, l)
}

func TestListsGoByFolderAndBelowAPath(t *testing.T) {
	l := newHome(t).open()
	var files []file
	for _, p := range []string{"z", "a", "a!/x", "a/1", "a/2", "a/b/3", "a0", "b/1"} {
		if p != "a" {
			files = append(files, file{v1.RelPath(p), "1", 1})
		}
	}
	put(t, l, files...)
	folders := func(after string) (all []string) {
		for f, err := range l.Folders(photos, after) {
			fatalIf(t, err)
			s := f.Path + ":"
			for _, r := range f.Records {
				s += " " + r.Path.Base()
			}
			all = append(all, s)
		}
		return all
	}
	want := []string{": a0 z", "a: 1 2", "a!: x", "a/b: 3", "b: 1"}
	if got := folders(""); !slices.Equal(got, want) {
		t.Errorf("folders %q, want %q", got, want)
	}
	if got := folders("."); !slices.Equal(got, want[1:]) {
		t.Errorf("folders %q", got)
	}
	if got := folders("a"); !slices.Equal(got, want[2:]) {
		t.Errorf("folders %q", got)
	}
	for prefix, want := range map[string][]string{
		"a": {"a/1", "a/2", "a/b/3"}, "a/1": {"a/1"}, "a/b": {"a/b/3"}, "": {"a0", "z", "a/1", "a/2", "a!/x", "a/b/3", "b/1"}, "none": nil,
	} {
		if got := recordsOf(t, l, prefix); !slices.Equal(got, want) {
			t.Errorf("below %q: %q, want %q", prefix, got, want)
		}
	}
	recs, err := l.FolderRecords(photos, "a")
	if err != nil || len(recs) != 2 {
		t.Errorf("records %v, %v", recs, err)
	}
	for range l.Folders("other", "") {
		t.Error("a source that nothing is held of has a folder")
	}
}

// TestLongListsAreReadInRuns has more records than one transaction reads, and changes some meanwhile.
func TestLongListsAreReadInRuns(t *testing.T) {
	l := newHome(t).open()
	var files []file
	for i := range listRun + listRun/2 {
		files = append(files, file{v1.RelPath(fmt.Sprintf("d%d/%d", i/1000, i)), "", 1})
	}
	put(t, l, files...)
	n := 0
	for f, err := range l.Folders(photos, "") {
		fatalIf(t, err)
		n += len(f.Records)
		fatalIf(t, l.Drop(t.Context(), photos, f.Records[0].Path, gen(1), always))
	}
	if n != len(files) {
		t.Errorf("%d records, want %d", n, len(files))
	}
	audit(t, l)
}

// TestBatchCostsAHandfulOfSyncs: durability is bought by the batch.
func TestBatchCostsAHandfulOfSyncs(t *testing.T) {
	l := newHome(t).open()
	if !l.wholeSync {
		t.Skip("this system has no sync of one file system")
	}
	var files []file
	for i := range 1000 {
		files = append(files, file{v1.RelPath(fmt.Sprintf("d%d/%d", i/50, i)), fmt.Sprint(i), 1})
	}
	for _, want := range []int{2, 3} { // new; replacing
		b, err := l.Begin(t.Context(), photos, BatchOptions{})
		fatalIf(t, err)
		in := stage(t, b, files...)
		stats := l.db.Stats()
		before := stats.TxStats.GetWrite()
		_, err = b.Publish(t.Context(), in)
		fatalIf(t, err)
		if b.sync.count != want {
			t.Errorf("%d syncs, want %d", b.sync.count, want)
		}
		stats = l.db.Stats()
		if n := stats.TxStats.GetWrite() - before; n > 300 {
			t.Errorf("%d pages written to the index", n)
		}
		fatalIf(t, b.Close())
		for i := range files {
			files[i].content += "!"
			files[i].seq++
		}
	}
	audit(t, l)
}
