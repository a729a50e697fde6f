package v1

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is any of the kinds: a pointer to a Source, Location, Host, Cluster or File.
//
// +kubebuilder:object:generate=false
type Object interface {
	metav1.Object
	runtime.Object
}

// Resource is how a kind is spelled on a command line.
//
// +kubebuilder:object:generate=false
type Resource struct {
	Kind     string
	Singular string
	Plural   string
	Short    string // "" where there is none
}

// resources are the kinds in the order in which "all" lists them: what others refer to comes first.
var resources = []Resource{
	{KindCluster, "cluster", "clusters", ""},
	{KindHost, "host", "hosts", ""},
	{KindLocation, "location", "locations", "loc"},
	{KindSource, "source", "sources", "src"},
	{KindFile, "file", "files", ""},
}

// Resources lists the kinds with their spellings: Cluster, Host, Location, Source, File.
func Resources() []Resource { return append([]Resource(nil), resources...) }

// ResourceFor finds a kind by any of its spellings, in any case; ok tells whether there is such a kind.
func ResourceFor(word string) (r Resource, ok bool) {
	word = strings.ToLower(word)
	for _, r := range resources {
		if word == r.Singular || word == r.Plural || word != "" && word == r.Short {
			return r, true
		}
	}
	return Resource{}, false
}

// New makes an empty object of a kind with its TypeMeta set, or nil when there is no such kind.
func New(kind string) Object {
	var obj Object
	switch kind {
	case KindSource:
		obj = &Source{}
	case KindLocation:
		obj = &Location{}
	case KindHost:
		obj = &Host{}
	case KindCluster:
		obj = &Cluster{}
	case KindFile:
		obj = &File{}
	default:
		return nil
	}
	SetKind(obj)
	return obj
}

// KindOf is the kind of obj by its Go type, whatever its TypeMeta says; "" for a type that is not ours.
func KindOf(obj runtime.Object) string {
	switch obj.(type) {
	case *Source:
		return KindSource
	case *Location:
		return KindLocation
	case *Host:
		return KindHost
	case *Cluster:
		return KindCluster
	case *File:
		return KindFile
	}
	return ""
}

// SetKind writes apiVersion and kind into obj, by its Go type.
func SetKind(obj Object) {
	meta := metav1.TypeMeta{APIVersion: APIVersion, Kind: KindOf(obj)}
	switch o := obj.(type) {
	case *Source:
		o.TypeMeta = meta
	case *Location:
		o.TypeMeta = meta
	case *Host:
		o.TypeMeta = meta
	case *Cluster:
		o.TypeMeta = meta
	case *File:
		o.TypeMeta = meta
	}
}

// Ref names an object as commands and messages do: "source/photos".
func Ref(kind, name string) string { return strings.ToLower(kind) + "/" + name }

// RefOf is Ref of an object.
func RefOf(obj Object) string { return Ref(KindOf(obj), obj.GetName()) }

// ClearStatus empties the status of obj: desired state never carries one.
func ClearStatus(obj Object) {
	switch o := obj.(type) {
	case *Source:
		o.Status = SourceStatus{}
	case *Location:
		o.Status = LocationStatus{}
	case *Host:
		o.Status = HostStatus{}
	case *Cluster:
		o.Status = ClusterStatus{}
	}
}

// ConditionsOf are the conditions in obj's status; nil for a kind that has none.
func ConditionsOf(obj Object) []metav1.Condition {
	switch o := obj.(type) {
	case *Source:
		return o.Status.Conditions
	case *Location:
		return o.Status.Conditions
	case *Host:
		return o.Status.Conditions
	case *Cluster:
		return o.Status.Conditions
	}
	return nil
}
