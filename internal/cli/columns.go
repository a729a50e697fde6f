package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	v1 "clusterbackup/api/v1"
)

// headers are a kind's columns, and those that -o wide adds.
var headers = map[string]struct{ narrow, wide []string }{
	v1.KindSource: {
		[]string{"NAME", "HOST", "FILES", "SIZE", "REPLICAS", "PROTECTED", "UNDERSERVED", "STATUS", "AGE"},
		[]string{"PATH", "OVERSERVED", "PROBLEMS", "LAST SCAN", "SCAN TOOK", "LABELS"},
	},
	v1.KindLocation: {
		[]string{"NAME", "HOST", "CAPACITY", "USED", "FREE", "REPLICAS", "STATUS", "AGE"},
		[]string{"PATH", "VERSIONS", "WAITING FOR", "LABELS"},
	},
	v1.KindHost: {
		[]string{"NAME", "STATUS", "ADDRESS", "VERSION", "LAST SEEN", "AGE"},
		[]string{"LIMITS", "LABELS"},
	},
	v1.KindCluster: {
		[]string{"NAME", "HOSTS", "READY", "MIN REPLICAS", "POLL", "HOST TIMEOUT", "REPAIR AFTER", "AGE"},
		[]string{"UID"},
	},
	v1.KindFile: {
		[]string{"NAME", "SIZE", "MODIFIED", "REPLICAS", "SERVICE"},
		[]string{"HELD BY", "MODE", "SHA256"},
	},
}

// tableFor makes the table of a kind.
func tableFor(w io.Writer, kind string, o getOptions) *table {
	heads := headers[kind].narrow
	if o.output == "wide" {
		heads = append(append([]string{}, heads...), headers[kind].wide...)
	}
	if o.noHeaders {
		return headless(w, len(heads))
	}
	return newTable(w, heads...)
}

// cells are an object's row. Specs are shown as they take effect.
func (p *Program) cells(obj v1.Object, wide, prefixed bool) []string {
	var narrow, more []string
	switch o := obj.(type) {
	case *v1.Source:
		narrow, more = p.sourceCells(o)
	case *v1.Location:
		narrow, more = p.locationCells(o)
	case *v1.Host:
		narrow, more = p.hostCells(o)
	case *v1.Cluster:
		narrow, more = p.clusterCells(o)
	case *v1.File:
		narrow, more = p.fileCells(o)
	}
	if prefixed {
		narrow[0] = v1.RefOf(obj)
	}
	if wide {
		return append(narrow, more...)
	}
	return narrow
}

func (p *Program) sourceCells(s *v1.Source) (narrow, wide []string) {
	scanned := told(s, v1.ConditionScanned, "never")
	if s.Status.LastScan != nil {
		scanned = age(p.Now(), s.Status.LastScan.Time) + " ago"
	}
	took := ""
	if s.Status.ScanDuration != nil {
		took = s.Status.ScanDuration.Round(time.Millisecond).String()
	}
	figure := func(n int64) string { return told(s, v1.ConditionAvailable, fmt.Sprint(n)) }
	return []string{
			s.Name, string(s.Spec.Host), figure(s.Status.Files), told(s, v1.ConditionAvailable, size(s.Status.Bytes)), wantedReplicas(&s.Spec),
			statusOf(s, v1.ConditionProtected), figure(s.Status.Underserved), sourceStatus(s), p.ageOf(s),
		}, []string{
			s.Spec.Path, figure(s.Status.Overserved), figure(s.Status.ProblemCount), scanned, took, labels.FormatLabels(s.Labels),
		}
}

// told is text, or that it is not known if the host that could tell the condition, and with it the text, does not answer.
func told(obj v1.Object, condition, text string) string {
	if c := meta.FindStatusCondition(v1.ConditionsOf(obj), condition); c != nil && c.Status == metav1.ConditionUnknown {
		return unknown
	}
	return text
}

// wantedReplicas is "2", "2-3", or "default" where the cluster decides.
func wantedReplicas(s *v1.SourceSpec) string {
	switch {
	case s.MinReplicas == 0:
		return "default"
	case s.MaxReplicas > s.MinReplicas:
		return fmt.Sprintf("%d-%d", s.MinReplicas, s.MaxReplicas)
	}
	return fmt.Sprint(s.MinReplicas)
}

// sourceStatus is the first thing that a person should look at.
func sourceStatus(s *v1.Source) string {
	for _, check := range []struct {
		condition string
		bad       metav1.ConditionStatus
	}{
		{v1.ConditionAvailable, metav1.ConditionFalse},
		{v1.ConditionDeletionsHeld, metav1.ConditionTrue},
		{v1.ConditionScanned, metav1.ConditionFalse},
		{v1.ConditionPlaceable, metav1.ConditionFalse},
		{v1.ConditionProtected, metav1.ConditionFalse},
		{v1.ConditionVerified, metav1.ConditionFalse},
	} {
		if c := meta.FindStatusCondition(s.Status.Conditions, check.condition); c != nil && c.Status == check.bad {
			return problemWord(c)
		}
	}
	if statusOf(s, v1.ConditionProtected) == string(metav1.ConditionTrue) {
		return "OK"
	}
	return "Unknown"
}

