package daemon

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

// mayDelete refuses what would lose replicas, or leave others without what they name.
func (b *backend) mayDelete(ctx context.Context, obj v1.Object) error {
	switch o := obj.(type) {
	case *v1.Location:
		return b.mayDeleteLocation(ctx, o)
	case *v1.Host:
		return b.mayDeleteHost(o)
	}
	return nil
}

// mayDeleteLocation lets a location go that is known to hold no replica, or never was there.
func (b *backend) mayDeleteLocation(ctx context.Context, l *v1.Location) error {
	objects, err := b.Get(ctx, v1.KindLocation, l.Name)
	if err != nil {
		return err
	}
	now, ok := objects[0].(*v1.Location)
	if !ok {
		return nil
	}
	why := ""
	switch available := conditionStatus(now.Status.Conditions, v1.ConditionAvailable); {
	case now.Status.Replicas > 0:
		why = fmt.Sprintf("it holds %d replicas, %d bytes, which would count no longer", now.Status.Replicas, now.Status.Used)
	case available == "Unknown":
		why = fmt.Sprintf("its host %s does not answer, so that nobody can tell what it holds", l.Spec.Host)
	case now.Status.UID != "" && available != "True":
		why = "it is not available now, so that nobody can tell what it holds"
	}
	if why == "" {
		return nil
	}
	return admin.Errorf(admin.Conflict, v1.RefOf(l), "%s", why).
		WithHint("empty it with `cbctl drain location/%s` and wait for condition Drained; `cbctl delete location %s --force` deletes it all the same", l.Name, l.Name)
}

func conditionStatus(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return string(c.Status)
	}
	return ""
}

// mayDeleteHost lets a host go that no source and no location names.
func (b *backend) mayDeleteHost(h *v1.Host) error {
	var named []string
	for _, s := range b.desired.Sources() {
		if string(s.Spec.Host) == h.Name {
			named = append(named, v1.RefOf(s))
		}
	}
	for _, l := range b.desired.Locations() {
		if string(l.Spec.Host) == h.Name {
			named = append(named, v1.RefOf(l))
		}
	}
	if len(named) == 0 {
		return nil
	}
	return admin.Errorf(admin.Conflict, v1.RefOf(h), "%s on it would have no host any more", strings.Join(named, ", ")).
		WithHint("drain it with `cbctl drain host/%s`, delete what is on it, then the host; --force deletes the host all the same", h.Name)
}
