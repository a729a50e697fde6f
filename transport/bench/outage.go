package main

import (
	"context"
	"os"
	"time"

	"clusterbackup/transport"
)

// runOutage is how long after a server's restart a client that waits is served.
func runOutage(dir string, outage time.Duration) (time.Duration, error) {
	srv, err := start("transport", false, "", dir)
	if err != nil {
		return 0, err
	}
	c := transport.Dial(srv.addr, transport.Timeout(outage+30*time.Second))
	defer c.Close()
	if _, err := transport.Call[[]byte](context.Background(), c, "echo", []byte("x")); err != nil {
		return 0, err
	}
	srv.stop()
	for c.Ping(expired()) == nil {
	}
	done := make(chan error, 1)
	go func() {
		_, err := transport.Call[[]byte](context.Background(), c, "echo", []byte("x"))
		done <- err
	}()
	time.Sleep(outage)
	srv, err = start("transport", false, srv.addr, dir)
	if err != nil {
		return 0, err
	}
	defer srv.stop()
	begun := time.Now() // it listens
	err = <-done
	return time.Since(begun), err
}

// expired is a context that ends in a moment.
func expired() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	time.AfterFunc(time.Second, cancel)
	return ctx
}

// runFrozen is how long a call without a deadline takes to fail when its server
// stops without a word.
func runFrozen(dir string, stop os.Signal) (time.Duration, error) {
	srv, err := start("transport", false, "", dir)
	if err != nil {
		return 0, err
	}
	defer srv.stop()
	c := transport.Dial(srv.addr, transport.Timeout(0))
	defer c.Close()
	if _, err := transport.Call[[]byte](context.Background(), c, "echo", []byte("x")); err != nil {
		return 0, err
	}
	srv.cmd.Process.Signal(stop)
	begun := time.Now()
	transport.Call[[]byte](context.Background(), c, "echo", []byte("x"))
	return time.Since(begun), nil
}
