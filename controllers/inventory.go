package controllers

import (
	"context"
	"fmt"
	"slices"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/location"
)

// inventoryPage bounds a page by its folders and records.
const (
	inventoryFolders = 512
	inventoryRecords = 4096
	confirmAtOnce    = 1000
)

// unconfirmed is a replica that is published here and whose confirmation is open.
type unconfirmed struct {
	location v1.LocationName
	record   coordinator.Record
}

// inventory tells the coordinator what is held in each location it asks about, and does as it says.
func (r *CopyReconciler) inventory(ctx context.Context, s *Session, answer *coordinator.HelloAnswer, locations []*OpenLocation) error {
	if !answer.NeedInventory {
		return nil
	}
	for _, l := range locations {
		if len(answer.Inventory) > 0 && !slices.Contains(answer.Inventory, l.Name) {
			continue
		}
		if err := r.tell(ctx, s, l); err != nil {
			return fmt.Errorf("tell inventory of %s: %w", l.Name, err)
		}
	}
	return nil
}

func (r *CopyReconciler) tell(ctx context.Context, s *Session, l *OpenLocation) error {
	i := &inventory{CopyReconciler: r, session: s, location: l, first: true}
	for folder, err := range l.Folders(s.client.Source, "") {
		if err != nil {
			return err
		}
		if err := i.add(ctx, folder); err != nil {
			return err
		}
	}
	if err := i.send(ctx, true); err != nil {
		return err
	}
	return i.act(ctx)
}

// inventory is one location's inventory under way: a page at a time, and what the coordinator made of those before.
type inventory struct {
	*CopyReconciler
	session  *Session
	location *OpenLocation
	first    bool
	page     []coordinator.FolderInventory
	records  int
	confirm  []coordinator.Record
	unknown  []location.Record
}

func (i *inventory) add(ctx context.Context, folder location.Folder) error {
	records := []coordinator.Record{}
	for _, record := range folder.Records {
		if !record.Bad { // what is known to be corrupt is not held
			records = append(records, recordOf(record))
		}
	}
	i.page = append(i.page, coordinator.FolderInventory{Folder: folder.Path, Digest: coordinator.FolderDigest(records), Records: records})
	i.records += len(records)
	if len(i.page) < inventoryFolders && i.records < inventoryRecords {
		return nil
	}
	if err := i.send(ctx, false); err != nil {
		return err
	}
	return i.act(ctx)
}

// send sends the page with digests alone, then whole those folders whose digest is another at the coordinator.
func (i *inventory) send(ctx context.Context, last bool) error {
	brief := make([]coordinator.FolderInventory, len(i.page))
	for n, f := range i.page {
		brief[n] = coordinator.FolderInventory{Folder: f.Folder, Digest: f.Digest, Files: len(f.Records)}
	}
	answer, err := i.session.inventory(ctx, i.location, &coordinator.Inventory{Folders: brief, First: i.first})
	if err != nil {
		return err
	}
	i.first = false
	if err := i.judge(answer.Verdicts); err != nil {
		return err
	}
	var whole []coordinator.FolderInventory
	for _, f := range i.page {
		if slices.Contains(answer.Want, f.Folder) {
			whole = append(whole, f)
		}
	}
	if len(whole) > 0 || last {
		answer, err = i.session.inventory(ctx, i.location, &coordinator.Inventory{Folders: whole, Last: last})
		if err != nil {
			return err
		}
		if err := i.judge(answer.Verdicts); err != nil {
			return err
		}
	}
	i.page, i.records = nil, 0
	return nil
}

func (i *inventory) judge(verdicts []coordinator.Verdict) error {
	for _, v := range verdicts {
		if v.Action != coordinator.ActionConfirm && v.Action != coordinator.ActionUnknown {
			continue
		}
		record, held, err := i.location.Get(i.session.client.Source, v.Path)
		switch {
		case err != nil:
			return err
		case !held || record.Gen != v.Gen: // it was replaced since it was told
		case v.Action == coordinator.ActionConfirm:
			i.confirm = append(i.confirm, recordOf(record))
		default:
			i.unknown = append(i.unknown, record)
		}
	}
	return nil
}

