package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/ask"
	"clusterbackup/internal/restore"
)

func (p *Program) restoreCommand() *cobra.Command {
	var to, at, overwrite string
	var dryRun bool
	c := &cobra.Command{
		Use:   "restore SOURCE[/PATH] --to DIR",
		Short: "Put a source, or a part of it, back into a folder",
		Long: `Put a source, or a file or folder of it, back into a folder, from whichever hosts are up. The source's own host is not needed.

Every file is compared with its digest before it gets its name. Nothing outside the folder is written. Exits 6 when some file has
no live replica, or only an earlier version of it, and lists them.

With --at, files have the content, mode and time that they had then, as far as versions are kept. Of symbolic links and folders there
is the newest listing alone: those that changed since are left out, folders with restored files in them excepted. Owners and extended
attributes of files are not restored.`,
		Example: `  cbctl restore photos --to /tmp/photos
  cbctl restore photos/2024 --to /tmp/photos --at 2026-11-01
  cbctl restore photos --to /tank/photos --overwrite=older`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts := restore.Options{To: to, DryRun: dryRun, Overwrite: restore.Overwrite(overwrite), Owner: os.Geteuid() == 0}
			var err error
			if opts.Source, opts.Path, err = parseFilePath(args[0]); err != nil {
				return err
			}
			if opts.At, err = parseTime(at, p.Now()); err != nil {
				return err
			}
			switch {
			case to == "":
				return usagef("--to is missing: the folder to restore into")
			case opts.Overwrite != restore.Never && opts.Overwrite != restore.Older && opts.Overwrite != restore.Always:
				return usagef("--overwrite=%s: it is never, older or always", overwrite)
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error { return p.restore(ctx, c, args[0], opts) })
		},
	}
	c.Flags().StringVar(&to, "to", "", "`DIR` to restore into; it is made where it is missing")
	c.Flags().StringVar(&at, "at", "", "as it was at this `TIME`: 2026-11-01, 2026-11-01T15:04:05Z, or 24h (ago)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "list what would be restored, and what could not be")
	c.Flags().StringVar(&overwrite, "overwrite", string(restore.Never), "what becomes of other files of the same names: never, older or always are replaced")
	return c
}

// parseTime reads a time, a day, or how long ago; "" is the zero time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--at %s: write 2026-11-01, 2026-11-01T15:04:05Z, or 24h for how long ago", text)
}

func (p *Program) restore(ctx context.Context, c Connection, what string, opts restore.Options) error {
	to, err := filepath.Abs(opts.To)
	if err != nil {
		return fmt.Errorf("find %s: %w", opts.To, err)
	}
	opts.To = to
	bar := newProgress(p.Err, p.Now)
	defer bar.clear()
	planned := int64(0)
	opts.Report = func(item restore.Item) {
		bar.clear()
		if item.Outcome == restore.Planned {
			planned++
		}
		p.reportItem(item)
	}
	opts.Progress = func(s restore.Progress) { bar.show("restored", s.DoneFiles, s.Files, s.DoneBytes, s.Bytes) }
	cluster := &restoreCluster{Connection: c, target: p.target}
	result, err := restore.Run(ctx, cluster, opts)
	bar.clear()
	if errors.Is(err, restore.ErrNoHolder) {
		p.listLost(ctx, c, opts)
	}
	return p.restored(what, opts, cluster, planned, result, err)
}

// reportItem is a line for each file that needs one; of a dry run, each file.
func (p *Program) reportItem(item restore.Item) {
	path := printable(string(item.Path))
	switch {
	case item.Outcome == restore.Planned:
		fmt.Fprintln(p.out, path)
	case item.Path == "":
		p.show()
		fmt.Fprintf(p.Err, "warning: %s\n", oneLine(item.Message))
	default:
		fmt.Fprintf(p.out, "%s: %s: %s\n", item.Outcome, path, oneLine(item.Message))
	}
}

