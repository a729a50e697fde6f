package web

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	v1 "clusterbackup/api/v1"
)

// view is what the page shows, as texts.
type view struct {
	Host, Version, Time string
	Verdict             verdict
	Sources             []sourceRow
	Locations           []locationRow
	Hosts               []hostRow
	Trouble             []trouble
	// Gaps are the kinds that could not be read, and why.
	Gaps []string
}

// verdict is the sentence on top.
type verdict struct {
	Mood string // good, bad or unknown: also the style
	Text string
}

type sourceRow struct {
	Name, Host, Path          string
	Files, Size               string
	Protected, Scanned        string
	Mood                      string
	Underserved, Unreplicated int64
	Served, Total             int64 // for the bar
	Histogram                 string
}

type locationRow struct {
	Name, Host, Path, Mood, State string
	Used, Capacity                int64 // for the bar
	UsedText, FreeText            string
	Replicas                      int64
	Waiting                       string
}

type hostRow struct{ Name, Address, Mood, State, Version, Seen string }

// trouble is one condition that is not as it should be, or one path that cannot be protected.
type trouble struct{ Ref, What, Message, Since string }

// maxTrouble bounds the page: what is more is told by cbctl describe.
const maxTrouble = 50

func gather(ctx context.Context, from Resources, opts Options) view {
	now := opts.Now()
	v := view{Host: string(opts.Host), Version: opts.Version, Time: now.Format("2006-01-02 15:04:05 MST")}
	read := func(kind string) []v1.Object {
		objs, err := from.Get(ctx, kind)
		if err != nil {
			v.Gaps = append(v.Gaps, fmt.Sprintf("%ss: %v", strings.ToLower(kind), err))
		}
		return objs
	}
	for _, obj := range read(v1.KindSource) {
		if s, ok := obj.(*v1.Source); ok {
			v.Sources = append(v.Sources, sourceRowOf(s, now))
		}
		v.addTrouble(obj, now)
	}
	for _, obj := range read(v1.KindLocation) {
		if l, ok := obj.(*v1.Location); ok {
			v.Locations = append(v.Locations, locationRowOf(l))
		}
		v.addTrouble(obj, now)
	}
	for _, obj := range read(v1.KindHost) {
		if h, ok := obj.(*v1.Host); ok {
			v.Hosts = append(v.Hosts, hostRowOf(h, now))
		}
		v.addTrouble(obj, now)
	}
	v.Verdict = v.judge()
	return v
}

// judge is about sources alone: that a host is down matters as far as files lack replicas.
func (v *view) judge() verdict {
	bad, unknown := 0, 0
	for _, s := range v.Sources {
		switch s.Mood {
		case bads:
			bad++
		case unknowns:
			unknown++
		}
	}
	switch {
	case bad > 0:
		return verdict{bads, fmt.Sprintf("%d of %d sources not fully protected", bad, len(v.Sources))}
	case len(v.Gaps) > 0 || unknown > 0:
		return verdict{unknowns, "Not everything is known"}
	case len(v.Sources) == 0:
		return verdict{unknowns, "Nothing to protect yet: cbctl create source"}
	}
	return verdict{goods, "Everything is protected"}
}

// Moods, also the names of styles.
const (
	goods    = "good"
	bads     = "bad"
	unknowns = "unknown"
)

// moodOf is whether a condition is as it should be.
func moodOf(obj v1.Object, condition string) string {
	c := meta.FindStatusCondition(v1.ConditionsOf(obj), condition)
	switch {
	case c == nil || c.Status == metav1.ConditionUnknown:
		return unknowns
	case (c.Status == metav1.ConditionTrue) == v1.GoodWhenTrue(condition):
		return goods
	}
	return bads
}

