package coordinator

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/tree"
)

// Query selects files. The zero Query is all files that are not deleted.
type Query struct {
	// Prefix is a file or a folder; "" is all.
	Prefix string
	// At most one of these.
	Underserved, Overserved, Unreplicated, Deleted bool
	// Host: only files of which this host holds a replica in any state.
	Host v1.HostName
	// Limit is how many at most; 0: all. Continue is where an earlier query ended ([ContinueToken]).
	Limit    int
	Continue string
}

// File tells of one; ErrNoFile.
func (c *Coordinator) File(ctx context.Context, path v1.RelPath) (v1.File, error) {
	var item catalog.Item
	err := c.cat.View(func(tx *catalog.Tx) (err error) {
		item.Path = path
		item.Key, item.Entry, err = tx.Find(path)
		return err
	})
	if err != nil {
		return v1.File{}, err
	}
	if item.Entry == nil || item.Entry.Kind != tree.KindFile {
		return v1.File{}, fmt.Errorf("%s: %w", quote(path), ErrNoFile)
	}
	s := c.shower()
	return s.show(item), nil
}

// Files streams files in the order of their folders. No transaction is open while the caller works, so that it may take its
// time. Continue tokens are valid across restarts.
func (c *Coordinator) Files(ctx context.Context, q Query) iter.Seq2[v1.File, error] {
	return func(yield func(v1.File, error) bool) {
		after, err := parseToken(q.Continue)
		if err != nil {
			yield(v1.File{}, err)
			return
		}
		s := c.shower()
		n := 0
		stopped := false
		err = c.cat.Walk(ctx, strings.Trim(q.Prefix, "/"), after, func(item catalog.Item) bool {
			if item.Entry.Kind != tree.KindFile || !s.wanted(item.Entry, &q) {
				return true
			}
			n++
			stopped = !yield(s.show(item), nil)
			return !stopped && (q.Limit <= 0 || n < q.Limit)
		})
		if err != nil && !stopped {
			yield(v1.File{}, fmt.Errorf("list files: %w", err))
		}
	}
}

// ContinueToken is where a query goes on that ended with this file.
func ContinueToken(last *v1.File) string {
	path := []byte(last.Spec.Path)
	if len(last.Spec.PathBase64) > 0 {
		path = last.Spec.PathBase64
	}
	return base64.RawURLEncoding.EncodeToString(path)
}

func parseToken(token string) (string, error) {
	path, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", fmt.Errorf("continue token %q: %w: take it from the latest answer", clip(token), ErrBadRequest)
	}
	return string(path), nil
}

// shower shows entries as they stand at one moment.
type shower struct {
	source v1.SourceName
	view   *view
	claims map[catalog.Key][]claim
}

func (c *Coordinator) shower() *shower {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &shower{source: v1.SourceName(c.source.Name), view: c.look(), claims: make(map[catalog.Key][]claim, len(c.claims.byKey))}
	for key, list := range c.claims.byKey {
		for _, n := range list {
			s.claims[key] = append(s.claims[key], *n)
		}
	}
	return s
}

// standing counts the confirmed replicas that are not lost: by failure domain, and one by one.
func (s *shower) standing(e *catalog.Entry) (domains, replicas int) {
	var confirmed []catalog.HolderID
	for _, r := range e.Replicas {
		if r.State == catalog.Confirmed && r.Seq == e.Seq && s.known(r.Holder) && !s.view.holder(r.Holder).gone {
			confirmed = append(confirmed, r.Holder)
		}
	}
	return s.view.spread(confirmed, notGone), len(confirmed)
}

// known is false for a holder that is newer than the view.
func (s *shower) known(id catalog.HolderID) bool { return int(id) < len(s.view.holders) }

func (s *shower) service(e *catalog.Entry) v1.Service {
	if !e.Live() {
		return v1.Deleted
	}
	domains, replicas := s.standing(e)
	switch {
	case domains < s.view.min:
		return v1.Underserved
	case replicas > s.view.max:
		return v1.Overserved
	}
	return v1.Served
}

func (s *shower) wanted(e *catalog.Entry, q *Query) bool {
	if q.Host != "" && !slices.ContainsFunc(e.Replicas, func(r catalog.Replica) bool {
		return s.known(r.Holder) && s.view.holder(r.Holder).Host == q.Host
	}) {
		return false
	}
	service := s.service(e)
	switch {
	case q.Deleted:
		return service == v1.Deleted
	case service == v1.Deleted:
		return false
	case q.Underserved:
		return service == v1.Underserved
	case q.Overserved:
		return service == v1.Overserved
	case q.Unreplicated:
		n, _ := s.standing(e)
		return n == 0
	}
	return true
}

// show makes the File that users see.
func (s *shower) show(item catalog.Item) v1.File {
	e := item.Entry
	f := v1.NewFile(s.source, item.Path, e.Size, e.ModTime, e.Mode, e.Digest)
	f.Status = v1.FileStatus{Service: s.service(e), DesiredReplicas: int32(s.view.min), Replicas: s.replicas(item.Key, e)}
	if e.DeletedAt != 0 {
		at := metav1.NewTime(time.Unix(0, e.DeletedAt).UTC())
		f.Status.DeletedTime = &at
		f.Status.DesiredReplicas = 0
	}
	return f
}

func (s *shower) replicas(key catalog.Key, e *catalog.Entry) []v1.ReplicaStatus {
	list := make([]v1.ReplicaStatus, 0, len(e.Replicas))
	for _, r := range e.Replicas {
		if s.known(r.Holder) {
			list = append(list, s.replica(e, r))
		}
	}
	for _, n := range s.claims[key] {
		i := slices.IndexFunc(list, func(r v1.ReplicaStatus) bool { return r.Host == n.host && r.Location == n.location })
		switch {
		case i < 0:
			list = append(list, v1.ReplicaStatus{Host: n.host, Location: n.location, State: v1.ReplicaClaimed})
		case list[i].State != v1.ReplicaConfirmed:
			list[i].State = v1.ReplicaClaimed
		}
	}
	slices.SortFunc(list, func(a, b v1.ReplicaStatus) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Location, b.Location))
	})
	return list
}

func (s *shower) replica(e *catalog.Entry, r catalog.Replica) v1.ReplicaStatus {
	f := s.view.holder(r.Holder)
	out := v1.ReplicaStatus{Host: f.Host, Location: f.Location, State: v1.ReplicaStale}
	switch {
	case f.gone, r.State == catalog.Granted, r.State == catalog.Leaving:
		out.State = v1.ReplicaLost
	case r.State == catalog.Confirmed && r.Seq == e.Seq:
		out.State = v1.ReplicaConfirmed
	case r.State == catalog.Corrupt:
		out.State = v1.ReplicaCorrupt
	}
	if r.Verified > 0 {
		at := metav1.NewTime(time.Unix(r.Verified, 0).UTC())
		out.VerifiedTime = &at
	}
	return out
}