// problemWord is a condition's reason, or where it has none, the condition itself.
func problemWord(c *metav1.Condition) string {
	switch {
	case c.Reason != "":
		return c.Reason
	case c.Status == metav1.ConditionTrue:
		return c.Type
	}
	return "Not" + c.Type
}

func (p *Program) locationCells(l *v1.Location) (narrow, wide []string) {
	figure := func(text string) string { return told(l, v1.ConditionAvailable, text) }
	return []string{
			l.Name, string(l.Spec.Host), figure(size(l.Status.Capacity)), figure(size(l.Status.Used)), figure(size(l.Status.Free)),
			figure(fmt.Sprint(l.Status.Replicas)), locationStatus(l), p.ageOf(l),
		}, []string{
			l.Spec.Path, figure(fmt.Sprint(l.Status.Versions)), l.Status.Waiting, labels.FormatLabels(l.Labels),
		}
}

func locationStatus(l *v1.Location) string {
	words := []string{availability(l, v1.ConditionAvailable)}
	if c := meta.FindStatusCondition(l.Status.Conditions, v1.ConditionWithinCapacity); c != nil && c.Status == metav1.ConditionFalse {
		words = append(words, problemWord(c))
	}
	return strings.Join(append(words, cordonWords(l.Spec.Cordoned, l.Spec.Draining, statusOf(l, v1.ConditionDrained) == "True")...), ",")
}

func cordonWords(cordoned, draining, drained bool) []string {
	switch {
	case drained:
		return []string{"Drained"}
	case draining:
		return []string{"Draining"}
	case cordoned:
		return []string{"Cordoned"}
	}
	return nil
}

// availability is the good word of a condition, its reason when it is bad, Unknown when nobody knows.
func availability(obj v1.Object, condition string) string {
	c := meta.FindStatusCondition(v1.ConditionsOf(obj), condition)
	switch {
	case c == nil || c.Status == metav1.ConditionUnknown:
		return "Unknown"
	case c.Status == metav1.ConditionTrue:
		return condition
	}
	return problemWord(c)
}

func (p *Program) hostCells(h *v1.Host) (narrow, wide []string) {
	status := availability(h, v1.ConditionReady)
	if status != v1.ConditionReady && status != "Unknown" {
		status = "NotReady"
	}
	seen := "never"
	if h.Status.LastSeen != nil {
		seen = age(p.Now(), h.Status.LastSeen.Time) + " ago"
	}
	words := append([]string{status}, cordonWords(h.Spec.Cordoned, h.Spec.Draining, false)...)
	return []string{h.Name, strings.Join(words, ","), h.Spec.Address, h.Status.Version, seen, p.ageOf(h)},
		[]string{limits(h.Spec.Limits), labels.FormatLabels(h.Labels)}
}

func limits(l *v1.Limits) string {
	if l == nil {
		return ""
	}
	var parts []string
	if l.Upload != nil {
		parts = append(parts, "upload "+l.Upload.String()+"/s")
	}
	if l.Download != nil {
		parts = append(parts, "download "+l.Download.String()+"/s")
	}
	if l.Read != nil {
		parts = append(parts, "read "+l.Read.String()+"/s")
	}
	return strings.Join(append(parts, l.Windows...), ", ")
}

func (p *Program) clusterCells(c *v1.Cluster) (narrow, wide []string) {
	spec := v1.DefaultedCluster(&c.Spec)
	return []string{
		c.Name, fmt.Sprint(c.Status.Hosts), fmt.Sprint(c.Status.ReadyHosts), fmt.Sprint(spec.MinReplicas),
		short(spec.PollInterval), short(spec.HostTimeout), short(spec.RepairAfter), p.ageOf(c),
	}, []string{c.Status.UID}
}

// short is a duration without its zero parts: "1h", not "1h0m0s".
func short(d *metav1.Duration) string {
	if d == nil {
		return ""
	}
	text := d.Duration.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (p *Program) ageOf(obj v1.Object) string { return age(p.Now(), obj.GetCreationTimestamp().Time) }

// statusOf is True, False, or Unknown where nobody has said.
func statusOf(obj v1.Object, condition string) string {
	if c := meta.FindStatusCondition(v1.ConditionsOf(obj), condition); c != nil {
		return string(c.Status)
	}
	return string(metav1.ConditionUnknown)
}
