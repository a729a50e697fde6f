package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

func (p *Program) diffCommand() *cobra.Command {
	var files []string
	var recursive bool
	c := &cobra.Command{
		Use:   "diff -f FILE|DIR|-",
		Short: "Show what apply would change",
		Long:  "Show what apply would change. Exits 0 when nothing would, 1 when something would.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			docs, err := p.readDocuments(files, recursive)
			if err != nil {
				return err
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error { return p.diff(ctx, c, docs) })
		},
	}
	c.Flags().StringSliceVarP(&files, "filename", "f", nil, "`FILE`, folder of files, or - for standard input")
	c.Flags().BoolVarP(&recursive, "recursive", "R", false, "read the folders below as well")
	return c
}

func (p *Program) diff(ctx context.Context, c Connection, docs []v1.Document) error {
	objs, err := desiredObjects(ctx, c, docs)
	if err != nil {
		return err
	}
	differ := false
	for _, obj := range objs {
		live, err := get1(ctx, c, ref{v1.KindOf(obj), obj.GetName()})
		if err != nil && admin.ReasonOf(err) != admin.NotFound {
			return err
		}
		if before, after := userPart(live), userPart(obj); before != after {
			differ = true
			printDiff(p.out, v1.RefOf(obj), lines(before), lines(after))
		}
	}
	if differ {
		return silent(exitFailed)
	}
	return nil
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// printDiff prints two short texts as `diff -u` does with unlimited context: objects are small, and their whole is worth seeing.
func printDiff(w io.Writer, name string, before, after []string) {
	fmt.Fprintf(w, "--- %s (as it is)\n+++ %s (as it would be)\n", name, name)
	common := commonLengths(before, after)
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case i < len(before) && j < len(after) && before[i] == after[j]:
			fmt.Fprintf(w, " %s\n", before[i])
			i, j = i+1, j+1
		case j == len(after) || i < len(before) && common[i+1][j] >= common[i][j+1]:
			fmt.Fprintf(w, "-%s\n", before[i])
			i++
		default:
			fmt.Fprintf(w, "+%s\n", after[j])
			j++
		}
	}
}

// commonLengths[i][j] is the length of the longest common subsequence of a[i:] and b[j:].
func commonLengths(a, b []string) [][]int {
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	return common
}
