package pki

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

func TestJoinMakesAMember(t *testing.T) {
	c := newTestCluster(t, Options{})
	var handed string
	id, err := c.join("rpi1", func(o *JoinOptions) {
		o.Prepare = func(_ context.Context, m Member, resources []byte) error {
			handed = fmt.Sprintf("%s %s %s", m.Name, m.Address, resources)
			return nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if handed != "rpi1 127.0.0.1:7420 everything" {
		t.Errorf("handed over %q", handed)
	}
	if id.ClusterUID() != c.id.ClusterUID() || id.Host() != "rpi1" {
		t.Errorf("joined %s as %s", id.ClusterUID(), id.Host())
	}
	if err := c.call(id.ClientTLS("mini", "echo")); err != nil {
		t.Errorf("member calls: %v", err)
	}
	if got := c.host("rpi1"); got == nil || got.Annotations[MemberAnnotation] != id.Self().Member || got.Spec.Address != "127.0.0.1:7420" {
		t.Errorf("Host resource is %+v", got)
	}
}

// A member that joined through the first host admits others while the first is away.
func TestEveryMemberCanAdmit(t *testing.T) {
	first := newTestCluster(t, Options{})
	second, err := first.join("rpi1")
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{t: t, id: second, hosts: first.hosts}
	c.server = &JoinServer{Identity: second, Admit: func(_ context.Context, m Member) ([]byte, error) { return c.bind(m) }}
	c.listen()
	third, err := c.join("rpi2")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.call(third.ClientTLS("mini", "echo")); err != nil {
		t.Errorf("a host admitted by the second cannot talk to the first: %v", err)
	}
}

func TestJoinRefusals(t *testing.T) {
	now := time.Now()
	clock := now
	c := newTestCluster(t, Options{Clock: func() time.Time { return clock }})
	other := newTestCluster(t, Options{})
	if _, err := c.join("taken"); err != nil {
		t.Fatal(err)
	}
	used := c.token()
	if _, err := c.join("user", func(o *JoinOptions) { o.Token = used }); err != nil {
		t.Fatal(err)
	}
	short, _, err := c.id.Tokens().Create(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := parseToken(c.token())
	if err != nil {
		t.Fatal(err)
	}
	forged.secret[3] ^= 1
	elsewhere := forged
	elsewhere.id[0] ^= 1
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()

	for name, tc := range map[string]struct {
		change func(*JoinOptions)
		want   error
		says   string
	}{
		"secret is wrong":    {func(o *JoinOptions) { o.Token = forged.String() }, ErrToken, ""},
		"no such token":      {func(o *JoinOptions) { o.Token = elsewhere.String() }, ErrToken, "host that made it"},
		"token damaged":      {func(o *JoinOptions) { o.Token = c.token()[:40] }, ErrToken, "copy it whole"},
		"no token":           {func(o *JoinOptions) { o.Token = "secret" }, ErrToken, "cbctl create token"},
		"token used":         {func(o *JoinOptions) { o.Token = used }, ErrTokenUsed, "by host user"},
		"token expired":      {func(o *JoinOptions) { o.Token = short; clock = now.Add(time.Minute) }, ErrTokenExpired, ""},
		"name taken":         {func(o *JoinOptions) { o.Name = "taken" }, ErrNameTaken, "cbctl delete host taken"},
		"name impossible":    {func(o *JoinOptions) { o.Name = "Not A Label" }, ErrName, ""},
		"other cluster":      {func(o *JoinOptions) { o.Token = other.token() }, ErrOtherCluster, ""},
		"nobody there":       {func(o *JoinOptions) { o.Address = closed.Addr().String() }, ErrUnreachable, "firewall"},
		"no address":         {func(o *JoinOptions) { o.Address = "mini" }, ErrAddress, "HOST:PORT"},
		"protocol too old":   {func(o *JoinOptions) { o.Versions = Versions{Min: 7, Max: 9} }, ErrProtocol, "versions 7 to 9"},
		"clock ahead":        {func(o *JoinOptions) { o.Clock = func() time.Time { return now.Add(2 * time.Hour) } }, ErrClockSkew, "ahead of"},
		"clock behind":       {func(o *JoinOptions) { o.Clock = func() time.Time { return now.Add(-2 * time.Hour) } }, ErrClockSkew, "behind"},
		"clock years behind": {func(o *JoinOptions) { o.Clock = func() time.Time { return time.Unix(0, 0) } }, ErrClockSkew, "set the one that is wrong"},
		"handover fails": {func(o *JoinOptions) {
			o.Prepare = func(context.Context, Member, []byte) error { return os.ErrPermission }
		}, os.ErrPermission, "desired state"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() { clock = now }()
			state := filepath.Join(t.TempDir(), "state")
			opts := JoinOptions{Address: c.address, Token: c.token(), Name: "rpi9", Options: Options{Clock: func() time.Time { return now }}}
			tc.change(&opts)
			_, err := Join(t.Context(), state, opts)
			wantErr(t, err, tc.want)
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%q does not say %q", err, tc.says)
			}
			if _, err := ReadCluster(state); !errors.Is(err, ErrNoCluster) {
				t.Errorf("after a refusal the state directory says %v", err)
			}
		})
	}
}

// What answers at the address is something else altogether.
func TestJoinAtAWrongPort(t *testing.T) {
	c := newTestCluster(t, Options{})
	for name, tc := range map[string]struct {
		serve func(net.Conn)
		want  error
	}{
		"daemon that cannot admit": {func(conn net.Conn) { tls.Server(conn, c.id.ServerTLS(nil, "dg/1")).Handshake() }, ErrProtocol},
		"no TLS":                   {func(conn net.Conn) { conn.Write([]byte("SSH-2.0-OpenSSH_9.9\r\n")) }, ErrOtherCluster},
		"hangs up":                 {func(conn net.Conn) {}, ErrUnreachable},
		"no names in its certificate": {func(conn net.Conn) {
			tls.Server(conn, &tls.Config{NextProtos: []string{JoinProtocol}, Certificates: []tls.Certificate{*c.id.certificate(false)}}).Handshake()
		}, ErrOtherCluster},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				if conn, err := l.Accept(); err == nil {
					conn.SetDeadline(time.Now().Add(10 * time.Second))
					tc.serve(conn)
					conn.(*net.TCPConn).CloseWrite()
					io.Copy(io.Discard, conn)
					conn.Close()
				}
			}()
			_, err = c.join("rpi1", func(o *JoinOptions) { o.Address = l.Addr().String() })
			l.Close()
			<-done
			wantErr(t, err, tc.want)
		})
	}
}

