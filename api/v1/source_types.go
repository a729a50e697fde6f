package v1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Source is a tree on one host's disk, to be protected.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=src
type Source struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SourceSpec   `json:"spec"`
	Status SourceStatus `json:"status,omitempty"`
}

// SourceSpec is what is wanted of a source.
type SourceSpec struct {
	// Host is the host whose disk the tree is on.
	Host HostName `json:"host"`
	// Path is the tree's root on that host, absolute.
	// +kubebuilder:validation:Pattern=`^/`
	Path string `json:"path"`
	// MinReplicas is how many other hosts must hold each file. Absent: the cluster's default.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MinReplicas int32 `json:"minReplicas,omitempty"`
	// MaxReplicas is up to how many replicas spare room is used for. Absent: MinReplicas.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MaxReplicas int32 `json:"maxReplicas,omitempty"`
	// Spread is the failure domain: a host label's key, at most one replica for each of its values; "host" (the default): at
	// most one replica a host.
	// +optional
	Spread string `json:"spread,omitempty"`
	// Exclude has rules as in a .gitignore file.
	// +optional
	Exclude []string `json:"exclude,omitempty"`
	// OneFileSystem keeps the scan from crossing into other file systems. Default true.
	// +optional
	OneFileSystem *bool `json:"oneFileSystem,omitempty"`
	// ScanInterval is the time between the end of a scan and the start of the next. Default 15m.
	// +optional
	ScanInterval *metav1.Duration `json:"scanInterval,omitempty"`
	// Retention is how long deleted files and earlier versions are kept by each holder.
	// +optional
	Retention *Retention `json:"retention,omitempty"`
	// Verify is how replicas are read again to find decay.
	// +optional
	Verify *VerifyPolicy `json:"verify,omitempty"`
}

// Retention is how long what is no longer current is kept, by the clock of the host that holds it.
type Retention struct {
	// Deleted is how long a deleted file is kept. Default 720h.
	// +optional
	Deleted *metav1.Duration `json:"deleted,omitempty"`
	// Versions is how long an earlier version is kept. Default 720h.
	// +optional
	Versions *metav1.Duration `json:"versions,omitempty"`
	// MaxVersions is how many earlier versions of one file are kept: the newest, the oldest, and of the others those that are furthest
	// from one another in time, so that many quick rewrites do not push out what was there before. 0: any number. Default 10.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxVersions *int32 `json:"maxVersions,omitempty"`
}

// VerifyPolicy is how replicas are read again.
type VerifyPolicy struct {
	// Interval is the time in which every replica is read once. Default 720h; 0: never by itself.
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// SampleAbove is the size above which blocks are sampled instead of the whole file read. Default 64Mi; 0: always whole.
	// +optional
	SampleAbove *resource.Quantity `json:"sampleAbove,omitempty"`
}

// SourceStatus is what the source's host saw last.
type SourceStatus struct {
	// ObservedGeneration is the metadata.generation that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Available, Scanned, Protected, Verified, DeletionsHeld, Placeable.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Files counts the regular files of the source.
	Files int64 `json:"files"`
	// Bytes is their size.
	Bytes int64 `json:"bytes"`
	// Replicas counts files by their number of confirmed current replicas; the last entry holds that many and more.
	// +optional
	Replicas []int64 `json:"replicas,omitempty"`
	// Underserved counts files with fewer than MinReplicas.
	Underserved int64 `json:"underserved"`
	// Overserved counts files with more than MaxReplicas.
	Overserved int64 `json:"overserved"`
	// LastScan is when the latest complete scan ended.
	// +optional
	LastScan *metav1.Time `json:"lastScan,omitempty"`
	// ScanDuration is how long it took.
	// +optional
	ScanDuration *metav1.Duration `json:"scanDuration,omitempty"`
	// Problems lists files and folders that could not be read or copied, and those of a type that is not backed up, the first
	// hundred.
	// +optional
	Problems []Problem `json:"problems,omitempty"`
	// ProblemCount counts them all.
	ProblemCount int64 `json:"problemCount,omitempty"`
	// HeldDeletions is how many files wait for `cbctl approve`.
	HeldDeletions int64 `json:"heldDeletions,omitempty"`
}

// Problem is one path of a source that is not, or not yet, protected, and why.
type Problem struct {
	// Path is below the source's root, quoted as in Go where it is not plain UTF-8.
	Path string `json:"path"`
	// Reason is one CamelCase word: Unreadable, Skipped, CopyFailed, Corrupt.
	Reason string `json:"reason"`
	// Message says it for people.
	Message string `json:"message"`
	// Host is the host that met it, where that isn't the source's.
	// +optional
	Host HostName `json:"host,omitempty"`
}

// SourceList is several sources.
//
// +kubebuilder:object:root=true
type SourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Source `json:"items"`
}
