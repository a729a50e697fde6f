package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// watch prints what is there, and then each object that has changed, until the person has seen enough. It looks again and again:
// what counts is the present state, and nobody has to remember who is watching.
func (p *Program) watch(ctx context.Context, c Connection, w wanted, selector labels.Selector, o getOptions) error {
	seen := &watched{program: p, wanted: w, options: o, shown: map[string]shown{}, tables: map[string]*table{}}
	look := fetch // what is named has to be there at first
	for first := true; ; first = false {
		objs, err := look(ctx, c, w, selector)
		look = fetchPresent
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the person has seen enough
		case err != nil && first:
			return err
		case err != nil:
			fmt.Fprintf(p.Err, "error: %s; trying again\n", oneLine(err.Error()))
		default:
			if err := seen.update(objs); err != nil {
				return err
			}
		}
		if err := p.out.Flush(); err != nil {
			return err
		}
		if !pause(ctx, p.Poll) {
			return nil
		}
	}
}

// fetchPresent is fetch without what is named and gone.
func fetchPresent(ctx context.Context, c Connection, w wanted, selector labels.Selector) ([]v1.Object, error) {
	var all []v1.Object
	for _, kind := range w.kinds {
		each := [][]string{nil}
		if names := w.names[kind]; len(names) > 0 {
			each = slices.Collect(slices.Chunk(names, 1))
		}
		for _, names := range each {
			objs, err := fetch(ctx, c, wanted{kinds: []string{kind}, names: map[string][]string{kind: names}}, selector)
			if err != nil && admin.ReasonOf(err) != admin.NotFound {
				return nil, err
			}
			all = append(all, objs...)
		}
	}
	return all, nil
}

// watched is what a watch has shown so far.
type watched struct {
	program *Program
	wanted  wanted
	options getOptions
	shown   map[string]shown // by reference
	tables  map[string]*table
}

// shown is an object as it was when it was shown last, and what of it was to be seen.
type shown struct {
	object v1.Object
	looks  string
}

// What happened to an object, in the words of kubectl.
const (
	eventAdded    = "ADDED"
	eventModified = "MODIFIED"
	eventDeleted  = "DELETED"
)

// update prints what differs from what was shown.
func (s *watched) update(objs []v1.Object) error {
	gone := maps.Clone(s.shown)
	for _, obj := range objs {
		name, looks := v1.RefOf(obj), s.looks(obj)
		before, known := s.shown[name]
		delete(gone, name)
		event := eventModified
		switch {
		case !known:
			event = eventAdded
		case before.looks == looks:
			continue
		}
		s.shown[name] = shown{obj, looks}
		if err := s.print(event, obj); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		delete(s.shown, name)
		if err := s.print(eventDeleted, gone[name].object); err != nil {
			return err
		}
	}
	return nil
}

// passing are the columns that differ each time somebody looks.
var passing = []string{"AGE", "LAST SEEN", "LAST SCAN", "SCAN TOOK"}

// looks is what is to be seen of an object, but for what changes with time alone.
func (s *watched) looks(obj v1.Object) string {
	if s.options.output == "json" || s.options.output == "yaml" {
		data, _ := json.Marshal(obj)
		return string(data)
	}
	heads := headers[v1.KindOf(obj)]
	cells := s.cells(obj)
	for i, head := range slices.Concat(heads.narrow, heads.wide)[:len(cells)] {
		if slices.Contains(passing, head) {
			cells[i] = ""
		}
	}
	return strings.Join(cells, "\x00")
}

func (s *watched) cells(obj v1.Object) []string {
	return s.program.cells(obj, s.options.output == "wide", s.wanted.prefixed)
}

func (s *watched) print(event string, obj v1.Object) error {
	p, kind := s.program, v1.KindOf(obj)
	switch s.options.output {
	case "json", "yaml":
		return s.printObject(event, obj)
	case "name":
		word := map[string]string{eventDeleted: " deleted"}[event]
		_, err := fmt.Fprintln(p.out, v1.RefOf(obj)+word)
		return err
	}
	if s.tables[kind] == nil {
		s.tables[kind] = tableFor(p.out, kind, s.options)
	}
	cells := s.cells(obj)
	if i := slices.Index(headers[kind].narrow, "STATUS"); i >= 0 && event == eventDeleted {
		cells[i] = "Deleted"
	}
	s.tables[kind].row(cells...)
	return s.tables[kind].flush()
}

// printObject prints an object, or with --output-watch-events what happened to it. Without, that it is gone is told beside the output.
func (s *watched) printObject(event string, obj v1.Object) error {
	p := s.program
	if !s.options.events && event == eventDeleted {
		_, err := fmt.Fprintf(p.Err, "%s deleted\n", v1.RefOf(obj))
		return err
	}
	var out any = obj
	if s.options.events {
		out = struct {
			Type   string    `json:"type"`
			Object v1.Object `json:"object"`
		}{event, obj}
	}
	if s.options.output == "yaml" {
		fmt.Fprintln(p.out, "---")
	}
	return printObject(p.out, s.options.output, out)
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
