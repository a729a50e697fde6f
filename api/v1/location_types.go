package v1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Location is backup space: a folder on a host that holds replicas.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=loc
type Location struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   LocationSpec   `json:"spec"`
	Status LocationStatus `json:"status,omitempty"`
}

// LocationSpec is what is wanted of a location. At least one of Capacity and Reserve is given.
type LocationSpec struct {
	// Host is the host the folder is on.
	Host HostName `json:"host"`
	// Path is the folder, absolute.
	// +kubebuilder:validation:Pattern=`^/.*[^/]`
	Path string `json:"path"`
	// Capacity is at most how many bytes lie here, temporary files and versions included.
	// +optional
	Capacity *resource.Quantity `json:"capacity,omitempty"`
	// Reserve is how many bytes of the file system always stay free.
	// +optional
	Reserve *resource.Quantity `json:"reserve,omitempty"`
	// Cordoned: take no new replicas.
	// +optional
	Cordoned bool `json:"cordoned,omitempty"`
	// Draining: take no new replicas, and have those held here copied elsewhere and dropped.
	// +optional
	Draining bool `json:"draining,omitempty"`
}

// LocationStatus is what the location's host saw last.
type LocationStatus struct {
	// ObservedGeneration is the metadata.generation that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Available, WithinCapacity, Drained.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// UID is the identity in the location's location.json.
	UID string `json:"uid,omitempty"`
	// Capacity is how many bytes may lie here now, by capacity and reserve together.
	Capacity int64 `json:"capacity"`
	// Used is how many do, temporary files and versions included.
	Used int64 `json:"used"`
	// Reserved is what copies under way will take.
	Reserved int64 `json:"reserved"`
	// Free is Capacity - Used - Reserved, never negative.
	Free int64 `json:"free"`
	// Replicas counts the replicas held.
	Replicas int64 `json:"replicas"`
	// Versions counts the earlier and deleted versions held.
	Versions int64 `json:"versions"`
	// Waiting says, for people, what a full or draining location waits for.
	// +optional
	Waiting string `json:"waiting,omitempty"`
}

// LocationList is several locations.
//
// +kubebuilder:object:root=true
type LocationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Location `json:"items"`
}
