// Package admintest is a Backend in memory, for tests of what stands in front of one. It keeps resources as a daemon does (created,
// configured, unchanged; resource versions; conflicts), and answers everything else with what the test put into it.
package admintest

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// Fake is a Backend. Set its fields before it is asked, or in Change; the zero Fake is an empty cluster.
type Fake struct {
	// Now stamps what is created; zero: the time of creation is 1970.
	Now         time.Time
	AllFiles    []v1.File
	AllEvents   []admin.Event
	Tops        []admin.TopRow
	Held        map[v1.SourceName]int64 // deletions to approve
	Progress    []admin.VerifyProgress
	AllHolders  []admin.Holder
	Manifests   map[admin.HolderKey][]byte
	AllHoldings map[admin.HolderKey][]admin.Holding

	mu        sync.Mutex
	resources map[string]v1.Object
	version   int
}

var _ admin.Backend = (*Fake)(nil)

// Put stores obj as it is, status included.
func (f *Fake) Put(objs ...v1.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, obj := range objs {
		f.put(obj)
	}
}

// Update changes one object's status in place, as observation does.
func (f *Fake) Update(kind, name string, change func(v1.Object)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f.resources[v1.Ref(kind, name)])
}

// Change changes fields while the Fake is in use.
func (f *Fake) Change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *Fake) put(obj v1.Object) {
	if f.resources == nil {
		f.resources = map[string]v1.Object{}
	}
	f.version++
	obj.SetResourceVersion(fmt.Sprint(f.version))
	if obj.GetUID() == "" {
		obj.SetUID(types.UID(fmt.Sprintf("uid-%d", f.version)))
	}
	if created := obj.GetCreationTimestamp(); created.IsZero() && !f.Now.IsZero() {
		obj.SetCreationTimestamp(metav1.NewTime(f.Now))
	}
	f.resources[v1.RefOf(obj)] = obj
}

func clone(obj v1.Object) v1.Object { return obj.DeepCopyObject().(v1.Object) }