// restored says in the end what was done and what is missing.
func (p *Program) restored(what string, opts restore.Options, cluster *restoreCluster, planned int64, r restore.Result, err error) error {
	switch {
	case errors.Is(err, restore.ErrNotFound) && !opts.At.IsZero():
		return admin.Errorf(admin.NotFound, what, "no host has anything of it as it was at %s", opts.At.Local().Format(time.DateTime)).
			WithHint("`cbctl describe file SOURCE/PATH` tells which versions are kept")
	case errors.Is(err, restore.ErrDeleted):
		return admin.Errorf(admin.NotFound, what, "it is there no more, but hosts keep what it was").
			WithHint("`--at TIME` restores it as it was then; `cbctl get files %s --deleted` lists what is kept", opts.Source)
	case errors.Is(err, restore.ErrNotFound):
		return admin.Errorf(admin.NotFound, what, "no host has it, and no listing names it").WithHint("`cbctl get files %s` lists what there is", opts.Source)
	case errors.Is(err, restore.ErrNoHolder):
		return admin.Errorf(admin.Incomplete, what, "no host that holds any of it can be reached%s", cluster.downNote()).WithHint("`cbctl get hosts` tells which are up")
	case err != nil && !errors.Is(err, restore.ErrIncomplete):
		return err
	}
	if opts.DryRun {
		p.show()
		fmt.Fprintf(p.Err, "%s: %s would be restored to %s\n", what, count(planned, "file"), opts.To)
	} else {
		fmt.Fprintf(p.out, "%s: %s (%s) restored to %s", what, count(r.Restored, "file"), size(r.Bytes), opts.To)
		p.also(r)
		fmt.Fprintln(p.out)
		p.show()
	}
	p.restoreWarnings(opts, cluster, r)
	if err == nil {
		return nil
	}
	if r.Listed.IsZero() && r.Lost+r.Outdated+r.Failed == 0 {
		return admin.Errorf(admin.Incomplete, what, "all that the live hosts hold was restored, but none of them has a listing of the source: whether that is all cannot be told%s", cluster.downNote()).
			WithHint("run the same again when more hosts are up: what is there already is not fetched twice")
	}
	return admin.Errorf(admin.Incomplete, what, "%d without a live replica, %d only as an earlier version, %d failed%s", r.Lost, r.Outdated, r.Failed, cluster.downNote()).
		WithHint("they are listed above; %s: what is there already is not fetched twice", nextStep(r))
}

// nextStep is what helps an incomplete restore.
func nextStep(r restore.Result) string {
	if r.Lost+r.Outdated+r.Failed == r.Blocked {
		return "run the same again when nothing is in their way any more"
	}
	return "run the same again when more hosts are up"
}

// listLost names what is lost when no holder answers, if the source's host does: no listing can be read then.
func (p *Program) listLost(ctx context.Context, c Connection, opts restore.Options) {
	for page, err := range c.Files(ctx, admin.FileQuery{Source: opts.Source, Path: opts.Path}) {
		if err != nil {
			return // that no holder answers is told all the same
		}
		for i := range page.Files {
			fmt.Fprintf(p.out, "%s: %s: no live holder has it\n", restore.Lost, printable(page.Files[i].Spec.Path))
		}
	}
}

// also counts what was not fetched.
func (p *Program) also(r restore.Result) {
	for _, more := range []struct {
		n         int64
		one, many string
	}{{r.Same, "there already", "there already"}, {r.Kept, "kept as it was", "kept as they were"}, {r.Links, "link", "links"}, {r.Folders, "folder", "folders"}} {
		if more.n > 0 {
			fmt.Fprintf(p.out, ", %s", plural(more.n, more.one, more.many))
		}
	}
}

