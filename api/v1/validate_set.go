package v1

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Finding is what is wrong, or worth a look, with how objects stand to one another.
//
// +kubebuilder:object:generate=false
type Finding struct {
	// Refs are the objects concerned ("source/photos"), first the one that should change.
	Refs []string
	// Field is the field of the first.
	Field string
	// Message says what and why, and what would help.
	Message string
}

// Error is the finding in one line.
func (f Finding) Error() string { return f.Refs[0] + ": " + f.Field + ": " + f.Message }

// ValidateChange checks what the set would be with change laid over present, and returns those findings that concern an object
// of change: what was wrong before must not stand in the way of an unrelated change. Errors forbid the change; warnings don't.
// Each object is expected to pass Validate.
func ValidateChange(present, change []Object) (errs, warnings []Finding) {
	changed := map[string]bool{}
	var all []Object
	for _, obj := range change {
		changed[RefOf(obj)] = true
	}
	for _, obj := range present {
		if !changed[RefOf(obj)] {
			all = append(all, obj)
		}
	}
	errs, warnings = ValidateSet(append(all, change...)) // of two that are at odds, the later one is told to change
	unconcerned := func(f Finding) bool {
		return !slices.ContainsFunc(f.Refs, func(ref string) bool { return changed[ref] })
	}
	return slices.DeleteFunc(errs, unconcerned), slices.DeleteFunc(warnings, unconcerned)
}

// ValidateSet checks how the objects of a whole desired state stand to one another. Paths are compared as written: a symbolic
// link between two of them is not seen here.
func ValidateSet(all []Object) (errs, warnings []Finding) {
	s := newSet(all)
	for i, l := range s.locations {
		for _, other := range s.locations[:i] {
			errs = append(errs, locationsApart(l, other)...)
		}
		for _, src := range s.sources {
			errs = append(errs, sourceAndLocationApart(src, l)...)
		}
		warnings = append(warnings, s.hostKnown(RefOf(l), l.Spec.Host)...)
	}
	for i, src := range s.sources {
		for _, other := range s.sources[:i] {
			errs = append(errs, sourcesApart(src, other)...)
		}
		warnings = append(warnings, s.hostKnown(RefOf(src), src.Spec.Host)...)
		warnings = append(warnings, s.placeable(src)...)
	}
	return errs, append(warnings, s.timeouts()...)
}

// set is the desired state sorted by kind.
//
// +kubebuilder:object:generate=false
type set struct {
	sources   []*Source
	locations []*Location
	hosts     map[HostName]*Host
	cluster   *Cluster
}

func newSet(all []Object) *set {
	s := &set{hosts: map[HostName]*Host{}}
	for _, obj := range all {
		switch o := obj.(type) {
		case *Source:
			s.sources = append(s.sources, o)
		case *Location:
			s.locations = append(s.locations, o)
		case *Host:
			s.hosts[HostName(o.Name)] = o
		case *Cluster:
			s.cluster = o
		}
	}
	return s
}

func locationsApart(l, other *Location) []Finding {
	if l.Spec.Host != other.Spec.Host {
		return nil
	}
	refs := []string{RefOf(l), RefOf(other)}
	switch {
	case path.Clean(l.Spec.Path) == path.Clean(other.Spec.Path):
		return []Finding{{refs, "spec.path", fmt.Sprintf("%s on %s is %s already: give each location a folder of its own", l.Spec.Path, l.Spec.Host, refs[1])}}
	case under(l.Spec.Path, other.Spec.Path), under(other.Spec.Path, l.Spec.Path):
		return []Finding{{refs, "spec.path", fmt.Sprintf("%s and %s (%s) lie within one another: give each location a folder of its own", l.Spec.Path, other.Spec.Path, refs[1])}}
	}
	return nil
}

func sourcesApart(src, other *Source) []Finding {
	if src.Spec.Host != other.Spec.Host || path.Clean(src.Spec.Path) != path.Clean(other.Spec.Path) {
		return nil
	}
	refs := []string{RefOf(src), RefOf(other)}
	return []Finding{{refs, "spec.path", fmt.Sprintf("%s on %s is %s already: change that one, or delete it first", src.Spec.Path, src.Spec.Host, refs[1])}}
}

