package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/desired"
	"clusterbackup/internal/pki"
	"clusterbackup/internal/version"
)

// statusTimeout bounds how long another host is waited for when its status is asked: what it doesn't tell in time is unknown.
const statusTimeout = 3 * time.Second

// backend answers administrators: from here what is this host's, from the host that knows what is another's.
type backend struct {
	*holders
	identity   *pki.Identity
	store      *desired.Files
	desired    *view
	sources    *controllers.SourceSet
	locations  *controllers.LocationSet
	verifier   *controllers.VerifyReconciler
	peers      *peers
	events     *events
	conditions *conditions
	// verifications is kept for what conditions say of sources.
	verifications *verifications
	rates         *rates
	underway      func(v1.LocationName) int64 // files that are being copied into a location
	// actsFor is the host that acts for a source's, which is silent; "": none does.
	actsFor func(v1.SourceName) v1.HostName
	// announce tells the other hosts that something was changed here.
	announce func()
	// rescan has a source of this host scanned soon.
	rescan func(v1.SourceName)
}

var _ admin.Backend = (*backend)(nil)

// at is another host, asked the same questions.
func (b *backend) at(host v1.HostName) admin.Backend { return admin.NewClient(b.peers.client(host)) }

// Get implements admin.Resources.
func (b *backend) Get(ctx context.Context, kind string, names ...string) ([]v1.Object, error) {
	objects, err := b.store.List(ctx, kind)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		if objects, err = named(kind, objects, names); err != nil {
			return nil, err
		}
	}
	for _, obj := range objects {
		v1.SetKind(obj)
	}
	b.fillStatus(ctx, kind, objects)
	return objects, nil
}

// named picks objects by name, in the order of names.
func named(kind string, objects []v1.Object, names []string) ([]v1.Object, error) {
	picked := make([]v1.Object, 0, len(names))
	for _, name := range names {
		i := slices.IndexFunc(objects, func(o v1.Object) bool { return o.GetName() == name })
		if i < 0 {
			return nil, notFound(kind, name)
		}
		picked = append(picked, objects[i])
	}
	return picked, nil
}

func notFound(kind, name string) error {
	return admin.Errorf(admin.NotFound, v1.Ref(kind, name), "there is no such %s", strings.ToLower(kind)).
		WithHint("see `cbctl get %ss`", strings.ToLower(kind))
}

