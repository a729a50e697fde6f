package pki

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func initState(t *testing.T) string {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	if _, err := Init(state, InitOptions{Name: "mini", Listen: "127.0.0.1:7420"}); err != nil {
		t.Fatal(err)
	}
	return state
}

func TestInitWritesTheStateDirectory(t *testing.T) {
	state := initState(t)
	for path, mode := range map[string]os.FileMode{
		"": 0o700, "identity": 0o700, "cluster.json": 0o644,
		"identity/ca.crt": 0o644, "identity/ca.key": 0o600, "identity/host.crt": 0o644, "identity/host.key": 0o600,
	} {
		info, err := os.Stat(filepath.Join(state, path))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != mode {
			t.Errorf("%s is %04o, want %04o", path, info.Mode().Perm(), mode)
		}
	}
	if _, err := os.Stat(filepath.Join(state, unfinished)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something unfinished is left: %v", err)
	}
	c, err := ReadCluster(state)
	if err != nil || c.Host != "mini" || c.Listen != "127.0.0.1:7420" || c.Advertise != "127.0.0.1:7420" || c.UID == "" {
		t.Errorf("cluster is %+v, %v", c, err)
	}
}

func TestInitRefuses(t *testing.T) {
	state := initState(t)
	before := readAll(t, state)
	_, err := Init(state, InitOptions{Name: "other"})
	wantErr(t, err, ErrBelongs)
	for _, say := range []string{state, "host mini"} {
		if !strings.Contains(err.Error(), say) {
			t.Errorf("%q does not say %q", err, say)
		}
	}
	_, err = Join(t.Context(), state, JoinOptions{Name: "other", Address: "127.0.0.1:1", Token: token{}.String()})
	wantErr(t, err, ErrBelongs)
	if after := readAll(t, state); !bytes.Equal(before, after) {
		t.Error("a refusal changed the state directory")
	}
	fresh := filepath.Join(t.TempDir(), "state")
	for want, opts := range map[error]InitOptions{
		ErrName:    {Name: "No Name"},
		ErrAddress: {Name: "mini", Listen: "7420"},
	} {
		_, err := Init(fresh, opts)
		wantErr(t, err, want)
	}
	_, err = Init(fresh, InitOptions{Name: "mini", Listen: "127.0.0.1:1", Advertise: "0.0.0.0:7420"})
	wantErr(t, err, ErrAddress)
	_, err = Init(fresh, InitOptions{Name: "mini", Prepare: func(Member) error { return os.ErrPermission }})
	wantErr(t, err, os.ErrPermission)
	if _, err := Init(fresh, InitOptions{Name: "mini"}); err != nil {
		t.Errorf("after those refusals: %v", err)
	}
}

func TestOpenNothing(t *testing.T) {
	_, err := Open(t.TempDir(), Options{})
	wantErr(t, err, ErrNoCluster)
}

// Each file of the state directory in turn is emptied, cut, scribbled on, or gone: it is named, and nothing is changed.
func TestCorruptedState(t *testing.T) {
	for _, file := range []string{"cluster.json", "identity/ca.crt", "identity/ca.key", "identity/host.crt", "identity/host.key"} {
		for how, change := range map[string]func(path string, data []byte) error{
			"empty":     func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
			"cut":       func(path string, data []byte) error { return os.WriteFile(path, data[:len(data)/2], 0o600) },
			"scribbled": func(path string, data []byte) error { return os.WriteFile(path, bytes.ToUpper(data), 0o600) },
			"missing":   func(path string, _ []byte) error { return os.Remove(path) },
		} {
			t.Run(file+" "+how, func(t *testing.T) {
				state := initState(t)
				path := filepath.Join(state, file)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := change(path, data); err != nil {
					t.Fatal(err)
				}
				before := readAll(t, state)
				_, err = Open(state, Options{})
				wantErr(t, err, ErrCorrupt)
				if !strings.Contains(err.Error(), path) {
					t.Errorf("%q does not name %s", err, path)
				}
				if _, err := Init(state, InitOptions{Name: "mini"}); err == nil {
					t.Error("init works on it")
				}
				if after := readAll(t, state); !bytes.Equal(before, after) {
					t.Error("files were changed")
				}
			})
		}
	}
}

