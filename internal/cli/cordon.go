package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// attempts is how often a change is tried again when somebody else changed the object meanwhile.
const attempts = 5

func (p *Program) cordonCommand() *cobra.Command {
	var duration time.Duration
	c := &cobra.Command{
		Use:   "cordon KIND/NAME",
		Short: "Take no more: a host or location keeps what it has",
		Long: `Take no more: a host or location keeps what it has, and counts as before.

With --for, a host is in maintenance that long: its absence starts no repair until then.`,
		Example:           "  cbctl cordon location/rpi1-usb\n  cbctl cordon host/rpi1 --for 4h",
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if duration < 0 {
				return usagef("--for %v: it must not be negative", duration)
			}
			return p.change(cmd.Context(), args, "cordoned", func(obj v1.Object) error { return p.cordon(obj, duration) })
		},
	}
	c.Flags().DurationVar(&duration, "for", 0, "of a host: maintenance of this length")
	return c
}

func (p *Program) cordon(obj v1.Object, duration time.Duration) error {
	switch o := obj.(type) {
	case *v1.Host:
		o.Spec.Cordoned = true
		if duration > 0 {
			until := metav1.NewTime(p.Now().Add(duration).Truncate(time.Second))
			o.Spec.CordonedUntil = &until
		}
	case *v1.Location:
		if duration > 0 {
			return usagef("--for is for hosts: a location has no maintenance of its own")
		}
		o.Spec.Cordoned = true
	}
	return nil
}

func (p *Program) uncordonCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "uncordon KIND/NAME",
		Short:             "Take replicas again: ends cordon and drain",
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.change(cmd.Context(), args, "uncordoned", func(obj v1.Object) error {
				switch o := obj.(type) {
				case *v1.Host:
					o.Spec.Cordoned, o.Spec.Draining, o.Spec.CordonedUntil = false, false, nil
				case *v1.Location:
					o.Spec.Cordoned, o.Spec.Draining = false, false
				}
				return nil
			})
		},
	}
}

func (p *Program) drainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "drain KIND/NAME",
		Short: "Empty a host or location safely: copied elsewhere first, then dropped",
		Long: `Empty a host or location safely. What it holds is copied elsewhere first, and dropped only when enough other hosts
have confirmed it. Wait for it with: cbctl wait location/NAME --for=condition=Drained`,
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.change(cmd.Context(), args, "draining", func(obj v1.Object) error {
				switch o := obj.(type) {
				case *v1.Host:
					o.Spec.Draining = true
				case *v1.Location:
					o.Spec.Draining = true
				}
				return nil
			})
		},
	}
}

// change edits the specs of hosts or locations; word says what they are then.
func (p *Program) change(ctx context.Context, args []string, word string, edit func(v1.Object) error) error {
	refs, err := parseRefs(args)
	if err != nil {
		return err
	}
	for _, r := range refs {
		if r.kind != v1.KindHost && r.kind != v1.KindLocation {
			return usagef("%s: only a host or a location can be %s", r, word)
		}
	}
	return p.ask(ctx, func(ctx context.Context, c Connection) error {
		for _, r := range refs {
			action, err := changeOne(ctx, c, r, edit)
			if err != nil {
				return err
			}
			if action == admin.Unchanged {
				fmt.Fprintf(p.out, "%s already %s\n", r, word)
			} else {
				fmt.Fprintf(p.out, "%s %s\n", r, word)
			}
		}
		return nil
	})
}

// changeOne reads, edits and writes, again when somebody else wrote in between.
func changeOne(ctx context.Context, c admin.Resources, r ref, edit func(v1.Object) error) (admin.Action, error) {
	for attempt := 1; ; attempt++ {
		obj, err := get1(ctx, c, r)
		if err != nil {
			return "", err
		}
		if err := edit(obj); err != nil {
			return "", err
		}
		v1.ClearStatus(obj)
		applied, err := c.Apply(ctx, []v1.Object{obj}, admin.ApplyOptions{})
		switch {
		case admin.ReasonOf(err) == admin.Conflict && attempt < attempts:
			continue
		case err != nil:
			return "", err
		}
		return applied[0].Action, nil
	}
}
