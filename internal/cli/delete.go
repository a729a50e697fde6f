package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

func (p *Program) deleteCommand() *cobra.Command {
	var files []string
	var missingIsFine, force bool
	c := &cobra.Command{
		Use:   "delete KIND NAME...",
		Short: "Remove sources, locations or hosts from the configuration",
		Long: `Remove objects from the configuration.

Deleting a source does not delete backups at once: its holders keep what they have for the source's retention, by their own
clocks. Deleting a location leaves its files on disk, but they count no longer: drain it first. Deleting a host ends its membership.
What would lose replicas is refused; --force does it all the same.`,
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := p.refsToDelete(args, files)
			if err != nil {
				return err
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error { return p.delete(ctx, c, refs, missingIsFine, force) })
		},
	}
	c.Flags().StringSliceVarP(&files, "filename", "f", nil, "delete what this `FILE` names")
	c.Flags().BoolVar(&force, "force", false, "delete although replicas are lost by it; without it, what would be lost is said")
	c.Flags().BoolVar(&missingIsFine, "ignore-not-found", false, "what is not there need not be deleted")
	return c
}

func (p *Program) refsToDelete(args, files []string) ([]ref, error) {
	var refs []ref
	var err error
	if len(files) > 0 {
		docs, err := p.readDocuments(files, false)
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			refs = append(refs, ref{v1.KindOf(d.Object), d.Object.GetName()})
		}
	} else if refs, err = parseRefs(args); err != nil {
		return nil, err
	}
	for _, r := range refs {
		switch r.kind {
		case v1.KindFile:
			return nil, usagef("%s: files are not deleted here, but in their source", r)
		case v1.KindCluster:
			return nil, usagef("the cluster cannot be deleted: it ends with its last host")
		}
	}
	return refs, nil
}

func (p *Program) delete(ctx context.Context, c Connection, refs []ref, missingIsFine, force bool) error {
	for _, r := range refs {
		err := c.Delete(ctx, r.kind, r.name, force)
		if missingIsFine && admin.ReasonOf(err) == admin.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(p.out, "%s deleted\n", r)
	}
	return nil
}