func sourceRowOf(s *v1.Source, now time.Time) sourceRow {
	row := sourceRow{
		Name: s.Name, Host: string(s.Spec.Host), Path: s.Spec.Path,
		Files: fmt.Sprint(s.Status.Files), Size: size(s.Status.Bytes),
		Mood: moodOf(s, v1.ConditionProtected), Scanned: "never",
		Underserved: s.Status.Underserved, Served: s.Status.Files - s.Status.Underserved, Total: s.Status.Files,
		Histogram: histogram(s.Status.Replicas),
	}
	row.Protected = map[string]string{goods: "yes", bads: "no", unknowns: "unknown"}[row.Mood]
	if len(s.Status.Replicas) > 0 {
		row.Unreplicated = s.Status.Replicas[0]
	}
	if s.Status.LastScan != nil {
		row.Scanned = since(now, s.Status.LastScan.Time)
	}
	if moodOf(s, v1.ConditionAvailable) == unknowns { // its host does not answer
		row.Files, row.Size, row.Scanned = unknowns, unknowns, unknowns
	}
	if row.Mood == goods && (moodOf(s, v1.ConditionAvailable) == bads || moodOf(s, v1.ConditionDeletionsHeld) == bads) {
		row.Mood = bads
	}
	return row
}

// histogram is "400 × 2, 12 × 1": files by replicas, most replicas first.
func histogram(counts []int64) string {
	var parts []string
	for n := len(counts) - 1; n >= 0; n-- {
		if counts[n] > 0 {
			parts = append(parts, fmt.Sprintf("%d × %d", counts[n], n))
		}
	}
	return strings.Join(parts, ", ")
}

func locationRowOf(l *v1.Location) locationRow {
	row := locationRow{
		Name: l.Name, Host: string(l.Spec.Host), Path: l.Spec.Path, Mood: moodOf(l, v1.ConditionAvailable),
		Used: l.Status.Used, Capacity: l.Status.Capacity, UsedText: size(l.Status.Used) + " of " + size(l.Status.Capacity),
		FreeText: size(l.Status.Free), Replicas: l.Status.Replicas, Waiting: l.Status.Waiting,
	}
	row.State = map[string]string{goods: "available", bads: "not available", unknowns: "unknown"}[row.Mood]
	if row.Mood == unknowns { // its host does not answer
		row.UsedText, row.FreeText = unknowns, unknowns
	}
	switch {
	case l.Spec.Draining && moodOf(l, v1.ConditionDrained) == goods:
		row.State += ", drained"
	case l.Spec.Draining:
		row.State += ", draining"
	case l.Spec.Cordoned:
		row.State += ", cordoned"
	}
	if row.Mood == goods && moodOf(l, v1.ConditionWithinCapacity) == bads {
		row.Mood, row.State = bads, row.State+", over capacity"
	}
	return row
}

func hostRowOf(h *v1.Host, now time.Time) hostRow {
	row := hostRow{Name: h.Name, Address: h.Spec.Address, Mood: moodOf(h, v1.ConditionReady), Version: h.Status.Version, Seen: "never"}
	row.State = map[string]string{goods: "ready", bads: "not ready", unknowns: "unknown"}[row.Mood]
	switch {
	case h.Spec.Draining:
		row.State += ", draining"
	case h.Spec.CordonedUntil != nil && now.Before(h.Spec.CordonedUntil.Time):
		row.State += ", in maintenance"
	case h.Spec.Cordoned:
		row.State += ", cordoned"
	}
	if h.Status.LastSeen != nil {
		row.Seen = since(now, h.Status.LastSeen.Time)
	}
	return row
}

// addTrouble lists an object's conditions that are bad, and a source's problems.
func (v *view) addTrouble(obj v1.Object, now time.Time) {
	add := func(t trouble) {
		if len(v.Trouble) < maxTrouble {
			v.Trouble = append(v.Trouble, t)
		}
	}
	for _, c := range v1.ConditionsOf(obj) {
		if c.Type != v1.ConditionDrained && moodOf(obj, c.Type) == bads {
			add(trouble{v1.RefOf(obj), c.Type + " is " + string(c.Status), joined(c.Reason, c.Message), since(now, c.LastTransitionTime.Time)})
		}
	}
	if s, ok := obj.(*v1.Source); ok {
		for _, p := range s.Status.Problems {
			add(trouble{v1.RefOf(obj) + "/" + p.Path, p.Reason, p.Message, ""})
		}
	}
}

func joined(reason, message string) string {
	if reason != "" && message != "" {
		return reason + ": " + message
	}
	return reason + message
}

func since(now, then time.Time) string { return duration.HumanDuration(now.Sub(then)) + " ago" }

// size is bytes for people, in powers of 1024.
func size(bytes int64) string {
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}
	value, unit := float64(bytes), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		if value /= 1024; value < 1023.5 {
			break
		}
	}
	return fmt.Sprintf("%.3g %s", value, unit)
}
