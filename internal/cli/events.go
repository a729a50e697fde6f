package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

func (p *Program) eventsCommand() *cobra.Command {
	var watch bool
	var output string
	var limit int
	c := &cobra.Command{
		Use:               "events [KIND/NAME]",
		Short:             "Show what happened lately",
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			query := admin.EventQuery{Limit: limit}
			if len(args) > 0 {
				r, err := parseRef(args)
				if err != nil {
					return err
				}
				query.Kind, query.Name = r.kind, r.name
			}
			if output != "table" && output != "json" && output != "yaml" {
				return usagef("%q is no output format: it is one of table, json, yaml", output)
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error { return p.events(ctx, c, query, output, watch) })
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on, and show what happens")
	c.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT`: table, json or yaml")
	c.Flags().IntVar(&limit, "limit", 0, "only the newest `N`")
	return c
}

func (p *Program) events(ctx context.Context, c Connection, query admin.EventQuery, output string, watch bool) error {
	shown := map[string]int64{}
	t := eventTable(p.out)
	for first := true; ; first = false {
		events, err := c.Events(ctx, query)
		switch {
		case watch && ctx.Err() != nil:
			return nil //nolint:nilerr // the person has seen enough
		case err != nil && first:
			return err
		case err != nil:
			fmt.Fprintf(p.Err, "error: %s; trying again\n", oneLine(err.Error()))
		}
		events = newEvents(shown, events)
		if err := p.printEvents(t, events, output, watch); err != nil {
			return err
		}
		if first && len(events) == 0 && output == "table" {
			fmt.Fprintln(p.Err, "No events found.")
		}
		if !watch {
			return nil
		}
		if err := p.out.Flush(); err != nil {
			return err
		}
		if !pause(ctx, p.Poll) {
			return nil
		}
	}
}

// newEvents are those that were not shown, or have happened again since.
func newEvents(shown map[string]int64, events []admin.Event) []admin.Event {
	var fresh []admin.Event
	for _, e := range events {
		key := fmt.Sprint(e.First.UnixNano(), e.Kind, "/", e.Name, e.Reason, e.Host, e.Message)
		if count, ok := shown[key]; ok && count == e.Count {
			continue
		}
		shown[key] = e.Count
		fresh = append(fresh, e)
	}
	return fresh
}

func eventTable(w io.Writer) *table {
	return newTable(w, "LAST SEEN", "TYPE", "REASON", "OBJECT", "HOST", "MESSAGE")
}

func (p *Program) printEvents(t *table, events []admin.Event, output string, watch bool) error {
	switch {
	case output != "table" && watch:
		for _, e := range events {
			if err := printObject(p.out, output, e); err != nil {
				return err
			}
		}
		return nil
	case output != "table":
		return printObject(p.out, output, map[string]any{"apiVersion": v1.APIVersion, "kind": "EventList", "items": nonNil(events)})
	case len(events) == 0:
		return nil
	}
	for _, e := range events {
		t.row(eventAge(p.Now(), e), e.Type, e.Reason, v1.Ref(e.Kind, e.Name), string(e.Host), e.Message)
	}
	return t.flush()
}

// nonNil is the list as JSON should have it: [] and not null.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// eventAge is "5m", or "5m (x12 over 2h)".
func eventAge(now time.Time, e admin.Event) string {
	if e.Count <= 1 {
		return age(now, e.Last)
	}
	return fmt.Sprintf("%s (x%d over %s)", age(now, e.Last), e.Count, age(now, e.First))
}
