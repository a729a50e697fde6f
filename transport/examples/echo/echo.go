// Command echo is the smallest whole service on transport: it answers with what
// it gets, in upper case, be it a text, bytes, or a list of them.
//
//	echo serve localhost:5005
//	echo send localhost:5005 some words
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"clusterbackup/transport"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return listen(ctx, args[1], out)
	case len(args) > 2 && args[0] == "send":
		return send(ctx, args[1], args[2:], out)
	}
	return fmt.Errorf("usage: echo serve ADDRESS | echo send ADDRESS WORD")
}

// listen serves until ctx ends.
func listen(ctx context.Context, addr string, out io.Writer) error {
	server, err := transport.Listen(addr, transport.Insecure())
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "listening on", server.Addr())
	defer context.AfterFunc(ctx, func() { server.Close() })()
	serve(server)
	return nil
}

// serve answers a server's datagrams until it is shut down.
func serve(server *transport.Server) {
	server.Each(8, func(d *transport.Datagram) {
		v, err := upper(d.Value())
		d.Set(v)
		d.Fail(err)
	})
}

func upper(v any) (any, error) {
	switch v := v.(type) {
	case string:
		return strings.ToUpper(v), nil
	case []byte:
		return bytes.ToUpper(v), nil
	case []any:
		return upperList(v)
	}
	return nil, &transport.Error{Code: "not-text", Msg: fmt.Sprintf("upper-case %T: only text, bytes and lists of them have upper case", v)}
}

func upperList(list []any) (any, error) {
	for i, v := range list {
		u, err := upper(v)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i+1, err)
		}
		list[i] = u
	}
	return list, nil
}

// send sends words as a list and prints what comes back.
func send(ctx context.Context, addr string, words []string, out io.Writer) error {
	d := transport.New(addr, words)
	if !d.SendContext(ctx) {
		return d.Err()
	}
	for word := range d.All() {
		fmt.Fprintln(out, word)
	}
	return nil
}
