package cli

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/ask"
	"clusterbackup/internal/rsync"
)

// askTimeout bounds how long a host may take to say whether it serves.
const askTimeout = time.Minute

// holderAddress says where a holder is.
type holderAddress struct {
	host     v1.HostName
	address  string
	location v1.LocationName
}

// rshCommand is the remote shell that a restore gives to rsync. What rsync adds to its arguments is not looked at: the connection
// alone says what is served.
func (p *Program) rshCommand() *cobra.Command {
	var h holderAddress
	c := &cobra.Command{
		Use:    "rsh --host HOST --address ADDR:PORT --location NAME [ignored ...]",
		Short:  "Internal: the remote shell of a restore's rsync",
		Hidden: true,
		Args:   cobra.ArbitraryArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return p.rsh(cmd.Context(), h) },
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVar((*string)(&h.host), "host", "", "the holder's `HOST`")
	c.Flags().StringVar(&h.address, "address", "", "`ADDR:PORT` where it is")
	c.Flags().StringVar((*string)(&h.location), "location", "", "the `NAME` of the location there")
	return c
}

// rshArguments is the command line that reaches a holder the same way as this program was told to reach the cluster.
func (t Target) rshArguments(program string, h holderAddress) []string {
	args := []string{program}
	if t.Server != "" {
		args = append(args, "--server", t.Server, "--identity", t.Identity)
	} else {
		args = append(args, "--state", t.State)
	}
	return append(args, "rsh", "--host", string(h.host), "--address", h.address, "--location", string(h.location))
}

// rsh ends with rsync's own exit codes, for rsync to understand.
func (p *Program) rsh(ctx context.Context, h holderAddress) error {
	err := p.carryRsync(ctx, h)
	if err == nil {
		return nil
	}
	printError(p.Err, err)
	return silent(rsync.ExitCode(err))
}

func (p *Program) carryRsync(ctx context.Context, h holderAddress) error {
	conn, err := p.target.dialRsync(ctx, h)
	if err != nil {
		return fmt.Errorf("%w: %w", rsync.ErrUnreachable, err)
	}
	if err := ask.Ask(conn, ask.Request{Kind: ask.KindLocation, Name: string(h.location)}, askTimeout); err != nil {
		_ = conn.Close()
		return err
	}
	in, out, err := rsync.Standard()
	if err != nil {
		_ = conn.Close()
		return err
	}
	return rsync.Shell(ctx, in, out, conn)
}

// dialRsync connects to a holder's rsync: through the daemon on this host, which relays, or straight to the holder as an
// administrator.
func (t Target) dialRsync(ctx context.Context, h holderAddress) (net.Conn, error) {
	if t.Server != "" {
		dial, err := t.dialerOf(h.host, h.address, rsync.ALPN)
		if err != nil {
			return nil, err
		}
		return dial(ctx)
	}
	conn, err := admin.DialSocket(ctx, t.State, admin.SocketRsync)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "%s\n", h.host); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("ask the daemon for %s: %w", h.host, err)
	}
	return conn, nil
}
