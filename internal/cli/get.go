package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// getOptions are the flags of `cbctl get`.
type getOptions struct {
	output    string
	watch     bool
	events    bool
	selector  string
	noHeaders bool
	files     fileFlags
}

func (p *Program) getCommand() *cobra.Command {
	var o getOptions
	c := &cobra.Command{
		Use:   "get KIND [NAME...]",
		Short: "List sources, locations, hosts, files, the cluster, or all",
		Long: `List objects of a kind: sources (src), locations (loc), hosts, files, cluster, or all of them.

With -w a row is printed again when what it shows has changed, ages aside, and with the status Deleted when its object is gone.

Files are streamed, so a source of any size can be listed. SOURCE/PATH names a file, or a folder with all below it.`,
		Example: `  cbctl get sources
  cbctl get locations,hosts -o wide
  cbctl get source photos -o yaml
  cbctl get files photos/2024 --underserved
  cbctl get files photos/2024/a.jpg -o wide     # who has it`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error { return p.get(ctx, c, args, o) })
		},
	}
	flags := c.Flags()
	flags.StringVarP(&o.output, "output", "o", "table", "`FORMAT`: table, wide, json, yaml or name")
	flags.BoolVarP(&o.watch, "watch", "w", false, "go on, and show what changes")
	flags.BoolVar(&o.events, "output-watch-events", false, "with -w and -o json or yaml: print {type, object}, where type is ADDED, MODIFIED or DELETED")
	flags.StringVarP(&o.selector, "selector", "l", "", "only objects whose labels match: tier=gold,site!=attic")
	flags.BoolVar(&o.noHeaders, "no-headers", false, "leave the column heads out")
	o.files.add(flags)
	return c
}

func (p *Program) get(ctx context.Context, c Connection, args []string, o getOptions) error {
	if !slices.Contains([]string{"", "table", "wide", "json", "yaml", "name"}, o.output) {
		return usagef("%q is no output format: it is one of table, wide, json, yaml, name", o.output)
	}
	if o.events && !(o.watch && (o.output == "json" || o.output == "yaml")) {
		return usagef("--output-watch-events is for -w with -o json or yaml")
	}
	selector, err := labels.Parse(o.selector)
	if err != nil {
		return usagef("selector %q: %v", o.selector, err)
	}
	if kinds, ok := v1.ResourceFor(args[0]); ok && kinds.Kind == v1.KindFile || strings.HasPrefix(args[0], "file/") {
		return p.getFiles(ctx, c, args, o)
	}
	if o.files.any() {
		return usagef("--%s is for files: cbctl get files", o.files.first())
	}
	wanted, err := wantedOf(args)
	if err != nil {
		return err
	}
	if o.watch {
		return p.watch(ctx, c, wanted, selector, o)
	}
	objs, err := fetch(ctx, c, wanted, selector)
	if err != nil {
		return err
	}
	return p.printObjects(objs, wanted, o)
}

// wanted is what a get asks for: kinds, and names of each (none: all of the kind).
type wanted struct {
	kinds []string
	names map[string][]string
	// single: exactly one object is named, so it is printed by itself, not as a list.
	single bool
	// prefixed: names are printed with their kind.
	prefixed bool
}

// wantedOf reads "all", "KIND[,KIND…] [NAME…]" or "KIND/NAME…".
func wantedOf(args []string) (wanted, error) {
	w := wanted{names: map[string][]string{}}
	if args[0] == "all" {
		if len(args) > 1 {
			return w, usagef("all takes no names")
		}
		w.kinds, w.prefixed = []string{v1.KindCluster, v1.KindHost, v1.KindLocation, v1.KindSource}, true
		return w, nil
	}
	if strings.Contains(args[0], "/") {
		refs, err := parseRefs(args)
		if err != nil {
			return w, err
		}
		for _, r := range refs {
			if !slices.Contains(w.kinds, r.kind) {
				w.kinds = append(w.kinds, r.kind)
			}
			w.names[r.kind] = append(w.names[r.kind], r.name)
		}
		w.single, w.prefixed = len(refs) == 1, len(w.kinds) > 1
		return w, nil
	}
	for word := range strings.SplitSeq(args[0], ",") {
		kind, err := parseKind(word)
		if err != nil {
			return w, err
		}
		if kind == v1.KindFile {
			return w, usagef("files are listed by themselves: cbctl get files")
		}
		w.kinds = append(w.kinds, kind)
		w.names[kind] = args[1:]
	}
	w.single, w.prefixed = len(args) == 2 && len(w.kinds) == 1, len(w.kinds) > 1
	return w, nil
}

// fetch gets what is wanted, in the order of its kinds.
func fetch(ctx context.Context, c Connection, w wanted, selector labels.Selector) ([]v1.Object, error) {
	var all []v1.Object
	for _, kind := range w.kinds {
		objs, err := c.Get(ctx, kind, w.names[kind]...)
		if err != nil {
			return nil, err
		}
		all = append(all, slices.DeleteFunc(objs, func(obj v1.Object) bool { return !selector.Matches(labels.Set(obj.GetLabels())) })...)
	}
	return all, nil
}

func (p *Program) printObjects(objs []v1.Object, w wanted, o getOptions) error {
	switch o.output {
	case "json", "yaml":
		if w.single && len(objs) == 1 {
			return printObject(p.out, o.output, objs[0])
		}
		return printList(p.out, o.output, w.kinds, objs)
	case "name":
		for _, obj := range objs {
			fmt.Fprintln(p.out, v1.RefOf(obj))
		}
		return nil
	}
	if len(objs) == 0 {
		fmt.Fprintln(p.Err, "No objects found.")
		return nil
	}
	return p.printTables(objs, w, o)
}

// printTables is one table a kind, an empty line between them.
func (p *Program) printTables(objs []v1.Object, w wanted, o getOptions) error {
	first := true
	for _, kind := range w.kinds {
		var t *table
		for _, obj := range objs {
			if v1.KindOf(obj) != kind {
				continue
			}
			if t == nil {
				if !first {
					fmt.Fprintln(p.out)
				}
				t, first = tableFor(p.out, kind, o), false
			}
			t.row(p.cells(obj, o.output == "wide", w.prefixed)...)
		}
		if t != nil {
			if err := t.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// get1 is one object by its name.
func get1(ctx context.Context, c admin.Resources, r ref) (v1.Object, error) {
	objs, err := c.Get(ctx, r.kind, r.name)
	switch {
	case err != nil:
		return nil, err
	case len(objs) != 1:
		return nil, notFound(r)
	}
	return objs[0], nil
}