// Who waits for a join can give up.
func TestJoinCanBeCancelled(t *testing.T) {
	c := newTestCluster(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if conn, err := l.Accept(); err == nil {
			cancel() // and never answer
			defer conn.Close()
			<-t.Context().Done()
		}
	}()
	state := filepath.Join(t.TempDir(), "state")
	_, err = Join(ctx, state, JoinOptions{Address: l.Addr().String(), Token: c.token(), Name: "rpi1"})
	wantErr(t, err, ErrUnreachable)
}

// A refusal for another reason than the token leaves the token good.
func TestRefusedJoinDoesNotSpendTheToken(t *testing.T) {
	c := newTestCluster(t, Options{})
	token := c.token()
	state := filepath.Join(t.TempDir(), "state")
	_, err := c.joinFrom(state, "mini", func(o *JoinOptions) { o.Token = token })
	wantErr(t, err, ErrNameTaken)
	_, err = c.joinFrom(state, "rpi1", func(o *JoinOptions) {
		o.Token = token
		o.Clock = func() time.Time { return time.Now().Add(3 * time.Hour) }
	})
	wantErr(t, err, ErrClockSkew)
	if _, err := c.joinFrom(state, "rpi1", func(o *JoinOptions) { o.Token = token }); err != nil {
		t.Fatal(err)
	}
}

// The member admitted the host but the answer never came: the same command again completes the join, and nobody else gets in.
func TestLostAnswerIsRepeated(t *testing.T) {
	c := newTestCluster(t, Options{})
	token := c.token()
	withToken := func(o *JoinOptions) { o.Token = token }
	c.lose = 1
	state := filepath.Join(t.TempDir(), "rpi1")
	_, err := c.joinFrom(state, "rpi1", withToken)
	wantErr(t, err, ErrUnreachable)
	if c.host("rpi1") == nil {
		t.Fatal("the host was not admitted: the test lost the request, not the answer")
	}
	_, err = c.join("rpi2", withToken)
	wantErr(t, err, ErrTokenUsed)
	_, err = c.joinFrom(state, "rpi3", withToken)
	wantErr(t, err, ErrTokenUsed)
	id, err := c.joinFrom(state, "rpi1", withToken)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.call(id.ClientTLS("mini", "echo")); err != nil {
		t.Error(err)
	}
}

