package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// maxInput bounds what is read from one file: a whole configuration is far smaller.
const maxInput = 64 << 20

func (p *Program) applyCommand() *cobra.Command {
	var files []string
	var recursive bool
	var dryRun string
	c := &cobra.Command{
		Use:   "apply -f FILE|DIR|-",
		Short: "Make the cluster's configuration hold what files say",
		Long: `Make the cluster's configuration hold what files say: create what is not there, change what differs.

All objects are checked before the first is written. What cordon and drain have set stays as it is unless the file mentions it.`,
		Example: `  cbctl apply -f home.yaml
  cbctl apply -f config/ --dry-run=server`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkDryRun(dryRun); err != nil {
				return err
			}
			docs, err := p.readDocuments(files, recursive)
			if err != nil {
				return err
			}
			if dryRun == "client" {
				return p.applyHere(cmd.Context(), docs)
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error {
				return p.apply(ctx, c, docs, admin.ApplyOptions{DryRun: dryRun == "server"})
			})
		},
	}
	c.Flags().StringSliceVarP(&files, "filename", "f", nil, "`FILE`, folder of files (*.yaml, *.yml, *.json), or - for standard input")
	c.Flags().BoolVarP(&recursive, "recursive", "R", false, "read the folders below as well")
	addDryRun(c, &dryRun)
	return c
}

func addDryRun(c *cobra.Command, dryRun *string) {
	c.Flags().StringVar(dryRun, "dry-run", "none", "change nothing: `client` checks the input here, server also asks whether it would be accepted")
	c.Flags().Lookup("dry-run").NoOptDefVal = "client"
}

func checkDryRun(word string) error {
	if !slices.Contains([]string{"none", "client", "server"}, word) {
		return usagef("--dry-run=%s: it is client, server or none", word)
	}
	return nil
}

// readDocuments reads and checks all files; the mistakes of all are told at once.
func (p *Program) readDocuments(names []string, recursive bool) ([]v1.Document, error) {
	if len(names) == 0 {
		return nil, usagef("name a file, a folder, or - with -f")
	}
	var docs []v1.Document
	var wrong v1.FileErrors
	for _, name := range names {
		files, err := filesOf(name, recursive)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			more, err := p.readFile(file)
			var here v1.FileErrors
			switch {
			case errors.As(err, &here):
				wrong = append(wrong, here...)
			case err != nil:
				return nil, err
			}
			docs = append(docs, more...)
		}
	}
	wrong = append(wrong, twice(docs)...)
	if len(wrong) > 0 {
		return nil, wrong
	}
	if len(docs) == 0 {
		return nil, admin.Errorf(admin.Invalid, strings.Join(names, ", "), "no resource in there")
	}
	return docs, nil
}

// twice finds objects that are written more than once: which one should hold?
func twice(docs []v1.Document) (wrong v1.FileErrors) {
	first := map[string]v1.Document{}
	for _, d := range docs {
		name := v1.RefOf(d.Object)
		if before, ok := first[name]; ok {
			wrong = append(wrong, &v1.FileError{File: d.File, Line: d.Line, Message: fmt.Sprintf("%s is in %s:%d already", name, before.File, before.Line)})
			continue
		}
		first[name] = d
	}
	return wrong
}

// filesOf is name itself, or the files of a folder that hold resources by their names, sorted.
func filesOf(name string, recursive bool) ([]string, error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fileFault(name, err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var files []string
	err = filepath.WalkDir(name, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return fileFault(path, err)
		case d.IsDir() && path != name && !recursive:
			return filepath.SkipDir
		case !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

func fileFault(name string, err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	reason := admin.Failed
	if errors.Is(err, os.ErrNotExist) {
		reason = admin.NotFound
	}
	return admin.Errorf(reason, name, "%v", err)
}

func (p *Program) readFile(name string) ([]v1.Document, error) {
	from, shown := p.In, "standard input"
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fileFault(name, err)
		}
		defer file.Close()
		from, shown = file, name
	}
	data, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	switch {
	case err != nil:
		return nil, fileFault(shown, err)
	case len(data) > maxInput:
		return nil, admin.Errorf(admin.Invalid, shown, "is larger than %s", size(maxInput))
	}
	return v1.Decode(data, shown)
}

// apply gives all objects to the daemon at once.
func (p *Program) apply(ctx context.Context, c Connection, docs []v1.Document, opts admin.ApplyOptions) error {
	objs, err := desiredObjects(ctx, c, docs)
	if err != nil {
		return err
	}
	return p.applyObjects(ctx, c, objs, opts)
}

func (p *Program) applyObjects(ctx context.Context, c Connection, objs []v1.Object, opts admin.ApplyOptions) error {
	applied, err := c.Apply(ctx, objs, opts)
	if err != nil {
		return err
	}
	suffix := ""
	if opts.DryRun {
		suffix = " (dry run)"
	}
	for _, a := range applied {
		fmt.Fprintf(p.out, "%s %s%s\n", v1.RefOf(a.Object), a.Action, suffix)
	}
	if err := p.out.Flush(); err != nil {
		return err
	}
	for _, a := range applied {
		for _, warning := range a.Warnings {
			fmt.Fprintf(p.Err, "warning: %s\n", oneLine(warning))
		}
	}
	return nil
}

// applyHere is apply --dry-run=client: it checks the input by itself, and where a daemon answers says what would change.
func (p *Program) applyHere(ctx context.Context, docs []v1.Document) error {
	objs := make([]v1.Object, len(docs))
	for i, d := range docs {
		objs[i] = d.Object
	}
	if errs, _ := v1.ValidateSet(objs); len(errs) > 0 {
		return findings(errs)
	}
	err := p.ask(ctx, func(ctx context.Context, c Connection) error {
		for _, d := range docs {
			live, err := get1(ctx, c, ref{v1.KindOf(d.Object), d.Object.GetName()})
			if err != nil && admin.ReasonOf(err) != admin.NotFound {
				return err
			}
			fmt.Fprintf(p.out, "%s %s (dry run)\n", v1.RefOf(d.Object), wouldBe(live, d))
		}
		return nil
	})
	if !unreachable(err) {
		return err
	}
	for _, d := range docs {
		fmt.Fprintf(p.out, "%s created (dry run)\n", v1.RefOf(d.Object))
	}
	return nil
}

func wouldBe(live v1.Object, d v1.Document) admin.Action {
	if live == nil {
		return admin.Created
	}
	want := d.Object.DeepCopyObject().(v1.Object)
	keepOperations(want, live, &d)
	if before, after := userPart(live), userPart(want); before == after {
		return admin.Unchanged
	}
	return admin.Configured
}

// findings is what is wrong between objects, one line each.
func findings(errs []v1.Finding) error {
	lines := make(v1.FileErrors, len(errs))
	for i, f := range errs {
		lines[i] = &v1.FileError{File: f.Refs[0], Field: f.Field, Message: f.Message}
	}
	return lines
}