// Get implements admin.Resources.
func (f *Fake) Get(_ context.Context, kind string, names ...string) ([]v1.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []v1.Object
	for _, obj := range f.resources {
		if v1.KindOf(obj) == kind && (len(names) == 0 || slices.Contains(names, obj.GetName())) {
			found = append(found, clone(obj))
		}
	}
	slices.SortFunc(found, func(a, b v1.Object) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, name := range names {
		if f.resources[v1.Ref(kind, name)] == nil {
			return nil, admin.Errorf(admin.NotFound, v1.Ref(kind, name), "there is no such %s", strings.ToLower(kind))
		}
	}
	return found, nil
}

// Apply implements admin.Resources.
func (f *Fake) Apply(_ context.Context, objs []v1.Object, opts admin.ApplyOptions) ([]admin.Applied, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, obj := range objs {
		if err := f.check(obj, opts); err != nil {
			return nil, err
		}
	}
	applied := make([]admin.Applied, len(objs))
	for i, obj := range objs {
		applied[i] = f.applyOne(clone(obj), opts)
	}
	return applied, nil
}

func (f *Fake) check(obj v1.Object, opts admin.ApplyOptions) error {
	ref := v1.RefOf(obj)
	if errs := v1.Validate(obj); len(errs) > 0 {
		return admin.Errorf(admin.Invalid, ref, "%s: %s", errs[0].Field, v1.Explain(errs[0]))
	}
	live := f.resources[ref]
	switch {
	case live != nil && opts.Create:
		return admin.Errorf(admin.Conflict, ref, "exists already")
	case live != nil && obj.GetResourceVersion() != "" && obj.GetResourceVersion() != live.GetResourceVersion():
		return admin.Errorf(admin.Conflict, ref, "was changed meanwhile")
	}
	return nil
}

func (f *Fake) applyOne(obj v1.Object, opts admin.ApplyOptions) admin.Applied {
	live := f.resources[v1.RefOf(obj)]
	action := admin.Created
	if live != nil {
		action = admin.Configured
		if content(live) == content(obj) {
			return admin.Applied{Object: clone(live), Action: admin.Unchanged}
		}
		obj.SetGeneration(live.GetGeneration() + 1)
		obj.SetUID(live.GetUID())
		obj.SetCreationTimestamp(live.GetCreationTimestamp())
		keepStatus(obj, live)
	} else {
		obj.SetGeneration(1)
	}
	if !opts.DryRun {
		f.put(obj)
	}
	return admin.Applied{Object: clone(obj), Action: action}
}

// keepStatus: what was observed does not change because something else is wanted.
func keepStatus(obj, live v1.Object) {
	switch o := obj.(type) {
	case *v1.Source:
		o.Status = live.(*v1.Source).Status
	case *v1.Location:
		o.Status = live.(*v1.Location).Status
	case *v1.Host:
		o.Status = live.(*v1.Host).Status
	case *v1.Cluster:
		o.Status = live.(*v1.Cluster).Status
	}
}

// content is what a person writes of an object.
func content(obj v1.Object) string {
	bare := clone(obj)
	v1.ClearStatus(bare)
	bare.SetUID("")
	bare.SetResourceVersion("")
	bare.SetGeneration(0)
	bare.SetCreationTimestamp(metav1.Time{})
	data, err := json.Marshal(bare)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// Delete implements admin.Resources.
func (f *Fake) Delete(_ context.Context, kind, name string, _ bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.resources[v1.Ref(kind, name)] == nil {
		return admin.Errorf(admin.NotFound, v1.Ref(kind, name), "there is no such %s", strings.ToLower(kind))
	}
	delete(f.resources, v1.Ref(kind, name))
	return nil
}

// Events implements admin.Resources.
func (f *Fake) Events(_ context.Context, q admin.EventQuery) ([]admin.Event, error) {
	var events []admin.Event
	for _, e := range f.AllEvents {
		if q.Kind == "" || q.Kind == e.Kind && q.Name == e.Name {
			events = append(events, e)
		}
	}
	if q.Limit > 0 && len(events) > q.Limit {
		events = events[len(events)-q.Limit:]
	}
	return events, nil
}

// Files implements admin.Files.
func (f *Fake) Files(_ context.Context, q admin.FileQuery) iter.Seq2[admin.FilePage, error] {
	return admin.Pages(func(yield func(v1.File, error) bool) {
		_, after, err := admin.ParseContinue(q.Continue)
		if err != nil {
			yield(v1.File{}, err)
			return
		}
		for _, file := range f.AllFiles {
			if admin.PathOf(&file) > after && chosen(&file, q) && !yield(file, nil) {
				return
			}
		}
	}, q.Limit)
}

func chosen(file *v1.File, q admin.FileQuery) bool {
	path := admin.PathOf(file)
	switch {
	case q.Source != "" && file.Spec.Source != q.Source,
		q.Path != "" && path != q.Path && !strings.HasPrefix(string(path), string(q.Path)+"/"),
		q.Underserved && file.Status.Service != v1.Underserved,
		q.Overserved && file.Status.Service != v1.Overserved,
		q.Deleted != (file.Status.Service == v1.Deleted),
		q.Unreplicated && slices.ContainsFunc(file.Status.Replicas, func(r v1.ReplicaStatus) bool { return r.State == v1.ReplicaConfirmed }),
		q.Host != "" && !slices.ContainsFunc(file.Status.Replicas, func(r v1.ReplicaStatus) bool { return r.Host == q.Host }):
		return false
	}
	return true
}

// File implements admin.Files.
func (f *Fake) File(_ context.Context, source v1.SourceName, path v1.RelPath) (*v1.File, error) {
	for i := range f.AllFiles {
		if file := &f.AllFiles[i]; file.Spec.Source == source && admin.PathOf(file) == path {
			return file.DeepCopy(), nil
		}
	}
	return nil, admin.Errorf(admin.NotFound, string(source)+"/"+string(path), "there is no such file")
}

// Version implements admin.Members.
func (f *Fake) Version(context.Context) (admin.VersionInfo, error) {
	return admin.VersionInfo{Version: "v1.2.3", Commit: "abc", GoVersion: "go1.26", Platform: "linux/amd64", Protocol: "1", Host: "mini"}, nil
}

// CreateToken implements admin.Members.
func (f *Fake) CreateToken(_ context.Context, ttl time.Duration) (admin.Token, error) {
	return admin.Token{Token: "token-of-" + ttl.String(), Address: "mini:7420", Expires: f.Now.Add(ttl)}, nil
}

// CreateIdentity implements admin.Members.
func (f *Fake) CreateIdentity(_ context.Context, name string) (admin.Identity, error) {
	return admin.Identity{Contents: []byte("identity of " + name + "\n"), Expires: f.Now.Add(time.Hour)}, nil
}

// Approve implements admin.Operations.
func (f *Fake) Approve(_ context.Context, source v1.SourceName) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.Held[source]
	if n == 0 {
		return 0, admin.Errorf(admin.Conflict, v1.Ref(v1.KindSource, string(source)), "no deletion is held")
	}
	delete(f.Held, source)
	return n, nil
}

// Verify implements admin.Operations.
func (f *Fake) Verify(context.Context, admin.VerifyQuery) iter.Seq2[admin.VerifyProgress, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return stream(f.Progress)
}

// Top implements admin.Operations.
func (f *Fake) Top(context.Context, string) ([]admin.TopRow, error) { return f.Tops, nil }

// Holders implements admin.Holders.
func (f *Fake) Holders(context.Context, v1.SourceName) ([]admin.Holder, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.AllHolders, nil
}

// Manifest implements admin.Holders.
func (f *Fake) Manifest(_ context.Context, _ v1.SourceName, holder admin.HolderKey) iter.Seq2[[]byte, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return stream(slices.Collect(slices.Chunk(f.Manifests[holder], 1000)))
}

// Holdings implements admin.Holders.
func (f *Fake) Holdings(_ context.Context, _ v1.SourceName, holder admin.HolderKey, _ v1.RelPath) iter.Seq2[admin.Holding, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return stream(f.AllHoldings[holder])
}

func stream[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}
