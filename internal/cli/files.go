package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// fileFlags are the flags of `cbctl get files`.
type fileFlags struct {
	underserved, overserved, unreplicated, deleted bool
	host                                           string
	limit                                          int
	next                                           string
}

func (f *fileFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.underserved, "underserved", false, "only files with fewer replicas than wanted")
	flags.BoolVar(&f.overserved, "overserved", false, "only files with more replicas than wanted")
	flags.BoolVar(&f.unreplicated, "unreplicated", false, "only files with no replica at all")
	flags.BoolVar(&f.deleted, "deleted", false, "only files that were deleted and are still kept")
	flags.StringVar(&f.host, "host", "", "only files with a replica on this `HOST`")
	flags.IntVar(&f.limit, "limit", 0, "at most `N` files")
	flags.StringVar(&f.next, "continue", "", "go on after a listing that --limit ended: metadata.continue of its JSON")
}

// first names a flag that is set, "" where none is.
func (f *fileFlags) first() string {
	switch {
	case f.underserved:
		return "underserved"
	case f.overserved:
		return "overserved"
	case f.unreplicated:
		return "unreplicated"
	case f.deleted:
		return "deleted"
	case f.host != "":
		return "host"
	case f.limit != 0:
		return "limit"
	case f.next != "":
		return "continue"
	}
	return ""
}

func (f *fileFlags) any() bool { return f.first() != "" }

// again is the command that goes on where a listing ended.
func (f *fileFlags) again(arg, next string) string {
	words := []string{"cbctl get files"}
	if arg != "" {
		words = append(words, shellQuoted(arg))
	}
	for _, flag := range []struct {
		set  bool
		name string
	}{{f.underserved, "--underserved"}, {f.overserved, "--overserved"}, {f.unreplicated, "--unreplicated"}, {f.deleted, "--deleted"}} {
		if flag.set {
			words = append(words, flag.name)
		}
	}
	if f.host != "" {
		words = append(words, "--host", f.host)
	}
	return strings.Join(append(words, "--limit", strconv.Itoa(f.limit), "--continue", next), " ")
}

// shellQuoted is a word that a shell takes as it is.
func shellQuoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r)
	}
	if strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// query is the question for one SOURCE[/PATH], "" for all sources.
func (f *fileFlags) query(arg string) (admin.FileQuery, error) {
	q := admin.FileQuery{
		Underserved: f.underserved, Overserved: f.overserved, Unreplicated: f.unreplicated, Deleted: f.deleted,
		Host: v1.HostName(f.host), Limit: f.limit, Continue: f.next,
	}
	set := 0
	for _, flag := range []bool{f.underserved, f.overserved, f.unreplicated, f.deleted} {
		if flag {
			set++
		}
	}
	if set > 1 {
		return q, usagef("--underserved, --overserved, --unreplicated and --deleted exclude one another")
	}
	if f.limit < 0 {
		return q, usagef("--limit %d: it must not be negative", f.limit)
	}
	if arg == "" {
		return q, nil
	}
	var err error
	if q.Source, q.Path, err = parseFilePath(arg); err != nil {
		return q, err
	}
	of, _, err := admin.ParseContinue(f.next)
	if err == nil && of != "" && of != q.Source {
		err = admin.Errorf(admin.Invalid, "--continue", "the token is of a listing of source %s, not of %s", of, q.Source)
	}
	return q, err
}

// filtered tells whether an empty answer says something about the filter, not about the path.
func filtered(q admin.FileQuery) bool {
	return q.Underserved || q.Overserved || q.Unreplicated || q.Deleted || q.Host != "" || q.Continue != ""
}

func (p *Program) getFiles(ctx context.Context, c Connection, args []string, o getOptions) error {
	arg, err := fileArgument(args)
	if err != nil {
		return err
	}
	if o.watch {
		return usagef("files cannot be watched: watch their source, `cbctl get sources -w`")
	}
	if o.selector != "" {
		return usagef("files have no labels")
	}
	query, err := o.files.query(arg)
	if err != nil {
		return err
	}
	if query.Host != "" {
		if _, err := get1(ctx, c, ref{v1.KindHost, string(query.Host)}); err != nil {
			return err
		}
	}
	out := p.filePrinter(o)
	found, next := 0, ""
	for page, err := range c.Files(ctx, query) {
		if err != nil {
			return err
		}
		for i := range page.Files {
			if err := out.file(&page.Files[i]); err != nil {
				return err
			}
		}
		if err := out.page(); err != nil {
			return err
		}
		found, next = found+len(page.Files), page.Continue
	}
	if err := out.end(next); err != nil {
		return err
	}
	if found == 0 && query.Path != "" && !filtered(query) {
		return admin.Errorf(admin.NotFound, arg, "there is no such file or folder").WithHint("`cbctl get files %s --deleted` lists what was deleted", query.Source)
	}
	p.afterFiles(o, arg, found, next)
	return nil
}