// Files of two clusters, or of two hosts, do not go together.
func TestMixedState(t *testing.T) {
	for _, file := range []string{"cluster.json", "identity/ca.crt", "identity/ca.key", "identity/host.crt", "identity/host.key"} {
		state, other := initState(t), initState(t)
		data, err := os.ReadFile(filepath.Join(other, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(state, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Open(state, Options{})
		t.Run(file, func(t *testing.T) { wantErr(t, err, ErrCorrupt) })
	}
}

func TestExposedKey(t *testing.T) {
	state := initState(t)
	key := filepath.Join(state, identityDir, hostKey)
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(state, Options{})
	wantErr(t, err, ErrExposed)
	if !strings.Contains(err.Error(), "chmod 600 "+key) {
		t.Errorf("%q does not say what to do", err)
	}
}

func TestNewerFormat(t *testing.T) {
	state := initState(t)
	path := filepath.Join(state, clusterFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte(`"format": 1`), []byte(`"format": 2`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(state, Options{}); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("error is %v", err)
	}
}

// Init or join may be killed at any of its steps: before the decisive one another attempt starts afresh, after it the host is a member.
func TestInterruptedInit(t *testing.T) {
	t.Run("before the decisive step", func(t *testing.T) {
		state := initState(t)
		for _, move := range [][2]string{{identityDir, unfinished}, {clusterFile, unfinished + "/" + clusterFile}} {
			if err := os.Rename(filepath.Join(state, move[0]), filepath.Join(state, move[1])); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(state, Options{})
		wantErr(t, err, ErrNoCluster)
		if _, err := Init(state, InitOptions{Name: "second"}); err != nil {
			t.Fatal(err)
		}
		if id, err := Open(state, Options{}); err != nil || id.Host() != "second" {
			t.Error(err)
		}
	})
	t.Run("after it", func(t *testing.T) {
		state := initState(t)
		want, err := ReadCluster(state)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(state, clusterFile), filepath.Join(state, identityDir, clusterFile)); err != nil {
			t.Fatal(err)
		}
		_, err = Init(state, InitOptions{Name: "second"})
		wantErr(t, err, ErrBelongs)
		if id, err := Open(state, Options{}); err != nil || id.Cluster() != want {
			t.Error(err)
		}
	})
}

// What another cluster, or an attempt that was killed, left of desired state does not get into the cluster that is entered, nor lost.
func TestOldResourcesAreSetAside(t *testing.T) {
	c := newTestCluster(t, Options{})
	state := filepath.Join(t.TempDir(), "rpi1")
	old := filepath.Join(state, "resources", "source.old.yaml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(old), 0o700), os.WriteFile(old, []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.joinFrom(state, "rpi1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if kept, err := filepath.Glob(filepath.Join(state, "resources.before-*", "source.old.yaml")); err != nil || len(kept) != 1 {
		t.Errorf("kept: %v, %v", kept, err)
	}
}

func TestLock(t *testing.T) {
	state := initState(t)
	first, err := Lock(state)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(state)
	wantErr(t, err, ErrLocked)
	_, err = Init(state, InitOptions{Name: "mini"})
	wantErr(t, err, ErrLocked)
	if _, err := Open(state, Options{}); err != nil {
		t.Errorf("a helper of the running daemon cannot read its identity: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Lock(state)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

func TestTokens(t *testing.T) {
	now := time.Now()
	c := newTestCluster(t, Options{Clock: func() time.Time { return now }})
	for _, ttl := range []time.Duration{-1, MaxTokenLife + 1} {
		if _, _, err := c.id.Tokens().Create(ttl); err == nil {
			t.Errorf("a token for %s was made", ttl)
		}
	}
	text, expires, err := c.id.Tokens().Create(0)
	if err != nil || !expires.Equal(now.Add(DefaultTokenLife)) {
		t.Fatalf("expires %s, %v", expires, err)
	}
	secret, err := parseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	path := c.id.tokens.path(secret.name())
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), text) || bytes.Contains(data, secret.secret[:]) {
		t.Error("the secret is on disk")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token's file: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, data[:20], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = c.join("rpi1", func(o *JoinOptions) { o.Token = text })
	wantErr(t, err, ErrRefused)
	if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, data[:20]) {
		t.Error("a corrupted token's file was changed")
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(DefaultTokenLife + keepSpent + 2*time.Second)
	if _, _, err := c.id.Tokens().Create(0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a token that ended long ago is kept: %v", err)
	}
}

func TestAdvertisedAddress(t *testing.T) {
	local := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 50000}
	for _, tc := range []struct{ listen, advertise, want string }{
		{"", "", "10.0.0.7:7420"},
		{":9000", "", "10.0.0.7:9000"},
		{"0.0.0.0:9000", "", "10.0.0.7:9000"},
		{"[::]:9000", "", "10.0.0.7:9000"},
		{"127.0.0.1:9000", "", "127.0.0.1:9000"},
		{":9000", "mini.lan:443", "mini.lan:443"},
		{":0", "", ""},
		{":9000", ":443", ""},
		{":99999", "", ""},
	} {
		c, err := describe("mini", tc.listen, tc.advertise, local)
		if (err != nil) != (tc.want == "") || c.Advertise != tc.want {
			t.Errorf("%q %q: %q, %v; want %q", tc.listen, tc.advertise, c.Advertise, err, tc.want)
		}
	}
}

// readAll is every file's name and bytes, but the lock's.
func readAll(t *testing.T, dir string) []byte {
	t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		data, err := os.ReadFile(path)
		all.WriteString(path + "\n")
		all.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.Bytes()
}

func TestDefaultState(t *testing.T) {
	t.Setenv("CBD_STATE", "/srv/cbd")
	if got := DefaultState(); got != "/srv/cbd" {
		t.Errorf("with CBD_STATE it is %s", got)
	}
	t.Setenv("CBD_STATE", "")
	t.Setenv("XDG_STATE_HOME", "/home/ann/state")
	want := "/home/ann/state/clusterbackup"
	if os.Geteuid() == 0 {
		want = "/var/lib/clusterbackup"
	}
	if got := DefaultState(); got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
}
