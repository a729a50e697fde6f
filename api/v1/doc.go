// Package v1 holds the kinds that users write and read: Source, Location, Host and Cluster as desired state, File as observed
// state, with their defaults, validation and conditions.
//
// The types follow the Kubernetes API conventions (metadata, spec, status, metav1.Condition), although no Kubernetes is needed:
// whoever knows kubectl knows how to read them.
//
// +kubebuilder:object:generate=true
// +groupName=clusterbackup
package v1

// APIVersion is what every resource's apiVersion field says.
const APIVersion = "clusterbackup/v1"

// The kinds.
const (
	KindSource   = "Source"
	KindLocation = "Location"
	KindHost     = "Host"
	KindCluster  = "Cluster"
	KindFile     = "File"
)