// fileArgument is the one SOURCE[/PATH] of "files [SOURCE[/PATH]]" or "file/SOURCE/PATH".
func fileArgument(args []string) (string, error) {
	if rest, ok := strings.CutPrefix(args[0], "file/"); ok {
		args = []string{"files", rest}
	}
	switch {
	case len(args) > 2:
		return "", usagef("one SOURCE/PATH at a time")
	case len(args) == 2:
		return args[1], nil
	}
	return "", nil
}

// afterFiles tells people, not scripts, what they might not notice.
func (p *Program) afterFiles(o getOptions, arg string, found int, next string) {
	if o.output == "json" || o.output == "yaml" || o.output == "name" {
		return
	}
	switch {
	case next != "":
		fmt.Fprintf(p.Err, "There are more: %s\n", o.files.again(arg, next))
	case found == 0:
		fmt.Fprintln(p.Err, "No files found.")
	}
}

// filePrinter prints files one after the other.
type filePrinter interface {
	file(*v1.File) error
	page() error // some files are complete: show them
	end(next string) error
}

func (p *Program) filePrinter(o getOptions) filePrinter {
	switch o.output {
	case "json", "yaml":
		return &listOfFiles{newListPrinter(p.out, o.output, "FileList")}
	case "name":
		return namesOfFiles{p}
	}
	return &tableOfFiles{program: p, options: o}
}

type listOfFiles struct{ list *listPrinter }

func (l *listOfFiles) file(f *v1.File) error {
	v1.SetKind(f)
	if f.Status.Replicas == nil {
		f.Status.Replicas = []v1.ReplicaStatus{}
	}
	return l.list.item(f)
}
func (l *listOfFiles) page() error           { return nil }
func (l *listOfFiles) end(next string) error { return l.list.end(next) }

type namesOfFiles struct{ p *Program }

func (n namesOfFiles) file(f *v1.File) error {
	_, err := fmt.Fprintln(n.p.out, printable(v1.RefOf(f)))
	return err
}
func (n namesOfFiles) page() error      { return nil }
func (n namesOfFiles) end(string) error { return nil }

// tableOfFiles flushes page by page, so that the first files show at once.
type tableOfFiles struct {
	program *Program
	options getOptions
	table   *table
}

func (t *tableOfFiles) file(f *v1.File) error {
	if t.table == nil {
		t.table = tableFor(t.program.out, v1.KindFile, t.options)
	}
	t.table.row(t.program.cells(f, t.options.output == "wide", false)...)
	return nil
}

func (t *tableOfFiles) page() error {
	if t.table == nil {
		return nil
	}
	if err := t.table.flush(); err != nil {
		return err
	}
	return t.program.out.Flush()
}

func (t *tableOfFiles) end(string) error { return t.page() }

func (p *Program) fileCells(f *v1.File) (narrow, wide []string) {
	confirmed := 0
	var held []string
	for _, r := range f.Status.Replicas {
		word := string(r.Location) + "@" + string(r.Host)
		if r.State == v1.ReplicaConfirmed {
			confirmed++
		} else {
			word += "(" + string(r.State) + ")"
		}
		held = append(held, word)
	}
	modified := f.Spec.ModTime
	if t, err := time.Parse(time.RFC3339Nano, modified); err == nil {
		modified = t.Local().Format("2006-01-02 15:04:05")
	}
	return []string{f.Name, size(f.Spec.Size), modified, fmt.Sprintf("%d/%d", confirmed, f.Status.DesiredReplicas), string(f.Status.Service)},
		[]string{strings.Join(held, ","), f.Spec.Mode, f.Spec.Digest}
}
