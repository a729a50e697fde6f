package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// latestEvents is how many events a description ends with.
const latestEvents = 10

func (p *Program) describeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe KIND NAME",
		Short: "Tell all about one object: spec, status, conditions, latest events",
		Example: `  cbctl describe source photos
  cbctl describe file photos/2024/a.jpg     # where every replica and version is`,
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := parseRefs(args)
			if err != nil {
				return err
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error {
				for i, r := range refs {
					if i > 0 {
						fmt.Fprintln(p.out)
					}
					if err := p.describe(ctx, c, r); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (p *Program) describe(ctx context.Context, c Connection, r ref) error {
	if r.kind == v1.KindFile {
		return p.describeFile(ctx, c, r.name)
	}
	obj, err := get1(ctx, c, r)
	if err != nil {
		return err
	}
	cluster, err := clusterSpec(ctx, c)
	if err != nil {
		return err
	}
	d := newDescription(p.out, p.Now())
	d.head(obj)
	switch o := obj.(type) {
	case *v1.Source:
		v1.Default(o, cluster)
		d.source(o)
	case *v1.Location:
		d.location(o)
	case *v1.Host:
		d.host(o)
	case *v1.Cluster:
		d.cluster(o)
	}
	d.conditions(obj)
	if src, ok := obj.(*v1.Source); ok {
		d.problems(&src.Status)
	}
	events, err := c.Events(ctx, admin.EventQuery{Kind: r.kind, Name: r.name, Limit: latestEvents})
	if err != nil {
		return err
	}
	d.events(events)
	return d.flush()
}

// clusterSpec is what defaults come from; nil where there is no Cluster resource.
func clusterSpec(ctx context.Context, c admin.Resources) (*v1.ClusterSpec, error) {
	obj, err := get1(ctx, c, ref{v1.KindCluster, v1.ClusterName})
	if admin.ReasonOf(err) == admin.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	cluster, ok := obj.(*v1.Cluster)
	if !ok {
		return nil, admin.Errorf(admin.Failed, "cluster", "the daemon answered with a %s", v1.KindOf(obj))
	}
	return &cluster.Spec, nil
}

// description writes "Name:  value" lines, aligned.
type description struct {
	w   *tabwriter.Writer
	now time.Time
}

func newDescription(w io.Writer, now time.Time) *description {
	return &description{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0), now}
}

func (d *description) flush() error { return d.w.Flush() }

// line writes one property; depth 1 is within a section.
func (d *description) line(depth int, name, format string, args ...any) {
	value := fmt.Sprintf(format, args...)
	if value == "" {
		value = "<none>"
	}
	fmt.Fprintf(d.w, "%s%s:\t%s\n", strings.Repeat("  ", depth), name, printable(value))
}

func (d *description) section(name string) { fmt.Fprintf(d.w, "%s:\n", name) }

func (d *description) when(t *metav1.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%s (%s ago)", t.Local().Format("2006-01-02 15:04:05"), age(d.now, t.Time))
}

func (d *description) head(obj v1.Object) {
	d.line(0, "Name", "%s", obj.GetName())
	d.line(0, "Kind", "%s", v1.KindOf(obj))
	d.line(0, "Labels", "%s", labels.FormatLabels(obj.GetLabels()))
	created := obj.GetCreationTimestamp()
	d.line(0, "Created", "%s", d.when(&created))
}

func (d *description) source(s *v1.Source) {
	d.section("Spec")
	d.line(1, "Host", "%s", s.Spec.Host)
	d.line(1, "Path", "%s", s.Spec.Path)
	d.line(1, "Replicas", "at least %d, at most %d, spread by %s", s.Spec.MinReplicas, s.Spec.MaxReplicas, s.Spec.Spread)
	d.line(1, "Exclude", "%s", strings.Join(s.Spec.Exclude, "  "))
	d.line(1, "One File System", "%t", *s.Spec.OneFileSystem)
	d.line(1, "Scan Interval", "%s", short(s.Spec.ScanInterval))
	d.line(1, "Retention", "deleted files %s, earlier versions %s, at most %d of a file", short(s.Spec.Retention.Deleted), short(s.Spec.Retention.Versions), *s.Spec.Retention.MaxVersions)
	d.line(1, "Verify", "each replica within %s, sampled above %s", short(s.Spec.Verify.Interval), s.Spec.Verify.SampleAbove)
	d.section("Status")
	figure := func(name, text string) { d.line(1, name, "%s", told(s, v1.ConditionAvailable, text)) }
	figure("Files", fmt.Sprint(s.Status.Files))
	figure("Size", exactSize(s.Status.Bytes))
	figure("Underserved", fmt.Sprint(s.Status.Underserved))
	figure("Overserved", fmt.Sprint(s.Status.Overserved))
	figure("By Replicas", histogram(s.Status.Replicas))
	d.line(1, "Last Scan", "%s", told(s, v1.ConditionScanned, d.when(s.Status.LastScan)))
	if s.Status.ScanDuration != nil {
		d.line(1, "Scan Took", "%s", s.Status.ScanDuration.Duration)
	}
	if s.Status.HeldDeletions > 0 {
		d.line(1, "Held Deletions", "%d: look whether they are meant, then cbctl approve source/%s --deletions", s.Status.HeldDeletions, s.Name)
	}
}

// histogram is "2: 400, 1: 12": how many files have so many replicas.
func histogram(counts []int64) string {
	var parts []string
	for replicas, files := range counts {
		if files == 0 {
			continue
		}
		more := ""
		if replicas == len(counts)-1 && replicas >= 8 {
			more = "+"
		}
		parts = append(parts, fmt.Sprintf("%s with %d%s", count(files, "file"), replicas, more))
	}
	return strings.Join(parts, ", ")
}

func (d *description) location(l *v1.Location) {
	d.section("Spec")
	d.line(1, "Host", "%s", l.Spec.Host)
	d.line(1, "Path", "%s", l.Spec.Path)
	if l.Spec.Capacity != nil {
		d.line(1, "Capacity", "%s", l.Spec.Capacity)
	}
	if l.Spec.Reserve != nil {
		d.line(1, "Reserve", "%s", l.Spec.Reserve)
	}
	d.line(1, "Cordoned", "%t", l.Spec.Cordoned)
	d.line(1, "Draining", "%t", l.Spec.Draining)
	d.section("Status")
	figure := func(name, text string) { d.line(1, name, "%s", told(l, v1.ConditionAvailable, text)) }
	figure("UID", l.Status.UID)
	figure("Room", fmt.Sprintf("%s of %s used, %s for copies under way, %s free", size(l.Status.Used), size(l.Status.Capacity), size(l.Status.Reserved), size(l.Status.Free)))
	figure("Holds", fmt.Sprintf("%s, %s", count(l.Status.Replicas, "replica"), count(l.Status.Versions, "version")))
	if l.Status.Waiting != "" {
		d.line(1, "Waiting For", "%s", l.Status.Waiting)
	}
}

func (d *description) host(h *v1.Host) {
	d.section("Spec")
	d.line(1, "Address", "%s", h.Spec.Address)
	d.line(1, "Limits", "%s", limits(h.Spec.Limits))
	d.line(1, "Cordoned", "%t", h.Spec.Cordoned)
	if h.Spec.CordonedUntil != nil {
		d.line(1, "Cordoned Until", "%s", h.Spec.CordonedUntil.Local().Format("2006-01-02 15:04:05"))
	}
	d.line(1, "Draining", "%t", h.Spec.Draining)
	d.section("Status")
	d.line(1, "Version", "%s", h.Status.Version)
	d.line(1, "Last Seen", "%s", d.when(h.Status.LastSeen))
}

func (d *description) cluster(c *v1.Cluster) {
	spec := v1.DefaultedCluster(&c.Spec)
	d.section("Spec")
	d.line(1, "Min Replicas", "%d", spec.MinReplicas)
	d.line(1, "Poll Interval", "%s", short(spec.PollInterval))
	d.line(1, "Host Timeout", "%s", short(spec.HostTimeout))
	d.line(1, "Repair After", "%s", short(spec.RepairAfter))
	d.section("Status")
	d.line(1, "UID", "%s", c.Status.UID)
	d.line(1, "Hosts", "%d, %d of them ready", c.Status.Hosts, c.Status.ReadyHosts)
}

func (d *description) conditions(obj v1.Object) {
	conditions := v1.ConditionsOf(obj)
	if len(conditions) == 0 {
		d.line(0, "Conditions", "")
		return
	}
	d.section("Conditions")
	fmt.Fprintln(d.w, "  Type\tStatus\tSince\tReason\tMessage")
	for _, c := range conditions {
		fmt.Fprintf(d.w, "  %s\t%s\t%s\t%s\t%s\n", c.Type, c.Status, age(d.now, c.LastTransitionTime.Time), c.Reason, printable(c.Message))
	}
}

func (d *description) problems(s *v1.SourceStatus) {
	if s.ProblemCount == 0 && len(s.Problems) == 0 {
		return
	}
	d.section(fmt.Sprintf("Problems (%d)", max(s.ProblemCount, int64(len(s.Problems)))))
	fmt.Fprintln(d.w, "  Path\tReason\tHost\tMessage")
	for _, problem := range s.Problems {
		fmt.Fprintf(d.w, "  %s\t%s\t%s\t%s\n", printable(problem.Path), problem.Reason, problem.Host, printable(problem.Message))
	}
	if more := s.ProblemCount - int64(len(s.Problems)); more > 0 {
		fmt.Fprintf(d.w, "  and %d more\n", more)
	}
}

func (d *description) events(events []admin.Event) {
	if len(events) == 0 {
		d.line(0, "Events", "")
		return
	}
	d.section("Events")
	fmt.Fprintln(d.w, "  Last Seen\tType\tReason\tHost\tMessage")
	for _, e := range events {
		fmt.Fprintf(d.w, "  %s\t%s\t%s\t%s\t%s\n", eventAge(d.now, e), e.Type, e.Reason, e.Host, printable(e.Message))
	}
}

func (p *Program) describeFile(ctx context.Context, c Connection, name string) error {
	source, path, err := parseFilePath(name)
	if err != nil {
		return err
	}
	if path == "" {
		return usagef("%s names a source: write SOURCE/PATH", name)
	}
	f, err := c.File(ctx, source, path)
	if err != nil {
		return err
	}
	d := newDescription(p.out, p.Now())
	d.file(f)
	return d.flush()
}

func (d *description) file(f *v1.File) {
	d.line(0, "Name", "%s", f.Name)
	d.line(0, "Kind", "%s", v1.KindFile)
	d.line(0, "Size", "%s", exactSize(f.Spec.Size))
	d.line(0, "Modified", "%s", f.Spec.ModTime)
	d.line(0, "Mode", "%s", f.Spec.Mode)
	d.line(0, "SHA-256", "%s", f.Spec.Digest)
	d.line(0, "Service", "%s (%d wanted)", f.Status.Service, f.Status.DesiredReplicas)
	if f.Status.DeletedTime != nil {
		d.line(0, "Deleted", "%s", d.when(f.Status.DeletedTime))
	}
	if len(f.Status.Replicas) == 0 {
		d.line(0, "Replicas", "")
	} else {
		d.section("Replicas")
		fmt.Fprintln(d.w, "  Host\tLocation\tState\tVerified")
		for _, r := range f.Status.Replicas {
			fmt.Fprintf(d.w, "  %s\t%s\t%s\t%s\n", r.Host, r.Location, r.State, d.when(r.VerifiedTime))
		}
	}
	if len(f.Status.Versions) == 0 {
		d.line(0, "Versions", "")
		return
	}
	d.section("Versions")
	fmt.Fprintln(d.w, "  Current Until\tSize\tHost\tLocation\tKept Until\tSHA-256\tPath In Location")
	versions := slices.SortedStableFunc(slices.Values(f.Status.Versions), func(a, b v1.VersionStatus) int { return b.Since.Compare(a.Since.Time) })
	for _, v := range versions {
		fmt.Fprintf(d.w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.when(&v.Since), size(v.Size), v.Host, v.Location,
			v.Until.Local().Format("2006-01-02 15:04"), v.Digest, printable(v.Name))
	}
}
