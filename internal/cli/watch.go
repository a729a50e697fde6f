package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// watch prints what is there, and then each object that has changed, until the person has seen enough. It looks again and again:
// what counts is the present state, and nobody has to remember who is watching.
func (p *Program) watch(ctx context.Context, c Connection, w wanted, selector labels.Selector, o getOptions) error {
	shown, tables := map[string]string{}, map[string]*table{}
	for first := true; ; first = false {
		objs, err := fetch(ctx, c, w, selector)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the person has seen enough
		case err != nil && first:
			return err
		case err != nil:
			fmt.Fprintf(p.Err, "error: %s; trying again\n", oneLine(err.Error()))
		}
		for _, obj := range changedSince(shown, objs) {
			if err := p.printChange(obj, w, o, tables); err != nil {
				return err
			}
		}
		if err == nil {
			p.printDeleted(shown, objs)
		}
		if err := p.out.Flush(); err != nil {
			return err
		}
		if !pause(ctx, p.Poll) {
			return nil
		}
	}
}

// changedSince returns the objects that are not as they were shown, and notes them as shown.
func changedSince(shown map[string]string, objs []v1.Object) []v1.Object {
	var changed []v1.Object
	for _, obj := range objs {
		data, err := json.Marshal(obj)
		if err != nil || shown[v1.RefOf(obj)] == string(data) {
			continue
		}
		shown[v1.RefOf(obj)] = string(data)
		changed = append(changed, obj)
	}
	return changed
}

func (p *Program) printChange(obj v1.Object, w wanted, o getOptions, tables map[string]*table) error {
	kind := v1.KindOf(obj)
	switch o.output {
	case "json", "yaml":
		if o.output == "yaml" {
			fmt.Fprintln(p.out, "---")
		}
		return printObject(p.out, o.output, obj)
	case "name":
		fmt.Fprintln(p.out, v1.RefOf(obj))
		return nil
	}
	if tables[kind] == nil {
		tables[kind] = tableFor(p.out, kind, o)
	}
	tables[kind].row(p.cells(obj, o.output == "wide", w.prefixed)...)
	return tables[kind].flush()
}

func (p *Program) printDeleted(shown map[string]string, objs []v1.Object) {
	present := map[string]bool{}
	for _, obj := range objs {
		present[v1.RefOf(obj)] = true
	}
	for name := range shown {
		if !present[name] {
			delete(shown, name)
			fmt.Fprintf(p.Err, "%s deleted\n", name)
		}
	}
}

// pause waits; it tells whether there is still somebody to go on for.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// unreachable tells whether err says that the daemon, not the question, is the trouble.
func unreachable(err error) bool { return admin.ReasonOf(err) == admin.Unavailable }