func sourceAndLocationApart(src *Source, l *Location) []Finding {
	if src.Spec.Host != l.Spec.Host {
		return nil
	}
	switch {
	case under(l.Spec.Path, src.Spec.Path):
		return []Finding{{
			[]string{RefOf(l), RefOf(src)}, "spec.path",
			fmt.Sprintf("%s lies under %s, which is %s of the same host: backups would be backed up again; choose a folder outside of it", l.Spec.Path, src.Spec.Path, RefOf(src)),
		}}
	case under(src.Spec.Path, l.Spec.Path):
		return []Finding{{
			[]string{RefOf(src), RefOf(l)}, "spec.path",
			fmt.Sprintf("%s lies under %s, which is %s of the same host: a location's folder is for replicas alone", src.Spec.Path, l.Spec.Path, RefOf(l)),
		}}
	}
	return nil
}

// under tells whether p is folder or lies below it.
func under(p, folder string) bool {
	p, folder = path.Clean(p), path.Clean(folder)
	return p == folder || folder == "/" || strings.HasPrefix(p, folder+"/")
}

func (s *set) hostKnown(ref string, host HostName) []Finding {
	if s.hosts[host] != nil {
		return nil
	}
	return []Finding{{[]string{ref, Ref(KindHost, string(host))}, "spec.host", fmt.Sprintf("there is no host %q (yet): nothing happens until it joins", host)}}
}

// placeable warns when a source wants more replicas than there are failure domains with a location. Room is not looked at: that
// is the Placeable condition's.
func (s *set) placeable(src *Source) []Finding {
	want := src.DeepCopy()
	var cluster *ClusterSpec
	if s.cluster != nil {
		cluster = &s.cluster.Spec
	}
	Default(want, cluster)
	domains := map[string]bool{}
	for _, l := range s.locations {
		if domain := s.domain(l.Spec.Host, want.Spec.Spread); l.Spec.Host != want.Spec.Host && domain != "" {
			domains[domain] = true
		}
	}
	if len(domains) >= int(want.Spec.MinReplicas) {
		return nil
	}
	return []Finding{{
		[]string{RefOf(src)}, "spec.minReplicas",
		fmt.Sprintf("%d replicas are wanted, but only %d other %s a location (yet)", want.Spec.MinReplicas, len(domains), domainNoun(want.Spec.Spread, len(domains))),
	}}
}

func (s *set) domain(host HostName, spread string) string {
	if spread == SpreadHost {
		return string(host)
	}
	if h := s.hosts[host]; h != nil {
		return h.Labels[spread]
	}
	return ""
}

func domainNoun(spread string, n int) string {
	switch {
	case spread == SpreadHost && n == 1:
		return "host has"
	case spread == SpreadHost:
		return "hosts have"
	case n == 1:
		return fmt.Sprintf("value of the host label %q has", spread)
	}
	return fmt.Sprintf("values of the host label %q have", spread)
}

func (s *set) timeouts() []Finding {
	if s.cluster == nil {
		return nil
	}
	c := DefaultedCluster(&s.cluster.Spec)
	ref := []string{RefOf(s.cluster)}
	var found []Finding
	if c.HostTimeout.Duration < 2*c.PollInterval.Duration {
		found = append(found, Finding{ref, "spec.hostTimeout", fmt.Sprintf("%v is less than two poll intervals (%v): hosts will seem to come and go", c.HostTimeout.Duration, c.PollInterval.Duration)})
	}
	if c.RepairAfter.Duration < c.HostTimeout.Duration {
		found = append(found, Finding{ref, "spec.repairAfter", fmt.Sprintf("%v is less than hostTimeout (%v): files are copied again before their host counts as gone", c.RepairAfter.Duration, c.HostTimeout.Duration)})
	}
	return found
}
