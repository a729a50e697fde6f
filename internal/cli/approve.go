package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
)

func (p *Program) approveCommand() *cobra.Command {
	var deletions bool
	c := &cobra.Command{
		Use:   "approve source/NAME --deletions",
		Short: "Let a held mass deletion through",
		Long: `Let a held mass deletion through. When most of a source vanishes at once, nothing is believed deleted (condition
DeletionsHeld) until somebody says that it is meant. What is deleted is still kept for the source's retention.`,
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseRef(args)
			switch {
			case err != nil:
				return err
			case r.kind != v1.KindSource:
				return usagef("%s: only a source has deletions to approve", r)
			case !deletions:
				return usagef("say what is approved: --deletions")
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error {
				n, err := c.Approve(ctx, v1.SourceName(r.name))
				if err == nil {
					fmt.Fprintf(p.out, "%s approved: %s\n", r, count(n, "deletion"))
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&deletions, "deletions", false, "the deletions are meant")
	return c
}