func (p *Program) restoreWarnings(opts restore.Options, cluster *restoreCluster, r restore.Result) {
	switch {
	case r.Listed.IsZero() && opts.At.IsZero():
		fmt.Fprintln(p.Err, "warning: no listing of the source was found: empty folders, links and owners are not restored, nor can missing files be named")
	case opts.At.IsZero() && p.Now().Sub(r.Listed) > 24*time.Hour:
		fmt.Fprintf(p.Err, "warning: the newest listing that was found is of %s\n", r.Listed.Local().Format(time.DateTime))
	}
	if !opts.At.IsZero() {
		fmt.Fprintf(p.Err, "note: symbolic links and folders are %s, not as of %s; owners and extended attributes are not restored\n",
			listedWhen(r), opts.At.Local().Format(time.DateTime))
		if len(cluster.down) > 0 {
			fmt.Fprintf(p.Err, "warning: what was restored may be of an earlier time than %s, and incomplete: not all holders could be asked what there was%s\n",
				opts.At.Local().Format(time.DateTime), cluster.downNote())
		}
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(p.Err, "warning: live hosts have %s more that the listing does not name: see Unlisted above; the files lie in their locations as they are\n", count(r.Unlisted, "file"))
	}
	for _, h := range r.Unreachable {
		fmt.Fprintf(p.Err, "warning: %s could not be asked\n", h)
	}
}

// listedWhen says what folders and links are taken from.
func listedWhen(r restore.Result) string {
	if r.Listed.IsZero() {
		return "as the files need them, since no listing was found"
	}
	return "as listed at " + r.Listed.Local().Format(time.DateTime)
}

// restoreCluster is what a restore asks, through the daemon.
type restoreCluster struct {
	Connection
	target Target
	down   []admin.Holder
}

// Holders implements restore.Cluster: those that answer.
func (c *restoreCluster) Holders(ctx context.Context, source v1.SourceName) ([]restore.Holder, error) {
	all, err := c.Connection.Holders(ctx, source)
	if err != nil {
		return nil, err
	}
	var live []restore.Holder
	for _, h := range all {
		if !h.Live {
			c.down = append(c.down, h)
			continue
		}
		live = append(live, restore.Holder{Host: h.Host, Location: h.Location, Address: h.Address})
	}
	return live, nil
}

// downNote names the holders that do not answer, and says why.
func (c *restoreCluster) downNote() string {
	note := ""
	for i, h := range c.down {
		if i == 0 {
			note = "; out of reach: "
		} else {
			note += ", "
		}
		note += fmt.Sprintf("%s/%s (%s)", h.Host, h.Location, h.Why)
	}
	return note
}

// Manifest implements restore.Cluster.
func (c *restoreCluster) Manifest(ctx context.Context, source v1.SourceName, h restore.Holder) iter.Seq2[[]byte, error] {
	return c.Connection.Manifest(ctx, source, admin.HolderKey{Host: h.Host, Location: h.Location})
}

// Holdings implements restore.Cluster.
func (c *restoreCluster) Holdings(ctx context.Context, source v1.SourceName, h restore.Holder, prefix v1.RelPath) iter.Seq2[restore.Holding, error] {
	return func(yield func(restore.Holding, error) bool) {
		for g, err := range c.Connection.Holdings(ctx, source, admin.HolderKey{Host: h.Host, Location: h.Location}, prefix) {
			one := restore.Holding{
				Path: g.Path, Gen: g.Gen, Digest: g.Digest, Size: g.Size, ModTime: g.ModTime, Mode: g.Mode, Version: g.Version, Until: g.Until,
				Since: g.Since, Seen: g.Seen, Absent: g.Absent,
			}
			if !yield(one, err) || err != nil {
				return
			}
		}
	}
}

// askTimeout bounds how long a host may take to say whether it serves.
const askTimeout = time.Minute

// Dial implements restore.Cluster.
func (c *restoreCluster) Dial(ctx context.Context, h restore.Holder) (net.Conn, error) {
	conn, err := c.target.dialFiles(ctx, h.Host, h.Address)
	if err != nil {
		return nil, err
	}
	if err := ask.Ask(ctx, conn, ask.Request{Kind: ask.KindLocation, Name: string(h.Location)}, askTimeout); err != nil {
		return nil, err
	}
	return conn, nil
}