func TestJoiningAtOnce(t *testing.T) {
	c := newTestCluster(t, Options{})
	const each = 8
	shared := c.token()
	var mu sync.Mutex
	outcome := map[string]int{}
	var wg sync.WaitGroup
	try := func(what string, name v1.HostName, token string, refusal error) {
		state := filepath.Join(t.TempDir(), string(name))
		wg.Go(func() {
			_, err := c.joinFrom(state, name, func(o *JoinOptions) { o.Token = token })
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				outcome[what]++
			case !errors.Is(err, refusal):
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	for i := range each {
		try("own name and token", v1.HostName(fmt.Sprintf("own%d", i)), c.token(), nil)
		try("same name", "same", c.token(), ErrNameTaken)
		try("same token", v1.HostName(fmt.Sprintf("share%d", i)), shared, ErrTokenUsed)
	}
	wg.Wait()
	if outcome["own name and token"] != each || outcome["same name"] != 1 || outcome["same token"] != 1 {
		t.Errorf("joined: %v", outcome)
	}
}

// A name that was removed can be borne by another machine, and the first one stays out although its certificate is still valid.
func TestRemovedNameJoinsAgain(t *testing.T) {
	c := newTestCluster(t, Options{})
	old, err := c.join("rpi1")
	if err != nil {
		t.Fatal(err)
	}
	c.remove("rpi1")
	if err := c.call(old.ClientTLS("mini", "echo")); err == nil {
		t.Error("a removed host gets an answer")
	}
	renewed, err := c.join("rpi1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.call(renewed.ClientTLS("mini", "echo")); err != nil {
		t.Errorf("new bearer of the name: %v", err)
	}
	if err := c.call(old.ClientTLS("mini", "echo")); err == nil {
		t.Error("the machine that bore the name before gets an answer")
	}
}

// A user may write a Host before it joins: its labels and address stay, and the name is not taken by that.
func TestHostWrittenBeforehand(t *testing.T) {
	c := newTestCluster(t, Options{})
	host := &v1.Host{Spec: v1.HostSpec{Address: "rpi1.lan:7420"}}
	host.Name, host.Labels = "rpi1", map[string]string{"site": "attic"}
	c.hosts["rpi1"] = host
	if _, err := c.join("rpi1"); err != nil {
		t.Fatal(err)
	}
	if got := c.host("rpi1"); got.Spec.Address != "rpi1.lan:7420" || got.Labels["site"] != "attic" {
		t.Errorf("Host is %+v", got)
	}
	if host.Annotations != nil {
		t.Error("Bind changed what it was given")
	}
}

// What is no newcomer is told nothing, or one line.
func TestJoinServerBearsNonsense(t *testing.T) {
	c := newTestCluster(t, Options{})
	for name, send := range map[string]string{
		"nothing":     "",
		"length only": "\xff\xff\xff\xff",
		"promise":     "\x00\x00\xff\xffabc",
		"not CBOR":    "\x00\x00\x00\x03\xff\xff\xff",
		"HTTP":        "GET / HTTP/1.1\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			done := make(chan error, 1)
			go func() { done <- c.server.ServeConn(t.Context(), b); b.Close() }()
			a.SetDeadline(time.Now().Add(5 * time.Second))
			go func() { a.Write([]byte(send)); a.Close() }()
			if err := <-done; err == nil {
				t.Error("was served")
			}
		})
	}
	if len(c.hosts) != 1 {
		t.Errorf("hosts: %v", c.hosts)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(token{}.String())
	f.Add("cbt1_AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := parseToken(s)
		if err != nil {
			if !errors.Is(err, ErrToken) {
				t.Fatal(err)
			}
			return
		}
		if parsed.String() != strings.TrimSpace(s) {
			t.Fatalf("%q was read as %q", s, parsed)
		}
	})
}

func FuzzJoinRequest(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\xa0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var req joinRequest
		if err := readMessage(strings.NewReader(string(data)), maxJoinRequest, &req); err == nil {
			_, _, _ = newcomer(&req)
		}
	})
}
