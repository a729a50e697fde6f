package desired

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// SetDigest stands for a whole set of resources, tombstones included: two hosts with the same digest have the same set.
type SetDigest [sha256.Size]byte

// Have says which version of a resource a host has.
type Have struct {
	Kind, Name, Version string
}

// Item is one version of a resource on its way from host to host, as canonical JSON; a tombstone says so itself.
type Item struct {
	Resource []byte
}

// Merged is what Merge did.
type Merged struct {
	// Taken is how many items were newer than what was here.
	Taken int
	// Refused says of each item that was not believed why; ErrClock among them.
	Refused []error
}

// maxAnswer bounds the bytes of resources in one Diff; what is left comes with the next.
const maxAnswer = 8 << 20

// Digest stands for the set as it is now.
func (s *Files) Digest() SetDigest {
	h := sha256.New()
	for _, have := range s.Have() {
		fmt.Fprintf(h, "%s/%s %s\n", have.Kind, have.Name, have.Version)
	}
	return SetDigest(h.Sum(nil))
}

// Have lists what is here, for a peer's Diff.
func (s *Files) Have() []Have {
	s.mu.RLock()
	defer s.mu.RUnlock()
	have := []Have{}
	for _, r := range s.shared() {
		have = append(have, Have{r.kind, r.name, r.version.String()})
	}
	return have
}

// shared are the resources and tombstones that hosts tell one another, in the same order everywhere.
func (s *Files) shared() []*resource {
	var shared []*resource
	for _, r := range s.all {
		if !s.outdated(r) {
			shared = append(shared, r)
		}
	}
	slices.SortFunc(shared, func(a, b *resource) int {
		return strings.Compare(a.key().String(), b.key().String())
	})
	return shared
}

// Diff is what a peer that has these lacks: resources it does not know, and newer versions of those it does.
func (s *Files) Diff(theirs []Have) []Item {
	known := map[key]Version{}
	for _, have := range theirs {
		if v, err := ParseVersion(have.Version); err == nil {
			known[keyOf(have.Kind, have.Name)] = v
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var items []Item
	size := 0
	for _, r := range s.shared() {
		v, ok := known[r.key()]
		if ok && v.Compare(r.version) >= 0 {
			continue
		}
		if size += len(r.json); size > maxAnswer && len(items) > 0 {
			break
		}
		items = append(items, Item{Resource: bytes.Clone(r.json)})
	}
	return items
}

// Merge takes in what a peer's Diff gave: of each resource the greater version stays. The error is one of writing; items that are not
// believed are in Merged.Refused and leave everything as it was.
func (s *Files) Merge(ctx context.Context, items []Item) (Merged, error) {
	s.mu.Lock()
	changes, _ := s.refresh()
	merged, more, err := s.merge(ctx, items)
	s.forget()
	s.mu.Unlock()
	s.watchers.tell(append(changes, more...)...)
	return merged, err
}

func (s *Files) merge(ctx context.Context, items []Item) (merged Merged, changes []Change, err error) {
	for _, item := range items {
		if err := ctx.Err(); err != nil {
			return merged, changes, err
		}
		r, err := s.believe(item)
		if err != nil {
			merged.Refused = append(merged.Refused, err)
			continue
		}
		present := s.all[r.key()]
		if present != nil && present.version.Compare(r.version) >= 0 || present == nil && s.outdated(r) {
			continue
		}
		if err := s.keepLoser(present, r); err != nil {
			return merged, changes, err
		}
		change, err := s.commit(r)
		if err != nil {
			return merged, changes, err
		}
		merged.Taken++
		changes = append(changes, change)
	}
	return merged, changes, nil
}

// believe reads what a peer sent.
func (s *Files) believe(item Item) (*resource, error) {
	r, err := parseResource(item.Resource)
	switch {
	case err != nil:
		return nil, fmt.Errorf("take in resource: %w: %w", ErrInvalid, err)
	case !bytes.Equal(r.json, item.Resource):
		return nil, fmt.Errorf("take in %s: %w: it is not in canonical form", r.key(), ErrInvalid)
	case s.clock.ahead(r.version.Time):
		err := fmt.Errorf("take in %s: %w: host %s made it at %s, which is more than %s ahead of this host's clock; set the one that is wrong",
			r.key(), ErrClock, r.version.Host, r.version.Time.Format(time.RFC3339), MaxAhead)
		s.event(r.key(), "ClockAhead", err.Error())
		return nil, err
	}
	// What cannot be written and read again would stop this host at its next start.
	data, err := r.yaml()
	if err == nil {
		_, err = parseFile(data)
	}
	if err != nil {
		return nil, fmt.Errorf("take in %s: %w: %w", r.key(), ErrInvalid, err)
	}
	return r, nil
}

// keepLoser puts aside the version that loses a conflict, and says so. A version whose successor comes is no loser.
func (s *Files) keepLoser(present, winner *resource) error {
	if present == nil || winner.version.knew(present.version) || sameWish(present, winner) {
		return nil
	}
	data, err := present.yaml()
	if err != nil {
		return err
	}
	kept, err := s.folder.keep(present.key(), s.clock.now(), data)
	if err != nil {
		return err
	}
	s.event(present.key(), "ConflictLost", fmt.Sprintf("%s at host %s was overruled: host %s %s it at %s without knowing of that; the version that lost is kept as %s",
		describe(present), present.version.Host, winner.version.Host, verb(winner), winner.version.Time.Format(time.RFC3339), kept))
	return nil
}

// sameWish tells whether two versions ask for the same, so that neither loses anything.
func sameWish(a, b *resource) bool {
	if !a.live() || !b.live() {
		return !a.live() && !b.live()
	}
	if a.object == nil || b.object == nil {
		return false
	}
	specA, restA, errA := wanted(a.object)
	specB, restB, errB := wanted(b.object)
	return errors.Join(errA, errB) == nil && specA == specB && restA == restB
}

func describe(r *resource) string {
	at := r.version.Time.Format(time.RFC3339)
	if r.live() {
		return fmt.Sprintf("the change of %s made at %s", r.key(), at)
	}
	return fmt.Sprintf("the deletion of %s at %s", r.key(), at)
}

func verb(r *resource) string {
	if r.live() {
		return "changed"
	}
	return "deleted"
}

// Export is the whole set as bytes, to hand to a host that joins; Import takes it in.
func (s *Files) Export() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	items := []Item{}
	for _, r := range s.shared() {
		items = append(items, Item{Resource: r.json})
	}
	return cbor.Marshal(items)
}

// Import merges what Export of another host gave. An item that is not valid fails it; one that is only too far ahead of this host's clock
// is left for a later pull.
func (s *Files) Import(ctx context.Context, data []byte) error {
	var items []Item
	if len(data) > 0 {
		if err := cbor.Unmarshal(data, &items); err != nil {
			return fmt.Errorf("import resources: %w: %w", ErrInvalid, err)
		}
	}
	merged, err := s.Merge(ctx, items)
	for _, refused := range merged.Refused {
		if !errors.Is(refused, ErrClock) {
			err = errors.Join(err, refused)
		}
	}
	if err != nil {
		return fmt.Errorf("import resources: %w", err)
	}
	return nil
}
