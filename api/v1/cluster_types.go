package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ClusterName is the name of the one Cluster resource.
const ClusterName = "cluster"

// Cluster holds defaults and intervals for all. There is one, named "cluster".
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster
type Cluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ClusterSpec   `json:"spec,omitempty"`
	Status ClusterStatus `json:"status,omitempty"`
}

// ClusterSpec is what is wanted of the cluster.
type ClusterSpec struct {
	// MinReplicas is for sources that name none. Default 2.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MinReplicas int32 `json:"minReplicas,omitempty"`
	// PollInterval is how often a client with nothing to do asks again. Default 15s.
	// +optional
	PollInterval *metav1.Duration `json:"pollInterval,omitempty"`
	// RepairAfter is how long a host may be silent before its replicas are copied again elsewhere. Default 1h.
	// +optional
	RepairAfter *metav1.Duration `json:"repairAfter,omitempty"`
	// HostTimeout is how long a host may be silent before it is not Ready and no drop relies on it. Default 2m.
	// +optional
	HostTimeout *metav1.Duration `json:"hostTimeout,omitempty"`
}

// ClusterStatus is what the answering host sees.
type ClusterStatus struct {
	// ObservedGeneration is the metadata.generation that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// UID is the cluster's identity, the same in every location.json.
	UID string `json:"uid,omitempty"`
	// Hosts counts the members.
	Hosts int32 `json:"hosts,omitempty"`
	// ReadyHosts counts those that were heard of within hostTimeout.
	ReadyHosts int32 `json:"readyHosts,omitempty"`
}

// ClusterList is the list form of the one Cluster.
//
// +kubebuilder:object:root=true
type ClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Cluster `json:"items"`
}