// act confirms what fits the source's present versions and retires what the source has not.
func (i *inventory) act(ctx context.Context) error {
	for batch := range slices.Chunk(i.confirm, confirmAtOnce) {
		if err := i.settle(ctx, i.session, i.location, batch); err != nil {
			return err
		}
	}
	i.confirm = nil
	unknown := i.unknown
	i.unknown = nil
	source := i.session.client.Source
	return i.session.retire(ctx, i.location, unknown, i.Retention(source).Deleted.Duration)
}

func recordOf(r location.Record) coordinator.Record {
	return coordinator.Record{Path: r.Path, Gen: r.Gen, Digest: r.Digest, Size: r.Size, ModTime: r.ModTime, Verified: r.Verified}
}

// settle asks the coordinator to confirm records and does what its answers call for. What it cannot tell now is asked again
// in the next reconcile.
func (r *CopyReconciler) settle(ctx context.Context, s *Session, l *OpenLocation, records []coordinator.Record) error {
	answers, err := s.confirm(ctx, l, records)
	if err != nil {
		r.addPending(s.client, l.Name, records)
		return fmt.Errorf("confirm %d files: %w", len(records), err)
	}
	var confirmed, wrong, gone []location.Record
	var unclear []coordinator.Record
	for i, a := range answers {
		record := location.Record{Path: records[i].Path, Gen: records[i].Gen, Digest: records[i].Digest}
		switch a.Outcome {
		case coordinator.OutcomeYes:
			if !a.Gen.IsZero() { // who acts for the source has none to tell
				record.Gen, record.Mode = a.Gen, a.Mode
			}
			confirmed = append(confirmed, record)
		case coordinator.OutcomeNo:
			wrong = append(wrong, record)
		case coordinator.OutcomeGone:
			gone = append(gone, record)
		case coordinator.OutcomeUnclear:
			unclear = append(unclear, records[i])
		}
	}
	r.addPending(s.client, l.Name, unclear)
	if err := accept(l, s.client.Source, confirmed); err != nil {
		return err
	}
	retention := r.Retention(s.client.Source)
	// A wrong copy is out of the way, so that a right one can be claimed; its bytes are kept like any earlier version's.
	if err := s.retire(ctx, l, wrong, retention.Versions.Duration); err != nil {
		return err
	}
	return s.retire(ctx, l, gone, retention.Deleted.Duration)
}

// accept takes over what the coordinator said of confirmed replicas.
func accept(l *OpenLocation, source v1.SourceName, confirmed []location.Record) error {
	if len(confirmed) == 0 {
		return nil
	}
	if err := l.TakeOver(source, confirmed); err != nil {
		return err
	}
	paths := make([]v1.RelPath, len(confirmed))
	for i, r := range confirmed {
		paths[i] = r.Path
	}
	return l.Confirmed(source, paths)
}

// maxPending bounds what is remembered of open confirmations; what is beyond it is found by the next inventory.
const maxPending = 10_000

func (r *CopyReconciler) addPending(c Client, l v1.LocationName, records []coordinator.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil {
		r.pending = map[Client][]unconfirmed{}
	}
	for _, record := range records {
		if len(r.pending[c]) < maxPending {
			r.pending[c] = append(r.pending[c], unconfirmed{l, record})
		}
	}
}

// confirmPending asks again about what could not be told before, as it lies here now.
func (r *CopyReconciler) confirmPending(ctx context.Context, s *Session, locations []*OpenLocation) error {
	r.mu.Lock()
	pending := r.pending[s.client]
	delete(r.pending, s.client)
	r.mu.Unlock()
	for _, l := range locations {
		var records []coordinator.Record
		for _, p := range pending {
			if p.location != l.Name {
				continue
			}
			record, held, err := l.Get(s.client.Source, p.record.Path)
			if err != nil {
				return err
			}
			if held && record.Gen == p.record.Gen {
				records = append(records, recordOf(record))
			}
		}
		for batch := range slices.Chunk(records, confirmAtOnce) {
			if err := r.settle(ctx, s, l, batch); err != nil {
				return err
			}
		}
	}
	return nil
}
