package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
)

// patience is how long a shell waits for names, and how long after its time a wait waits for its last answer.
const patience = 2 * time.Second

// completeRefs completes KIND, NAME and KIND/NAME. Without a daemon it completes kinds alone.
func (p *Program) completeRefs(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	if word, _, slashed := strings.Cut(start, "/"); slashed && len(args) == 0 {
		return prefixed(word+"/", p.names(cmd.Context(), word)), cobra.ShellCompDirectiveNoFileComp
	}
	if len(args) > 0 {
		return p.names(cmd.Context(), args[0]), cobra.ShellCompDirectiveNoFileComp
	}
	var kinds []string
	for _, r := range v1.Resources() {
		kinds = append(kinds, r.Plural, r.Singular)
	}
	return kinds, cobra.ShellCompDirectiveNoFileComp
}

func prefixed(prefix string, names []string) []string {
	for i := range names {
		names[i] = prefix + names[i]
	}
	return names
}

// names are those of a kind's objects; of files, the sources'.
func (p *Program) names(ctx context.Context, word string) []string {
	r, ok := v1.ResourceFor(word)
	if !ok {
		return nil
	}
	if r.Kind == v1.KindFile {
		r.Kind = v1.KindSource
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var names []string
	_ = p.ask(ctx, func(ctx context.Context, c Connection) error { // a shell has no place for an error
		objs, err := c.Get(ctx, r.Kind)
		for _, obj := range objs {
			names = append(names, obj.GetName())
		}
		return err
	})
	return names
}
