package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// File is the observed state of one file of a source. It is read, never written.
//
// +kubebuilder:object:root=true
type File struct {
	metav1.TypeMeta `json:",inline"`
	// Name is SOURCE/PATH.
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   FileSpec   `json:"spec"`
	Status FileStatus `json:"status"`
}

// FileSpec is the file as the latest scan saw it.
type FileSpec struct {
	Source SourceName `json:"source"`
	// Path is below the source's root; a path that is not UTF-8 is quoted here as in Go and whole in PathBase64.
	Path string `json:"path"`
	// PathBase64 has the bytes of a path that is not UTF-8.
	PathBase64 []byte `json:"pathBase64,omitempty"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// ModTime is RFC 3339 with nanoseconds, UTC.
	ModTime string `json:"modTime"`
	// Mode is the permission bits in octal, four digits.
	Mode string `json:"mode"`
	// Digest is the SHA-256 in hexadecimal, once it has been computed.
	Digest string `json:"digest,omitempty"`
}

// Service is how a file stands against what is desired.
type Service string

// The values of Service.
const (
	Underserved Service = "Underserved"
	Served      Service = "Served"
	Overserved  Service = "Overserved"
	Deleted     Service = "Deleted"
)

// ReplicaState is what the coordinator knows of one replica.
type ReplicaState string

// The values of ReplicaState. Only Confirmed replicas count.
const (
	// ReplicaClaimed: a copy is under way.
	ReplicaClaimed ReplicaState = "Claimed"
	// ReplicaConfirmed: the holder has the current version, its digest was compared.
	ReplicaConfirmed ReplicaState = "Confirmed"
	// ReplicaStale: the holder has an earlier version.
	ReplicaStale ReplicaState = "Stale"
	// ReplicaCorrupt: the holder found that its bytes differ from the digest.
	ReplicaCorrupt ReplicaState = "Corrupt"
	// ReplicaLost: the holder is silent for longer than repairAfter, or no longer has it.
	ReplicaLost ReplicaState = "Lost"
)

// FileStatus is who holds the file.
type FileStatus struct {
	Service Service `json:"service"`
	// DesiredReplicas is how many confirmed, current replicas the file should have; 0 once it is deleted.
	DesiredReplicas int32 `json:"desiredReplicas"`
	// Replicas are those that are known of, confirmed or not.
	Replicas []ReplicaStatus `json:"replicas"`
	// DeletedTime is when the file was found to be gone.
	// +optional
	DeletedTime *metav1.Time `json:"deletedTime,omitempty"`
	// Versions are the earlier and deleted versions that holders keep; only `cbctl describe file` asks for them.
	// +optional
	Versions []VersionStatus `json:"versions,omitempty"`
}

// ReplicaStatus is one replica.
type ReplicaStatus struct {
	Host     HostName     `json:"host"`
	Location LocationName `json:"location"`
	State    ReplicaState `json:"state"`
	// VerifiedTime is when its bytes were last compared with the digest.
	// +optional
	VerifiedTime *metav1.Time `json:"verifiedTime,omitempty"`
}

// VersionStatus is one earlier or deleted version at one holder.
type VersionStatus struct {
	Host     HostName     `json:"host"`
	Location LocationName `json:"location"`
	// Name is the version's path below the location's root.
	Name string `json:"name"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// ModTime is RFC 3339 with nanoseconds, UTC.
	ModTime string `json:"modTime"`
	// Digest is the SHA-256 in hexadecimal.
	Digest string `json:"digest"`
	// Since is when the version stopped being current.
	Since metav1.Time `json:"since"`
	// Until is when the holder may let it go.
	Until metav1.Time `json:"until"`
}

// FileList is a page of files.
//
// +kubebuilder:object:root=true
type FileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []File `json:"items"`
}
