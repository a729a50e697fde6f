// Command powers tells about whole numbers of any length: whether one is probably
// prime, and the sums of like powers that it is, as they are found; of several, their
// greatest common factor. Whoever hangs up stops the work.
//
//	powers serve localhost:5007
//	powers tell localhost:5007 1729
//	powers tell localhost:5007 84 126 210
package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math/big"
	"os"
	"os/signal"
	"time"

	"clusterbackup/transport"
)

// patience is how long sums are looked for.
const patience = time.Second

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
	case len(args) > 2 && args[0] == "tell":
		return ask(ctx, args[1], args[2:], out)
	}
	return fmt.Errorf("usage: powers serve ADDRESS | powers tell ADDRESS NUMBER")
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

// serve has server tell about numbers.
func serve(server *transport.Server) {
	transport.HandleStream(server, "tell", func(ctx context.Context, _ transport.Peer, numbers []*big.Int) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			err := checked(numbers)
			switch {
			case err != nil:
			case len(numbers) == 1:
				err = tellOne(ctx, numbers[0], func(s string) bool { return yield(s, nil) })
			default:
				err = tellSeveral(ctx, numbers, func(s string) bool { return yield(s, nil) })
			}
			if err != nil {
				yield("", err)
			}
		}
	})
}

func checked(numbers []*big.Int) error {
	if len(numbers) == 0 {
		return &transport.Error{Code: "no-number", Msg: "no number is given"}
	}
	for i, n := range numbers {
		if n == nil || n.Sign() <= 0 {
			return &transport.Error{Code: "not-positive", Msg: fmt.Sprintf("number %d is %v; only 1 and above can be told about", i+1, n)}
		}
	}
	return nil
}

// tellOne tells whether n is prime, and then its sums.
func tellOne(ctx context.Context, n *big.Int, tell func(string) bool) error {
	prime, err := probablyPrime(ctx, n)
	if err != nil {
		return err
	}
	verdict := "not prime"
	if prime {
		verdict = "probably prime"
	}
	if !tell(verdict) {
		return nil
	}
	looking, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for s := range sums(looking, n) {
		if !tell(s.String()) {
			return nil
		}
	}
	return ctx.Err()
}

func tellSeveral(ctx context.Context, numbers []*big.Int, tell func(string) bool) error {
	factor, err := commonFactorOf(ctx, numbers)
	if err == nil {
		tell(fmt.Sprintf("greatest common factor %v", factor))
	}
	return err
}

// ask has the server tell about numbers, and prints it as it comes.
func ask(ctx context.Context, addr string, args []string, out io.Writer) error {
	numbers := make([]*big.Int, len(args))
	for i, a := range args {
		var ok bool
		if numbers[i], ok = new(big.Int).SetString(a, 0); !ok {
			return fmt.Errorf("read number %d: %q is not a whole number", i+1, a)
		}
	}
	client := transport.Dial(addr)
	defer client.Close()
	for line, err := range transport.CallStream[string](ctx, client, "tell", numbers) {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, line)
	}
	return nil
}
