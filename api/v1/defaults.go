package v1

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What fields that are left out mean.
const (
	DefaultMinReplicas          = 2
	DefaultPollInterval         = 15 * time.Second
	DefaultRepairAfter          = time.Hour
	DefaultHostTimeout          = 2 * time.Minute
	DefaultScanInterval         = 15 * time.Minute
	DefaultRetention            = 720 * time.Hour
	DefaultMaxVersions          = 10
	DefaultVerifyInterval       = 720 * time.Hour
	DefaultSampleAbove          = 64 << 20
	DefaultSpread               = SpreadHost
	defaultOneFileSystem        = true
	SpreadHost                  = "host" // at most one replica a host
	MinInterval                 = 100 * time.Millisecond
	maxReplicas           int32 = 100
)

// Default fills in what the spec of obj leaves out. cluster is the Cluster's spec, itself defaulted or not; nil where there is
// none. Calling it again changes nothing. Desired state is stored as it was written: defaults are applied where it is read.
func Default(obj Object, cluster *ClusterSpec) {
	switch o := obj.(type) {
	case *Source:
		defaultSource(&o.Spec, DefaultedCluster(cluster).MinReplicas)
	case *Cluster:
		o.Spec = DefaultedCluster(&o.Spec)
	}
}

// DefaultedCluster is a copy of spec with what it leaves out filled in; spec may be nil.
func DefaultedCluster(spec *ClusterSpec) ClusterSpec {
	var c ClusterSpec
	if spec != nil {
		c = *spec.DeepCopy()
	}
	if c.MinReplicas <= 0 {
		c.MinReplicas = DefaultMinReplicas
	}
	fill(&c.PollInterval, metav1.Duration{Duration: DefaultPollInterval})
	fill(&c.RepairAfter, metav1.Duration{Duration: DefaultRepairAfter})
	fill(&c.HostTimeout, metav1.Duration{Duration: DefaultHostTimeout})
	return c
}

func defaultSource(s *SourceSpec, minReplicas int32) {
	if s.MinReplicas <= 0 {
		s.MinReplicas = minReplicas
	}
	s.MaxReplicas = max(s.MaxReplicas, s.MinReplicas)
	if s.Spread == "" {
		s.Spread = DefaultSpread
	}
	fill(&s.OneFileSystem, defaultOneFileSystem)
	fill(&s.ScanInterval, metav1.Duration{Duration: DefaultScanInterval})
	fill(&s.Retention, Retention{})
	fill(&s.Retention.Deleted, metav1.Duration{Duration: DefaultRetention})
	fill(&s.Retention.Versions, metav1.Duration{Duration: DefaultRetention})
	fill(&s.Retention.MaxVersions, DefaultMaxVersions)
	fill(&s.Verify, VerifyPolicy{})
	fill(&s.Verify.Interval, metav1.Duration{Duration: DefaultVerifyInterval})
	fill(&s.Verify.SampleAbove, *resource.NewQuantity(DefaultSampleAbove, resource.BinarySI))
}

// fill points field at value where it points at nothing.
func fill[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
