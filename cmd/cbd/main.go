// Command cbd is the daemon that every host of a cluster runs.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"clusterbackup/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := daemon.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
