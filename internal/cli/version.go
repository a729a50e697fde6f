package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"clusterbackup/internal/admin"
	"clusterbackup/internal/version"
)

func (p *Program) versionCommand() *cobra.Command {
	var client bool
	var output string
	c := &cobra.Command{
		Use:   "version",
		Short: "Tell the versions of this program and of the daemon",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" && output != "yaml" {
				return usagef("%q is no output format: it is json or yaml", output)
			}
			return p.version(cmd.Context(), client, output)
		},
	}
	c.Flags().BoolVar(&client, "client", false, "only of this program: no daemon is needed")
	c.Flags().StringVarP(&output, "output", "o", "", "`FORMAT`: json or yaml")
	return c
}

// versions is what -o json prints.
type versions struct {
	Client admin.VersionInfo  `json:"client"`
	Server *admin.VersionInfo `json:"server,omitempty"`
}

func (p *Program) version(ctx context.Context, client bool, output string) error {
	v := versions{Client: clientVersion()}
	var asked error
	if !client {
		asked = p.ask(ctx, func(ctx context.Context, c Connection) error {
			server, err := c.Version(ctx)
			if err == nil {
				v.Server = &server
			}
			return err
		})
	}
	if output != "" {
		if err := printObject(p.out, output, v); err != nil {
			return err
		}
		return asked
	}
	p.printVersion("Client", v.Client)
	if v.Server != nil {
		p.printVersion("Server", *v.Server)
	}
	return asked
}

func (p *Program) printVersion(who string, v admin.VersionInfo) {
	fmt.Fprintf(p.out, "%s: %s, commit %s, %s, %s, protocol %s", who, v.Version, v.Commit, v.GoVersion, v.Platform, v.Protocol)
	if v.Host != "" {
		fmt.Fprintf(p.out, ", host %s", v.Host)
	}
	fmt.Fprintln(p.out)
}

func clientVersion() admin.VersionInfo {
	i := version.Get()
	return admin.VersionInfo{Version: i.Version, Commit: i.Commit, GoVersion: i.Go, Platform: i.Platform,
		Protocol: i.Protocol(), ProtocolMin: i.ProtocolMin, ProtocolMax: i.ProtocolMax}
}
