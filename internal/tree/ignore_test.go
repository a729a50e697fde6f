package tree

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRules(t *testing.T) {
	for _, c := range []struct {
		rules, path string // a path with "/" at its end is a folder
		want        bool
	}{
		{"*.tmp", "a.tmp", true},
		{"*.tmp", "x/y/a.tmp", true},
		{"*.tmp", "a.tmpx", false},
		{"/cache/", "cache/", true},
		{"/cache/", "cache", false},
		{"/cache/", "x/cache/", false},
		{"cache/", "x/cache/", true},
		{"a/b", "a/b", true},
		{"a/b", "x/a/b", false},
		{"**/b", "b", true},
		{"**/b", "x/y/b", true},
		{"a/**", "a/", false},
		{"a/**", "a/x/y", true},
		{"a/**/b", "a/b", true},
		{"a/**/b", "a/x/y/b", true},
		{"a/*/b", "a/x/y/b", false},
		{"a*b", "a/b", false},
		{"?.c", "x.c", true},
		{"?.c", "xy.c", false},
		{"[a-c]x", "bx", true},
		{"[!a-c]x", "bx", false},
		{"[^a-c]x", "dx", true},
		{"[]-]x", "]x", true},
		{"[[:digit:]]", "7", true},
		{"[[:digit:]]", "x", false},
		{"[a", "[a", false},
		{`\*`, "*", true},
		{`\*`, "x", false},
		{`\#x`, "#x", true},
		{"#x", "#x", false},
		{`\!x`, "!x", true},
		{"x  ", "x", true},
		{`x\ `, "x ", true},
		{"*\n!keep", "keep", false},
		{"*\n!keep", "x", true},
		{"!keep\n*", "keep", true},
		{"", "x", false},
		{"/", "x", false},
		{"*", "\xff\n", true},
		{"?", "\xff", true},
		{"a**b", "axxb", true},
		{"*a*a*a*b", strings.Repeat("a", 200), false},
		{"x\r", "x", true},
	} {
		path, folder := strings.CutSuffix(c.path, "/")
		if got := parseRules([]string{c.rules}).excludes(path, folder); got != c.want {
			t.Errorf("rules %q, path %q: %v", c.rules, c.path, got)
		}
	}
}

// git itself decides whether our rules are its rules: it is asked what it would ignore of random trees by random rules.
func TestRulesAreGits(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("no git here")
	}
	dir := t.TempDir()
	if out, err := exec.Command(git, "init", "-q", dir).CombinedOutput(); err != nil {
		t.Skipf("git init: %s", out)
	}
	// Stars within a name are left to the table: git means by "x**" what its page says or something else, depending on what
	// stands before it.
	part := rapid.StringMatching(`([abx.]|\*|\?|\*\*|\[a-b\]|\[!a\]|\\a){1,3}`).Filter(func(s string) bool {
		return !strings.Contains(s, "**") || strings.Trim(s, "*") == ""
	})
	name := rapid.StringMatching(`[abx.]{1,3}`).Filter(func(s string) bool { return s != "." && s != ".." })
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) string {
			return rapid.SampledFrom([]string{"", "!", "/", "!/"}).Draw(rt, "head") +
				strings.Join(rapid.SliceOfN(part, 1, 3).Draw(rt, "parts"), "/") + rapid.SampledFrom([]string{"", "/"}).Draw(rt, "tail")
		}), 1, 4).Draw(rt, "rules")
		paths := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) string {
			return strings.Join(rapid.SliceOfN(name, 1, 4).Draw(rt, "names"), "/")
		}), 1, 20).Draw(rt, "paths")
		if err := os.WriteFile(filepath.Join(dir, ".git/info/exclude"), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			rt.Fatal(err)
		}
		ours, rs := []string{}, &Tree{rules: parseRules(lines)}
		for _, path := range paths {
			if rs.excluded(path, false) {
				ours = append(ours, path)
			}
		}
		if theirs := gitIgnores(rt, git, dir, paths); !slices.Equal(ours, theirs) {
			rt.Fatalf("rules %q exclude %q, with git %q", lines, ours, theirs)
		}
	})
}

func gitIgnores(t *rapid.T, git, dir string, paths []string) []string {
	cmd := exec.Command(git, "-C", dir, "check-ignore", "--no-index", "--stdin", "-z")
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("git check-ignore: %v, %s", err, errs.String())
	}
	found := []string{}
	for path := range strings.SplitSeq(string(out), "\x00") {
		if path != "" {
			found = append(found, path)
		}
	}
	return found
}

func BenchmarkRules(b *testing.B) {
	rs := parseRules([]string{"*.tmp", "*.o", "/cache/", "node_modules/", "**/build/out", "!important.o"})
	path := []byte("some/deep/folder/of/mine/IMG_0001.jpeg")
	b.ReportAllocs()
	for b.Loop() {
		if rs.excludesBytes(path, false) {
			b.Fatal("excluded")
		}
	}
}