// fillStatus fills in the status of each object: what is this host's from here, the rest from their hosts, or those that act for them, all
// at once.
func (b *backend) fillStatus(ctx context.Context, kind string, objects []v1.Object) {
	elsewhere := map[v1.HostName][]v1.Object{}
	var acted []*v1.Source
	for _, obj := range objects {
		host := ownerOf(obj)
		if host == "" || host == b.identity.Host() {
			b.localStatus(obj)
			continue
		}
		if source, ok := obj.(*v1.Source); ok && b.actsFor(v1.SourceName(source.Name)) != "" {
			acted = append(acted, source)
			continue
		}
		elsewhere[host] = append(elsewhere[host], obj)
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for _, source := range acted {
		asking.Go(func() {
			if !b.actingStatus(ctx, source) {
				setAbsent(source, source.Spec.Host)
			}
		})
	}
	for host, theirs := range elsewhere {
		asking.Go(func() { b.remoteStatus(ctx, kind, host, theirs) })
	}
	asking.Wait()
}

// ownerOf is the host that knows an object's status; "" where every host does.
func ownerOf(obj v1.Object) v1.HostName {
	switch o := obj.(type) {
	case *v1.Source:
		return o.Spec.Host
	case *v1.Location:
		return o.Spec.Host
	}
	return ""
}

func (b *backend) localStatus(obj v1.Object) {
	cluster := b.desired.Cluster()
	switch o := obj.(type) {
	case *v1.Source:
		o.Status = b.sourceStatus(o)
	case *v1.Location:
		o.Status = b.locationStatus(o)
	case *v1.Host:
		o.Status = b.conditions.hostStatus(o, b.peers, cluster.Spec.HostTimeout.Duration)
	case *v1.Cluster:
		o.Status = b.conditions.clusterStatus(o, b.identity.ClusterUID(), b.desired.Hosts(), b.peers, cluster.Spec.HostTimeout.Duration)
	}
}

// observe looks at the conditions of what this host knows, so that their times of transition are those of what happened and not of
// the first question.
func (b *backend) observe() {
	self := b.identity.Host()
	for _, s := range b.desired.Sources() {
		if s.Spec.Host == self {
			b.localStatus(s)
		}
	}
	for _, l := range b.desired.Locations() {
		if l.Spec.Host == self {
			b.localStatus(l)
		}
	}
	for _, h := range b.desired.Hosts() {
		b.localStatus(h)
	}
	b.localStatus(b.desired.Cluster())
}

func (b *backend) sourceStatus(o *v1.Source) v1.SourceStatus {
	states := b.sources.States()
	i := slices.IndexFunc(states, func(s controllers.SourceState) bool { return string(s.Name) == o.Name })
	if i < 0 {
		return v1.SourceStatus{}
	}
	want := o.DeepCopy()
	cluster := b.desired.Cluster()
	v1.Default(want, &cluster.Spec)
	running, done := b.sources.Use(v1.SourceName(o.Name))
	defer done()
	if running == nil {
		return b.conditions.sourceStatus(want, states[i], nil, nil)
	}
	counts := running.Coordinator.Status()
	counted, err := b.verifications.of(want, running.Coordinator)
	if err != nil {
		return b.conditions.sourceStatus(want, states[i], &counts, nil)
	}
	return b.conditions.sourceStatus(want, states[i], &counts, &counted)
}

func (b *backend) locationStatus(o *v1.Location) v1.LocationStatus {
	states := b.locations.States()
	i := slices.IndexFunc(states, func(s controllers.LocationState) bool { return string(s.Name) == o.Name })
	if i < 0 {
		return v1.LocationStatus{}
	}
	return b.conditions.locationStatus(o, states[i])
}

func (b *backend) remoteStatus(ctx context.Context, kind string, host v1.HostName, objects []v1.Object) {
	names := make([]string, len(objects))
	for i, obj := range objects {
		names[i] = obj.GetName()
	}
	theirs, err := b.at(host).Get(ctx, kind, names...)
	if err != nil || len(theirs) != len(objects) {
		for _, obj := range objects {
			setAbsent(obj, host)
		}
		return
	}
	b.peers.heard(host, time.Now())
	for i, obj := range objects {
		copyStatus(obj, theirs[i])
	}
}

func setAbsent(obj v1.Object, host v1.HostName) {
	switch o := obj.(type) {
	case *v1.Source:
		o.Status.Conditions = absentConditions(sourceConditions, host)
	case *v1.Location:
		o.Status.Conditions = absentConditions(locationConditions, host)
	}
}

func copyStatus(to, from v1.Object) {
	switch o := to.(type) {
	case *v1.Source:
		if f, ok := from.(*v1.Source); ok {
			o.Status = f.Status
		}
	case *v1.Location:
		if f, ok := from.(*v1.Location); ok {
			o.Status = f.Status
		}
	}
}

// Apply implements admin.Resources: everything is checked before the first is written.
func (b *backend) Apply(ctx context.Context, objects []v1.Object, opts admin.ApplyOptions) ([]admin.Applied, error) {
	warnings, err := b.check(ctx, objects)
	if err != nil {
		return nil, err
	}
	write := func(dry bool) ([]admin.Applied, error) {
		var applied []admin.Applied
		for _, obj := range objects {
			a, err := b.store.Apply(ctx, obj, desired.ApplyOptions{DryRun: dry, MustCreate: opts.Create, IfResourceVersion: obj.GetResourceVersion()})
			if err != nil {
				return nil, storeError(obj, err)
			}
			v1.SetKind(a.Object)
			applied = append(applied, admin.Applied{Object: a.Object, Action: admin.Action(a.Result), Warnings: warnings[v1.RefOf(obj)]})
		}
		return applied, nil
	}
	applied, err := write(true)
	if err != nil || opts.DryRun {
		return applied, err
	}
	defer b.announce()
	return write(false)
}

// check validates a change against all that is desired.
func (b *backend) check(ctx context.Context, objects []v1.Object) (warnings map[string][]string, err error) {
	var present []v1.Object
	for _, kind := range []string{v1.KindCluster, v1.KindHost, v1.KindSource, v1.KindLocation} {
		of, err := b.store.List(ctx, kind)
		if err != nil {
			return nil, err
		}
		present = append(present, of...)
	}
	errs, warns := v1.ValidateChange(present, objects)
	if len(errs) > 0 {
		texts := make([]string, len(errs))
		for i, e := range errs {
			texts[i] = e.Error()
		}
		return nil, admin.Errorf(admin.Invalid, "", "%s", strings.Join(texts, "; "))
	}
	warnings = map[string][]string{}
	for _, w := range warns {
		warnings[w.Refs[0]] = append(warnings[w.Refs[0]], w.Error())
	}
	for _, obj := range objects {
		source, ok := obj.(*v1.Source)
		if !ok || len(warnings[v1.RefOf(obj)]) > 0 {
			continue
		}
		if why := b.unfit(ctx, source); why != "" {
			warnings[v1.RefOf(obj)] = []string{"the desired replicas do not fit: " + why}
		}
	}
	return warnings, nil
}

func storeError(obj v1.Object, err error) error {
	ref := v1.RefOf(obj)
	switch {
	case errors.Is(err, desired.ErrNotFound):
		return notFound(v1.KindOf(obj), obj.GetName())
	case errors.Is(err, desired.ErrConflict):
		return admin.Errorf(admin.Conflict, "", "%v", err)
	case errors.Is(err, desired.ErrInvalid):
		return admin.Errorf(admin.Invalid, "", "%v", err)
	}
	return fmt.Errorf("%s: %w", ref, err)
}

// Delete implements admin.Resources.
func (b *backend) Delete(ctx context.Context, kind, name string, force bool) error {
	obj, err := b.store.Get(ctx, kind, name)
	if errors.Is(err, desired.ErrNotFound) {
		return notFound(kind, name)
	}
	if err != nil {
		return err
	}
	if !force {
		if err := b.mayDelete(ctx, obj); err != nil {
			return err
		}
	}
	if err := b.store.Delete(ctx, kind, name, desired.DeleteOptions{}); err != nil {
		return storeError(obj, err)
	}
	b.announce()
	return nil
}

// Events implements admin.Resources: those of every host that answers, oldest first.
func (b *backend) Events(ctx context.Context, query admin.EventQuery) ([]admin.Event, error) {
	all := b.events.list(query)
	var mu sync.Mutex
	var asking sync.WaitGroup
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	for _, h := range b.desired.Hosts() {
		host := v1.HostName(h.Name)
		if host == b.identity.Host() {
			continue
		}
		asking.Go(func() {
			theirs, err := askHost[[]admin.Event](ctx, b.peers, host, "cb.Events", &query)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, *theirs...)
		})
	}
	asking.Wait()
	slices.SortFunc(all, func(x, y admin.Event) int { return x.Last.Compare(y.Last) })
	if query.Limit > 0 && len(all) > query.Limit {
		all = all[len(all)-query.Limit:]
	}
	return all, nil
}

