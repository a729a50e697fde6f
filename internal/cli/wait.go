package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// conditionTypes are the conditions that each kind can have.
var conditionTypes = map[string][]string{
	v1.KindSource: {v1.ConditionAvailable, v1.ConditionScanned, v1.ConditionProtected, v1.ConditionVerified,
		v1.ConditionDeletionsHeld, v1.ConditionPlaceable},
	v1.KindLocation: {v1.ConditionAvailable, v1.ConditionWithinCapacity, v1.ConditionDrained},
	v1.KindHost:     {v1.ConditionReady},
	v1.KindCluster:  {v1.ConditionReady},
}

func (p *Program) waitCommand() *cobra.Command {
	var what string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "wait KIND/NAME... --for=condition=TYPE[=True|False]",
		Short: "Wait until a condition holds",
		Long:  "Wait until a condition holds, or with --for=delete until the object is gone. Exits 4 when that takes too long, saying what is missing.",
		Example: `  cbctl wait source/photos --for=condition=Protected --timeout 24h
  cbctl wait location/rpi1-usb --for=condition=Drained`,
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := parseRefs(args)
			if err != nil {
				return err
			}
			goals := make([]goal, len(refs))
			for i, r := range refs {
				if goals[i], err = parseGoal(r, what); err != nil {
					return err
				}
			}
			if timeout < 0 {
				return usagef("--timeout %v: it must not be negative", timeout)
			}
			return p.wait(cmd.Context(), goals, timeout)
		},
	}
	c.Flags().StringVar(&what, "for", "", "condition=`TYPE[=True|False]`, or delete")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait; 0 looks once")
	return c
}

// goal is what is waited for.
type goal struct {
	ref
	deleted   bool
	condition string
	status    metav1.ConditionStatus
}

func (g goal) String() string {
	if g.deleted {
		return "deletion"
	}
	return fmt.Sprintf("condition %s=%s", g.condition, g.status)
}

func parseGoal(r ref, what string) (goal, error) {
	g := goal{ref: r, status: metav1.ConditionTrue}
	if what == "delete" {
		g.deleted = true
		return g, nil
	}
	rest, ok := strings.CutPrefix(what, "condition=")
	if !ok {
		return g, usagef("--for is condition=TYPE[=True|False], or delete")
	}
	word, value, given := strings.Cut(rest, "=")
	types := conditionTypes[r.kind]
	if len(types) == 0 {
		return g, usagef("%s has no conditions", r)
	}
	i := slices.IndexFunc(types, func(t string) bool { return strings.EqualFold(t, word) })
	if i < 0 {
		return g, usagef("%s has no condition %q: it is one of %s", r, word, strings.Join(types, ", "))
	}
	g.condition = types[i]
	if !given {
		return g, nil
	}
	for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
		if strings.EqualFold(string(status), value) {
			g.status = status
			return g, nil
		}
	}
	return g, usagef("condition %s=%s: it is True, False or Unknown", word, value)
}

// wait looks again and again until every goal is reached. A daemon that restarts meanwhile does not end it.
func (p *Program) wait(ctx context.Context, goals []goal, timeout time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, timeout+patience)
	defer cancel()
	began := time.Now()
	deadline := began.Add(timeout)
	for {
		missing, err := p.lookAt(waiting, &goals)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !unreachable(err) && !errors.Is(err, context.DeadlineExceeded):
			return err
		case len(goals) == 0:
			return nil
		case !time.Now().Before(deadline):
			return timedOut(goals, timeout, missing, err)
		}
		// What took long may be noticed later than what comes at once.
		pause(waiting, min(p.Poll, max(time.Since(began)/20, 20*time.Millisecond), time.Until(deadline)))
	}
}

// lookAt takes the goals that are reached off the list and says what the first of the others lacks.
func (p *Program) lookAt(ctx context.Context, goals *[]goal) (missing string, err error) {
	err = p.ask(ctx, func(ctx context.Context, c Connection) error {
		for len(*goals) > 0 {
			why, err := lacks(ctx, c, (*goals)[0])
			if err != nil || why != "" {
				missing = why
				return err
			}
			if (*goals)[0].deleted {
				fmt.Fprintf(p.out, "%s deleted\n", (*goals)[0].ref)
			} else {
				fmt.Fprintf(p.out, "%s condition met\n", (*goals)[0].ref)
			}
			*goals = (*goals)[1:]
		}
		return nil
	})
	return missing, err
}

// lacks says what is missing to the goal, "" when it is reached. A status that speaks of an earlier spec says nothing yet.
func lacks(ctx context.Context, c admin.Resources, g goal) (string, error) {
	obj, err := get1(ctx, c, g.ref)
	if g.deleted {
		if admin.ReasonOf(err) == admin.NotFound {
			return "", nil
		}
		return "it is still there", err
	}
	if err != nil {
		return "", err
	}
	condition := meta.FindStatusCondition(v1.ConditionsOf(obj), g.condition)
	switch {
	case condition == nil:
		return "no host has reported it yet", nil
	case condition.ObservedGeneration != 0 && condition.ObservedGeneration < obj.GetGeneration():
		return "its latest change has not been acted upon yet", nil
	case condition.Status == g.status:
		return "", nil
	}
	why := fmt.Sprintf("it is %s", condition.Status)
	for _, more := range []string{condition.Reason, condition.Message} {
		if more != "" {
			why += ": " + more
		}
	}
	return why, nil
}

func timedOut(goals []goal, timeout time.Duration, missing string, err error) error {
	if missing == "" && err != nil {
		missing = err.Error()
	}
	if missing == "" {
		missing = "no answer in time"
	}
	e := admin.Errorf(admin.TimedOut, goals[0].ref.String(), "timed out after %v waiting for %s: %s", timeout, goals[0], missing)
	return e.WithHint("`cbctl describe %s %s` tells more", strings.ToLower(goals[0].kind), goals[0].name)
}
