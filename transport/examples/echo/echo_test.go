package main

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"clusterbackup/transport"
)

func start(t *testing.T) *transport.Server {
	t.Helper()
	server, err := transport.Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); serve(server) }()
	t.Cleanup(func() { server.Close(); <-done })
	return server
}

func TestUpperCase(t *testing.T) {
	client := transport.Dial(start(t).Addr().String())
	defer client.Close()
	big := strings.Repeat("größe ", 1<<20)
	for _, c := range []struct{ sent, want any }{
		{"quiet", "QUIET"},
		{"", ""},
		{[]string{"a", "bc"}, []any{"A", "BC"}},
		{[]any{"a", []any{"b", []byte("c")}}, []any{"A", []any{"B", []byte("C")}}},
		{[]any{}, []any{}},
		{big, strings.ToUpper(big)},
		{bytes.Repeat([]byte("x"), 5<<20), bytes.Repeat([]byte("X"), 5<<20)},
	} {
		d := client.Datagram(c.sent)
		if !d.Send() || !reflect.DeepEqual(d.Value(), c.want) {
			t.Errorf("%.40v: %.40v, %v", c.sent, d.Value(), d.Err())
		}
	}
	for _, v := range []any{7, nil, []any{"a", 7}, map[string]any{}} {
		if d := client.Datagram(v); d.Send() || !errors.Is(d.Err(), transport.Code("not-text")) {
			t.Errorf("%v: %v, %v", v, d.Value(), d.Err())
		}
	}
}

func TestCommand(t *testing.T) {
	var out strings.Builder
	addr := start(t).Addr().String()
	if err := run(t.Context(), []string{"send", addr, "some", "words"}, &out); err != nil || out.String() != "SOME\nWORDS\n" {
		t.Fatal(out.String(), err)
	}
	if err := run(t.Context(), []string{"serve", addr}, &out); err == nil {
		t.Fatal("served where another does")
	}
	if err := run(t.Context(), nil, &out); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Fatal(err)
	}
}
