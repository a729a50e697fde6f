package cli

import (
	"github.com/spf13/cobra"
)

func (p *Program) restoreCommand() *cobra.Command {
	return &cobra.Command{Use: "restore", RunE: func(*cobra.Command, []string) error { return usagef("not yet") }}
}