// Version implements admin.Members.
func (b *backend) Version(context.Context) (admin.VersionInfo, error) {
	i := version.Get()
	return admin.VersionInfo{Version: i.Version, Commit: i.Commit, GoVersion: i.Go, Platform: i.Platform,
		Protocol: i.Protocol(), ProtocolMin: i.ProtocolMin, ProtocolMax: i.ProtocolMax, Host: b.identity.Host(), Cluster: b.identity.ClusterUID()}, nil
}

// CreateToken implements admin.Members.
func (b *backend) CreateToken(_ context.Context, ttl time.Duration) (admin.Token, error) {
	token, expires, err := b.identity.Tokens().Create(ttl)
	if err != nil {
		return admin.Token{}, err
	}
	return admin.Token{Token: token, Address: b.peers.address(b.identity.Host()), Expires: expires}, nil
}

// CreateIdentity implements admin.Members.
func (b *backend) CreateIdentity(_ context.Context, name string) (admin.Identity, error) {
	credential, err := b.identity.IssueAdmin(name, 0)
	if err != nil {
		return admin.Identity{}, err
	}
	contents, err := credential.Encode()
	if err != nil {
		return admin.Identity{}, err
	}
	return admin.Identity{Contents: contents, Expires: credential.Expires()}, nil
}
