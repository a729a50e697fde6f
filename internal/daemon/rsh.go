package daemon

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/ask"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/rsync"
)

// rshCommand is rsync's remote shell over the cluster's own port.
func (p *program) rshCommand() *cobra.Command {
	var host, address, kind, name string
	cmd := &cobra.Command{
		Use:    "rsh --host HOST --address ADDR:PORT --kind source|location --name NAME [ignored …]",
		Short:  "Internal: rsync's remote shell",
		Hidden: true,
		Args:   cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := rsh(cmd.Context(), p.state, v1.HostName(host), address, ask.Request{Kind: kind, Name: name})
			if err != nil {
				p.exit = rsync.ExitCode(err)
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&host, "host", "", "the `HOST` to reach")
	cmd.Flags().StringVar(&address, "address", "", "`ADDR:PORT` where it is")
	cmd.Flags().StringVar(&kind, "kind", "", "source or location")
	cmd.Flags().StringVar(&name, "name", "", "its `NAME`")
	return cmd
}

func rsh(ctx context.Context, state string, host v1.HostName, address string, request ask.Request) error {
	identity, err := pki.Open(state, pki.Options{})
	if err != nil {
		return err
	}
	p := newPeers(identity, func(v1.HostName) string { return address }, nil)
	conn, err := p.dial(ctx, host, alpnRsync)
	if err != nil {
		return fmt.Errorf("%w: %w", rsync.ErrUnreachable, err)
	}
	if err := ask.Ask(ctx, conn, request, askTimeout); err != nil {
		return err
	}
	in, out, err := rsync.Standard()
	if err != nil {
		return err
	}
	return rsync.Shell(ctx, in, out, conn)
}
