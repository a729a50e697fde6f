package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

func (p *Program) verifyCommand() *cobra.Command {
	var full bool
	c := &cobra.Command{
		Use:   "verify SOURCE|location/NAME",
		Short: "Read replicas now, report and repair what is bad",
		Long: `Read replicas now and compare them with their digests. A bad one stops counting and is copied again.

Exits 1 when bad replicas were found, 6 when some holder could not be asked.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query, err := verifyQuery(args[0], full)
			if err != nil {
				return err
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error { return p.verify(ctx, c, args[0], query) })
		},
	}
	c.Flags().BoolVar(&full, "full", false, "read every byte, also of large files that are otherwise sampled")
	return c
}

func verifyQuery(arg string, full bool) (admin.VerifyQuery, error) {
	r := ref{v1.KindSource, arg}
	if strings.Contains(arg, "/") {
		var err error
		if r, err = parseRef([]string{arg}); err != nil {
			return admin.VerifyQuery{}, err
		}
	}
	switch r.kind {
	case v1.KindSource:
		return admin.VerifyQuery{Source: v1.SourceName(r.name), Full: full}, nil
	case v1.KindLocation:
		return admin.VerifyQuery{Location: v1.LocationName(r.name), Full: full}, nil
	}
	return admin.VerifyQuery{}, usagef("%s: it is a source, or location/NAME", r)
}

func (p *Program) verify(ctx context.Context, c Connection, what string, query admin.VerifyQuery) error {
	bar := newProgress(p.Err, p.Now)
	defer bar.clear()
	var last admin.VerifyProgress
	for progress, err := range c.Verify(ctx, query) {
		if err != nil {
			return err
		}
		for _, bad := range progress.Problems {
			bar.clear()
			fmt.Fprintf(p.out, "%s: %s/%s at location/%s on %s\n", bad.Kind, bad.Source, printable(string(bad.Path)), bad.Location, bad.Host)
			if err := p.out.Flush(); err != nil {
				return err
			}
		}
		last = progress
		bar.show("verified", progress.Files, progress.TotalFiles, progress.Bytes, progress.TotalBytes)
	}
	bar.clear()
	return p.verified(what, last)
}

func (p *Program) verified(what string, v admin.VerifyProgress) error {
	if !v.Done {
		return admin.Errorf(admin.Incomplete, what, "verification ended early after %s", count(v.Files, "file"))
	}
	fmt.Fprintf(p.out, "%s: %s read, %s; %d corrupt, %d missing\n", what, count(v.Files, "replica"), size(v.Bytes), v.Corrupt, v.Missing)
	if v.Corrupt+v.Missing > 0 {
		return admin.Errorf(admin.Failed, what, "%s bad", plural(v.Corrupt+v.Missing, "replica is", "replicas are")).
			WithHint("bad replicas do not count any more and are copied again; `cbctl get sources -w` shows when")
	}
	if len(v.Unreachable) > 0 {
		names := make([]string, len(v.Unreachable))
		for i, h := range v.Unreachable {
			names[i] = fmt.Sprintf("location/%s on %s", h.Location, h.Host)
		}
		return admin.Errorf(admin.Incomplete, what, "not asked: %s", strings.Join(names, ", "))
	}
	return nil
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
