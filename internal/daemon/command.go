package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/version"
)

// Main is cbd: it runs the command that args (without the program's name) say and returns the exit code.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{in: stdin, out: stdout, err: stderr}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	what := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", " ")
	if !p.started {
		fmt.Fprintf(stderr, "error: %s: %s\nhint: see `%[1]s --help`\n", command.CommandPath(), what)
		return 2
	}
	fmt.Fprintf(stderr, "error: %s\n", what)
	if p.exit != 0 {
		return p.exit
	}
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	switch {
	case errors.Is(err, pki.ErrBelongs), errors.Is(err, pki.ErrNameTaken):
		return 5
	case errors.Is(err, errUsage), errors.Is(err, pki.ErrName), errors.Is(err, pki.ErrAddress):
		return 2
	}
	return 1
}

// hintFor is the way out of an error, where one helps.
func hintFor(err error) string {
	switch {
	case errors.Is(err, pki.ErrNoCluster):
		return "make a cluster with `cbd init --name HOST`, or join one with `cbd join ADDR:PORT --token TOKEN --name HOST`"
	case errors.Is(err, pki.ErrBelongs):
		return "use another --state, run the daemon of this one with `cbd run`, or move it away if the host is to leave its cluster"
	}
	return ""
}

// errUsage is a flag's value that makes no sense.
var errUsage = errors.New("not a valid value")

type program struct {
	in       io.Reader
	out, err io.Writer
	state    string
	started  bool // the command line was understood
	exit     int  // the exit code of a failed command, where it is not the usual one
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "cbd",
		Short:         "The daemon of a cluster whose hosts back each other up",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&p.state, "state", pki.DefaultState(), "state directory")
	for _, cmd := range []*cobra.Command{p.initCommand(), p.joinCommand(), p.runCommand(), p.rshCommand(), p.versionCommand()} {
		run := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			p.started = true // the command line is understood: what comes now is no usage error
			return run(cmd, args)
		}
		root.AddCommand(cmd)
	}
	return root
}

// endpoint are the flags that init and join share.
type endpoint struct{ name, listen, advertise string }

func (e *endpoint) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.name, "name", "", "this host's `NAME` in the cluster: lower-case letters, digits and dashes")
	cmd.Flags().StringVar(&e.listen, "listen", pki.DefaultListen, "`ADDR:PORT` where this host listens")
	cmd.Flags().StringVar(&e.advertise, "advertise", "", "`ADDR:PORT` where other hosts reach it (default: worked out from --listen and the host's own name)")
	cmd.MarkFlagRequired("name")
}

func (p *program) initCommand() *cobra.Command {
	var e endpoint
	cmd := &cobra.Command{
		Use:   "init --name HOST",
		Short: "Make a new cluster with this host as its first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return initCluster(p.state, e, p.out)
		},
	}
	e.flags(cmd)
	return cmd
}

func (p *program) joinCommand() *cobra.Command {
	var e endpoint
	var token string
	cmd := &cobra.Command{
		Use:   "join ADDR:PORT --token TOKEN --name HOST",
		Short: "Make this host a member of a cluster",
		Long: "Make this host a member of the cluster of the host at ADDR:PORT. The token is made there with\n" +
			"`cbctl create token`; it is good for one host.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return joinCluster(cmd.Context(), p.state, args[0], token, e, p.out)
		},
	}
	e.flags(cmd)
	cmd.Flags().StringVar(&token, "token", "", "`TOKEN` from `cbctl create token`")
	cmd.MarkFlagRequired("token")
	return cmd
}

func (p *program) runCommand() *cobra.Command {
	o := Options{Stderr: p.err}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground until SIGTERM",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.State = p.state
			if _, _, err := net.SplitHostPort(o.HTTP); err != nil && o.HTTP != "" {
				return fmt.Errorf("--http %q: %w: write ADDR:PORT, or '' for none", o.HTTP, errUsage)
			}
			return Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.HTTP, "http", "127.0.0.1:7421", "`ADDR:PORT` of /metrics, /healthz, /readyz and the status page; empty: none")
	cmd.Flags().StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&o.LogFormat, "log-format", "console", "json or console")
	return cmd
}

func (p *program) versionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Tell which build this is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			i := version.Get()
			switch output {
			case "":
			case "json":
				return json.NewEncoder(p.out).Encode(i)
			default:
				return fmt.Errorf("-o %s: %w: it is json", output, errUsage)
			}
			_, err := fmt.Fprintf(p.out, "cbd %s (commit %s, %s, %s, protocol %s)\n", i.Version, i.Commit, i.Go, i.Platform, i.Protocol())
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json")
	return cmd
}

func initCluster(state string, e endpoint, out io.Writer) error {
	identity, err := pki.Init(state, pki.InitOptions{
		Name: v1.HostName(e.name), Listen: e.listen, Advertise: e.advertise,
		Prepare: func(m pki.Member) error { return foundDesired(state, m) },
	})
	if err != nil {
		if errors.Is(err, pki.ErrBelongs) { // it names the directory
			return fmt.Errorf("init %w", err)
		}
		return fmt.Errorf("init %s: %w", state, err)
	}
	address := identity.Cluster().Advertise
	token, expires, err := identity.Tokens().Create(0)
	if err != nil {
		return fmt.Errorf("init %s: %w", state, err)
	}
	fmt.Fprintf(out, joinAdvice, identity.ClusterUID(), e.name, address, stateFlag(state), expires.Local().Format(time.DateTime), address, token, stateFlag(state))
	return nil
}

const joinAdvice = `Made cluster %s with host %s, reached at %s.

Start it:
  cbd run%s

Then have another host join; until %s, one may so:
  cbd join %s --token %s --name HOST

For each further one, make a token here:
  cbctl create token%s
`

// stateFlag is what has to be added to a command for a state directory that isn't the default one.
func stateFlag(state string) string {
	if state == pki.DefaultState() {
		return ""
	}
	return " --state " + state
}

func joinCluster(ctx context.Context, state, address, token string, e endpoint, out io.Writer) error {
	identity, err := pki.Join(ctx, state, pki.JoinOptions{
		Address: address, Token: token, Name: v1.HostName(e.name), Listen: e.listen, Advertise: e.advertise,
		Prepare: func(_ context.Context, m pki.Member, resources []byte) error {
			return adoptDesired(state, m, resources)
		},
	})
	if err != nil {
		return fmt.Errorf("join %s: %w", address, err)
	}
	fmt.Fprintf(out, "Joined cluster %s as host %s, reached at %s.\n\nStart it:\n  cbd run%s\n", identity.ClusterUID(), e.name, identity.Cluster().Advertise, stateFlag(state))
	return nil
}
