package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

func (p *Program) topCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:       "top hosts|locations|sources",
		Short:     "Show space, rates and queue depths",
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"hosts", "locations", "sources"},
		RunE: func(cmd *cobra.Command, args []string) error {
			r, _ := v1.ResourceFor(args[0])
			kind := r.Kind
			if kind != v1.KindHost && kind != v1.KindLocation && kind != v1.KindSource {
				return usagef("%q: top is of hosts, locations or sources", args[0])
			}
			if output != "table" && output != "json" && output != "yaml" {
				return usagef("%q is no output format: it is one of table, json, yaml", output)
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error { return p.top(ctx, c, kind, output) })
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT`: table, json or yaml")
	return c
}

func (p *Program) top(ctx context.Context, c Connection, kind, output string) error {
	rows, err := c.Top(ctx, kind)
	if err != nil {
		return err
	}
	if output != "table" {
		return printObject(p.out, output, map[string]any{"apiVersion": v1.APIVersion, "kind": "TopList", "items": nonNil(rows)})
	}
	if len(rows) == 0 {
		fmt.Fprintln(p.Err, "No objects found.")
		return nil
	}
	t := newTable(p.out, topHeader(kind)...)
	for _, row := range rows {
		t.row(topCells(kind, row)...)
	}
	return t.flush()
}

func topHeader(kind string) []string {
	switch kind {
	case v1.KindSource:
		return []string{"NAME", "HOST", "SIZE", "FILES", "UPLOAD", "VERIFY", "QUEUED", "FAILING"}
	case v1.KindLocation:
		return []string{"NAME", "HOST", "CAPACITY", "USED", "FREE", "USE%", "FILES", "DOWNLOAD", "VERIFY", "QUEUED", "FAILING"}
	}
	return []string{"NAME", "CAPACITY", "USED", "FREE", "USE%", "UPLOAD", "DOWNLOAD", "VERIFY", "QUEUED", "FAILING"}
}

func topCells(kind string, r admin.TopRow) []string {
	upload, download, verify := rate(r, r.Upload), rate(r, r.Download), rate(r, r.Verify)
	queued, failing := figure(r, fmt.Sprint(r.Queued)), figure(r, fmt.Sprint(r.Failing))
	space := []string{size(r.Capacity), size(r.Used), size(r.Free), percent(r.Used, r.Capacity)}
	switch kind {
	case v1.KindSource:
		return []string{r.Name, string(r.Host), size(r.Used), fmt.Sprint(r.Files), upload, verify, queued, failing}
	case v1.KindLocation:
		return append(append([]string{r.Name, string(r.Host)}, space...), fmt.Sprint(r.Files), download, verify, queued, failing)
	}
	return append(append([]string{r.Name}, space...), upload, download, verify, queued, failing)
}

// figure is what a host that answers says; of one that doesn't, nothing is known.
func figure(r admin.TopRow, text string) string {
	if !r.Reachable {
		return unknown
	}
	return text
}

func rate(r admin.TopRow, bytes float64) string { return figure(r, size(int64(bytes))+"/s") }

func percent(part, whole int64) string {
	if whole <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", float64(part)*100/float64(whole))
}
