package cli

import (
	"bufio"
	"context"
	"errors"
	"io"

	"time"

	"github.com/spf13/cobra"

	"clusterbackup/internal/admin"
	"clusterbackup/internal/pki"
)

// Main is cbctl: it runs the command that args (without the program's name) say and returns the exit code. When ctx ends, it
// gives up what it was doing.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return (&Program{In: stdin, Out: stdout, Err: stderr}).Run(ctx, args)
}

// Program is cbctl with its surroundings. In, Out and Err are needed; the rest has useful zero values.
type Program struct {
	In       io.Reader
	Out, Err io.Writer
	// Connect reaches a daemon; nil: as Target says.
	Connect func(ctx context.Context, target Target) (Connection, error)
	// Now is nil: time.Now.
	Now func() time.Time
	// Poll is how often a watch or a wait looks again; 0: every half second.
	Poll time.Duration

	target  Target
	out     *bufio.Writer // round Out; flushed before a command ends, and where a person should see something
	started bool          // the command line was understood
}

// Connection is a daemon that answers.
type Connection interface {
	admin.Backend
	io.Closer
}

// Run is Main.
func (p *Program) Run(ctx context.Context, args []string) int {
	p.prepare()
	root := p.root()
	root.SetArgs(args)
	root.SetIn(p.In)
	root.SetOut(p.out)
	root.SetErr(p.Err)
	command, err := root.ExecuteContextC(ctx)
	var usage *usageError
	switch {
	case err != nil && !p.started:
		err = &usageError{why: err.Error(), command: command.CommandPath()}
	case errors.As(err, &usage):
		err = &usageError{why: err.Error(), command: command.CommandPath()}
	}
	if flushed := p.out.Flush(); err == nil {
		err = flushed
	}
	printError(p.Err, err)
	return exitCode(err)
}

// prepare fills in what was left out.
func (p *Program) prepare() {
	if p.Connect == nil {
		p.Connect = connect
	}
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.Poll == 0 {
		p.Poll = 500 * time.Millisecond
	}
	p.out = bufio.NewWriterSize(p.Out, 64<<10)
}

func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "cbctl",
		Short: "Ask and direct a cluster whose hosts back each other up",
		Long: `cbctl asks and directs a cluster whose hosts back each other up.

It talks to the daemon on this host, or with --server and --identity to any host of the cluster. Every host has the whole
configuration, so it does not matter which one is asked.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			p.started = true
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args: cobra.NoArgs,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&p.target.State, "state", pki.DefaultState(), "state directory of the daemon on this host")
	flags.StringVar(&p.target.Server, "server", "", "ask the host at `ADDR:PORT` instead of this one")
	flags.StringVar(&p.target.Identity, "identity", "", "administrator's credential `FILE` for --server (cbctl create identity)")
	root.AddGroup(
		&cobra.Group{ID: "see", Title: "See what is there:"},
		&cobra.Group{ID: "declare", Title: "Declare what should be:"},
		&cobra.Group{ID: "act", Title: "Act:"},
		&cobra.Group{ID: "help", Title: "Help:"},
	)
	root.SetHelpCommandGroupID("help")
	root.SetCompletionCommandGroupID("help")
	addTo(root, "see", p.getCommand(), p.describeCommand(), p.topCommand(), p.eventsCommand(), p.waitCommand())
	addTo(root, "declare", p.applyCommand(), p.createCommand(), p.editCommand(), p.diffCommand(), p.deleteCommand())
	addTo(root, "act", p.restoreCommand(), p.verifyCommand(), p.cordonCommand(), p.uncordonCommand(), p.drainCommand(), p.approveCommand())
	addTo(root, "help", p.explainCommand(), p.versionCommand())
	knowShells(root)
	return root
}

// knowShells has the completion command refuse shells that it does not know, as any command refuses what makes no sense.
func knowShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd("completion")
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.RunE = func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("name a shell: bash, zsh, fish or powershell")
			}
			return usagef("%s: is no shell that can be completed for: bash, zsh, fish or powershell", args[0])
		}
		c.Args = cobra.ArbitraryArgs
	}
}

func addTo(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// show lets what was printed so far be seen. That it cannot be is told when the command ends: the buffer remembers it.
func (p *Program) show() { _ = p.out.Flush() }

// ask runs body with a daemon that answers.
func (p *Program) ask(ctx context.Context, body func(ctx context.Context, c Connection) error) error {
	c, err := p.Connect(ctx, p.target)
	if err != nil {
		return err
	}
	defer c.Close()
	return body(ctx, c)
}
