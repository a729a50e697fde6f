package daemon

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cbd runs a command as a person would.
func cbd(t *testing.T, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	var out, errs bytes.Buffer
	exit = Main(t.Context(), args, strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), exit
}

func TestErrorsSayWhatAndWhy(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	if _, errs, exit := cbd(t, "init", "--state", state, "--name", "mini", "--listen", "127.0.0.1:7420"); exit != 0 {
		t.Fatal(errs)
	}
	for _, tc := range []struct {
		args string
		exit int
		says string
	}{
		{"init", 2, `^error: cbd init: required flag\(s\) "name" not set\nhint: `},
		{"nonsense", 2, `^error: cbd: unknown command "nonsense"`},
		{"join --token x --name mini", 2, `^error: cbd join: accepts 1 arg`},
		{"version -o xml", 2, `^error: -o xml: not a valid value: it is json\n$`},
		{"run --log-format xml --state " + state, 2, `^error: --log-format "xml": not a valid value`},
		{"run --http 7421 --state " + state, 2, `^error: --http "7421": not a valid value: write ADDR:PORT`},
		{"init --name other --state " + state, 5, `^error: init ` + state + `: state directory already belongs to a cluster \(\S+, as host mini\)\nhint: use another`},
		{"join 127.0.0.1:1 --token x --name other --state " + state, 1, `^error: join 127.0.0.1:1: token is not valid: it does not begin`},
		{"run --state " + filepath.Join(t.TempDir(), "none"), 1, `^error: run: .*belongs to no cluster yet.*\nhint: make a cluster`},
	} {
		out, errs, exit := cbd(t, strings.Fields(tc.args)...)
		if exit != tc.exit || !regexp.MustCompile(tc.says).MatchString(errs) || out != "" {
			t.Errorf("cbd %s: exit %d, want %d\n%s%s", tc.args, exit, tc.exit, out, errs)
		}
	}
}

// TestInitSaysHowToJoin: the command that it prints is whole, so that nothing has to be asked before the second host is there.
func TestInitSaysHowToJoin(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	out, errs, exit := cbd(t, "init", "--state", state, "--name", "mini", "--listen", "127.0.0.1:7420", "--advertise", "mini.lan:7420")
	if exit != 0 {
		t.Fatal(errs)
	}
	for _, says := range []string{`(?m)^  cbd join mini\.lan:7420 --token cbt1_\S+ --name HOST$`, `(?m)^  cbd run --state ` + state + `$`} {
		if !regexp.MustCompile(says).MatchString(out) {
			t.Errorf("it does not say %s:\n%s", says, out)
		}
	}
}

func TestVersionForScripts(t *testing.T) {
	out, errs, exit := cbd(t, "version", "-o", "json")
	var v struct {
		Version, Commit, GoVersion string
		ProtocolMin, ProtocolMax   int
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || exit != 0 {
		t.Fatalf("%v, exit %d: %s%s", err, exit, out, errs)
	}
	if v.Version == "" || v.Commit == "" || v.GoVersion == "" || v.ProtocolMin < 1 || v.ProtocolMax < v.ProtocolMin {
		t.Errorf("version is %+v", v)
	}
}
