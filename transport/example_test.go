package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"strings"
	"time"

	"clusterbackup/transport"
)

// A whole server and a whole client.
func Example() {
	server, err := transport.Listen("localhost:0", transport.Insecure())
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go func() {
		for d := range server.All() { // leaving the body sends the reply
			d.Set(strings.ToUpper(d.Value().(string)))
		}
	}()

	d := transport.New(server.Addr().String(), "quiet")
	if d.Send() {
		fmt.Println(d.Value())
	}
	// Output: QUIET
}

// Several values are a list; a list is several values.
func ExampleDatagram_All() {
	server, err := transport.Listen("localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go server.Each(4, func(d *transport.Datagram) { // four datagrams at a time
		sum := 0
		for v := range d.All() {
			sum += v.(int)
		}
		d.Set(sum, d.Len())
	})

	d := transport.New(server.Addr().String(), 1, 2, 3)
	if !d.Send() {
		log.Fatal(d.Err())
	}
	fmt.Println(d.At(0), "from", d.At(1))
	// Output: 6 from 3
}

// Errors have a code, the same on both sides.
func ExampleCode() {
	const NoRoom transport.Code = "no-room"
	server, err := transport.Listen("localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go server.Each(1, func(d *transport.Datagram) {
		d.Fail(&transport.Error{Code: NoRoom, Msg: "3 GiB are missing"})
	})

	d := transport.New(server.Addr().String(), "photos")
	if !d.Send() && errors.Is(d.Err(), NoRoom) {
		fmt.Println(d.Err())
	}
	// Output: no-room: 3 GiB are missing
}

// Requests with types and names.
func ExampleCall() {
	type claim struct {
		Source string
		Files  int
	}
	server, err := transport.Listen("localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	transport.Handle(server, "claim", func(ctx context.Context, peer transport.Peer, c claim) ([]string, error) {
		return []string{c.Source + "/a", c.Source + "/b"}[:c.Files], nil
	})

	client := transport.Dial(server.Addr().String(), transport.Timeout(5*time.Second))
	defer client.Close()
	files, err := transport.Call[[]string](context.Background(), client, "claim", claim{"photos", 2})
	fmt.Println(files, err)
	// Output: [photos/a photos/b] <nil>
}

// A stream arrives while it is made, and is no longer made when nobody reads.
func ExampleCallStream() {
	server, err := transport.Listen("localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	transport.HandleStream(server, "squares", func(ctx context.Context, _ transport.Peer, from int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for n := from; yield(n*n, nil); n++ {
			}
		}
	})

	client := transport.Dial(server.Addr().String())
	defer client.Close()
	for n, err := range transport.CallStream[int](context.Background(), client, "squares", 3) {
		if err != nil {
			log.Fatal(err)
		}
		if n > 30 {
			break // ends it on the server too
		}
		fmt.Print(n, " ")
	}
	// Output: 9 16 25
}

// Bytes of any length, in constant memory, both ways.
func ExampleDatagram_Reader() {
	server, err := transport.Listen("localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go server.Each(1, func(d *transport.Datagram) {
		n, err := io.Copy(io.Discard, d.Reader())
		d.Set(n)
		d.Fail(err)
	})

	d := transport.New(server.Addr().String(), io.LimitReader(strings.NewReader("a long file"), 6))
	if d.Send() {
		fmt.Println(d.Value(), "bytes")
	}
	// Output: 6 bytes
}

// Middleware sees every datagram on its way in and out.
func ExampleUse() {
	logged := func(d *transport.Datagram, next func()) {
		next()
		fmt.Println(d.Method(), d.Err())
	}
	server, err := transport.Listen("localhost:0", transport.Use(logged))
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	transport.Handle(server, "hello", func(_ context.Context, _ transport.Peer, name string) (string, error) {
		return "", errors.New("nobody of name " + name)
	})

	client := transport.Dial(server.Addr().String())
	defer client.Close()
	transport.Call[string](context.Background(), client, "hello", "Ada")
	// Output: hello nobody of name Ada
}
