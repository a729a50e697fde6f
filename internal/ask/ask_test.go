package ask_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"clusterbackup/internal/ask"
)

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
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func TestAskAndItsAnswers(t *testing.T) {
	req := ask.Request{Kind: ask.KindLocation, Name: "attic"}
	for name, c := range map[string]struct {
		answer func(net.Conn) error
		want   error
		text   string
	}{
		"yes":     {ask.Accept, nil, ""},
		"no":      {func(c net.Conn) error { return ask.Deny(c, "not yours "+strings.Repeat("!", 9999)) }, ask.ErrDenied, "not yours"},
		"not now": {func(c net.Conn) error { return ask.Decline(c, "not mounted") }, ask.ErrUnavailable, "not mounted"},
		"gone":    {func(c net.Conn) error { return c.Close() }, ask.ErrBroken, ""},
		"babble":  {func(c net.Conn) error { _, err := io.WriteString(c, "HTTP/1.1 400"); return err }, ask.ErrBroken, ""},
	} {
		near, far := connected(t)
		asked := make(chan error, 1)
		go func() { asked <- ask.Ask(t.Context(), near, req, 10*time.Second) }()
		got, err := ask.Receive(far, 10*time.Second)
		if err != nil || got != req {
			t.Errorf("%s: received %+v, %v", name, got, err)
		}
		must(t, c.answer(far))
		if name == "babble" {
			far.Close()
		}
		if err := <-asked; !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: answered %v", name, err)
		}
		if c.want == nil { // not a byte of what follows was taken
			_, err := far.Write([]byte("@"))
			must(t, err)
			var b [1]byte
			if _, err := near.Read(b[:]); err != nil || b[0] != '@' {
				t.Errorf("%s: then %q, %v", name, b, err)
			}
		}
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	near, _ := connected(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := ask.Ask(ctx, near, ask.Request{Kind: ask.KindLocation, Name: "attic"}, time.Minute); !errors.Is(err, ask.ErrBroken) || time.Since(begun) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

func TestReceiveRefusesWhatIsNoRequest(t *testing.T) {
	for name, sent := range map[string]string{
		"too long":   "\xff\xff" + strings.Repeat("x", 5000),
		"no JSON":    "\x00\x02xx",
		"other kind": "\x00\x1e" + `{"kind":"etc","name":"passwd"}`,
		"no name":    "\x00\x11" + `{"kind":"source"}`,
	} {
		near, far := connected(t)
		_, err := io.WriteString(near, sent)
		must(t, err)
		if _, err := ask.Receive(far, 10*time.Second); !errors.Is(err, ask.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, far := connected(t)
	if _, err := ask.Receive(far, time.Millisecond); err == nil {
		t.Error("silence was taken for a request")
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x00\x20" + `{"kind":"source","name":"photos"}`))
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := net.Pipe()
		go func() { near.Write(sent); near.Close() }()
		req, err := ask.Receive(far, time.Second)
		if err == nil && (req.Name == "" || req.Kind != ask.KindSource && req.Kind != ask.KindLocation) {
			t.Errorf("received %+v", req)
		}
		far.Close()
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
