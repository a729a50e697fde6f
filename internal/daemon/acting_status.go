package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/coordinator"
	"clusterbackup/transport"
)

// actingRequest asks a host how a source stands that it acts for. The answer is JSON, as objects are elsewhere.
type actingRequest struct{ Source v1.SourceName }

func registerActing(server *transport.Server, b *backend) {
	transport.Handle(server, actingPrefix+"Status", func(_ context.Context, peer transport.Peer, q actingRequest) ([]byte, error) {
		if _, err := hostOf(peer); err != nil {
			return nil, err
		}
		status, err := b.actingHere(q.Source)
		if err != nil {
			return nil, err
		}
		return json.Marshal(status)
	})
}

// actingHere is the status of a source that this host acts for.
func (b *backend) actingHere(name v1.SourceName) (*v1.SourceStatus, error) {
	running, done := b.acting.Use(name)
	defer done()
	source := b.desired.source(name)
	if running == nil || source == nil {
		return nil, notActing(name)
	}
	counts := running.Coordinator.Status()
	status := b.conditions.actingStatus(source, b.identity.Host(), running.Listing, &counts)
	return &status, nil
}

// actingStatus fills in the status of a source from the host that acts for its own, if one does and tells.
func (b *backend) actingStatus(ctx context.Context, o *v1.Source) bool {
	name := v1.SourceName(o.Name)
	by := b.actsFor(name)
	if by == "" {
		return false
	}
	status := &v1.SourceStatus{}
	var err error
	if by == b.identity.Host() {
		status, err = b.actingHere(name)
	} else {
		var answer *[]byte
		if answer, err = askHost[[]byte](ctx, b.peers, by, actingPrefix+"Status", &actingRequest{name}); err == nil {
			err = json.Unmarshal(*answer, status)
		}
	}
	if err == nil {
		o.Status = *status
	}
	return err == nil
}

// actingStatus is a source as the host that acts for its own knows it: from a listing, and from the holders that are there.
func (c *conditions) actingStatus(want *v1.Source, by v1.HostName, from controllers.Listing, counts *coordinator.Status) v1.SourceStatus {
	asOf := fmt.Sprintf("as listed on %s", from.Time.UTC().Format(time.RFC3339))
	who := fmt.Sprintf("host %s is silent; %s acts for it, %s: it orders copies, and nothing is dropped", want.Spec.Host, by, asOf)
	s := v1.SourceStatus{ObservedGeneration: want.Generation, Files: counts.Files, Bytes: counts.Bytes, Replicas: counts.ReplicaFiles[:],
		Underserved: counts.Underserved, Overserved: counts.Overserved, Problems: counts.Problems, ProblemCount: counts.ProblemCount}
	s.Conditions = c.set(v1.RefOf(want), want.Generation, []metav1.Condition{
		condition(v1.ConditionAvailable, false, "HostSilent", who), unknown(v1.ConditionScanned, "HostSilent", who), protectedAsListed(want, asOf, from.Unknown, counts),
		unknown(v1.ConditionVerified, "HostSilent", who), unknown(v1.ConditionDeletionsHeld, "HostSilent", who), placeable(counts)})
	return s
}

// protectedAsListed says whether what is known of a source without its host is protected.
func protectedAsListed(want *v1.Source, asOf string, unlisted int64, counts *coordinator.Status) metav1.Condition {
	switch {
	case len(counts.WaitingFor) > 0:
		return unknown(v1.ConditionProtected, "InventoriesPending", fmt.Sprintf("waiting for hosts to say what they hold, or to be silent for long enough: %v", counts.WaitingFor))
	case counts.Underserved > 0:
		return condition(v1.ConditionProtected, false, "Underserved", fmt.Sprintf("%d of %d files %s have fewer than %d replicas", counts.Underserved, counts.Files, asOf, want.Spec.MinReplicas))
	case unlisted > 0:
		return unknown(v1.ConditionProtected, "DigestsMissing", fmt.Sprintf("%d files had no replica yet, as far as the listing knows, and cannot be told by it; the %d others have %d replicas or more",
			unlisted, counts.Files, want.Spec.MinReplicas))
	}
	return condition(v1.ConditionProtected, true, "EnoughReplicas", fmt.Sprintf("%d files %s have %d replicas or more", counts.Files, asOf, want.Spec.MinReplicas))
}

// filesFrom streams the files of a source that this host answers for.
func filesFrom(ctx context.Context, running *controllers.RunningSource, query admin.FileQuery) iter.Seq2[v1.File, error] {
	_, after, err := admin.ParseContinue(query.Continue)
	if err != nil {
		return failing[v1.File](err)
	}
	q := coordinator.Query{Prefix: string(query.Path), Underserved: query.Underserved, Overserved: query.Overserved,
		Unreplicated: query.Unreplicated, Deleted: query.Deleted, Host: query.Host}
	if after != "" {
		q.Continue = coordinator.ContinueToken(&v1.File{Spec: v1.FileSpec{PathBase64: []byte(after)}})
	}
	return running.Coordinator.Files(ctx, q)
}
