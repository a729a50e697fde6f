// Command hat draws names from a virtual hat, for presents among friends: names
// in, pairs out, so that nobody draws themselves and no few draw among each other.
//
//	hat serve localhost:5006
//	hat draw localhost:5006 Ada Grace Edsger
package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"

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
	case len(args) >= 2 && args[0] == "draw":
		return ask(ctx, args[1], args[2:], out)
	}
	return fmt.Errorf("usage: hat serve ADDRESS | hat draw ADDRESS NAME NAME")
}

// listen serves until ctx ends.
func listen(ctx context.Context, addr string, out io.Writer) error {
	server, err := transport.Listen(addr, transport.Insecure())
	if err != nil {
		return err
	}
	serve(server)
	fmt.Fprintln(out, "listening on", server.Addr())
	<-ctx.Done()
	return server.Close()
}

// serve has server draw whenever it is asked to.
func serve(server *transport.Server) {
	transport.Handle(server, "draw", func(_ context.Context, _ transport.Peer, names []string) ([]Pair, error) {
		return Draw(names, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	})
}

// ask has the server draw, and prints the pairs.
func ask(ctx context.Context, addr string, names []string, out io.Writer) error {
	client := transport.Dial(addr)
	defer client.Close()
	drawn, err := transport.Call[[]Pair](ctx, client, "draw", names)
	if err != nil {
		return err
	}
	for _, p := range drawn {
		fmt.Fprintf(out, "%s gives to %s\n", p.Giver, p.Taker)
	}
	return nil
}
