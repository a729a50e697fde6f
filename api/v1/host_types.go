package v1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Host is a member of the cluster. It is made by `cbd init` and `cbd join`.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster
type Host struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   HostSpec   `json:"spec"`
	Status HostStatus `json:"status,omitempty"`
}

// HostSpec is what is wanted of a host.
type HostSpec struct {
	// Address is where other hosts reach it: HOST:PORT.
	Address string `json:"address"`
	// Limits bounds what backups may use of the host.
	// +optional
	Limits *Limits `json:"limits,omitempty"`
	// Cordoned: its locations take no new replicas.
	// +optional
	Cordoned bool `json:"cordoned,omitempty"`
	// CordonedUntil is the end of maintenance: until then the host's absence starts no repair.
	// +optional
	CordonedUntil *metav1.Time `json:"cordonedUntil,omitempty"`
	// Draining: its locations are emptied.
	// +optional
	Draining bool `json:"draining,omitempty"`
}

// Limits are in bytes a second; absent: unlimited.
type Limits struct {
	// Upload bounds what the host sends to other hosts, all together.
	// +optional
	Upload *resource.Quantity `json:"upload,omitempty"`
	// Download bounds what the host's copies receive.
	// +optional
	Download *resource.Quantity `json:"download,omitempty"`
	// Read bounds what verification reads from disk.
	// +optional
	Read *resource.Quantity `json:"read,omitempty"`
	// Windows are the times of day ("22:00-06:00", the host's local time) in which copies may run to the host and from its sources;
	// empty: always.
	// +optional
	Windows []string `json:"windows,omitempty"`
}

// HostStatus is what is known of a host.
type HostStatus struct {
	// ObservedGeneration is the metadata.generation that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Version is the daemon's.
	Version string `json:"version,omitempty"`
	// LastSeen is when the host that answers heard from it.
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`
}

// HostList is several hosts.
//
// +kubebuilder:object:root=true
type HostList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Host `json:"items"`
}
