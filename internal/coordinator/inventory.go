package coordinator

import (
	"context"
	"fmt"
	"slices"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
)

// inventory is one location's report under way.
type inventory struct {
	// mentioned has a bit for each folder id.
	mentioned []uint64
	// confirmed are files confirmed since it began, in folders that may have been passed by then.
	confirmed map[catalog.Key]bool
	// judging: what the catalog has never seen is called unknown, and its holder retires it. Else it is counted in strangers.
	judging   bool
	strangers int64
	// counted and asOf are as in location.
	counted bool
	asOf    v1.Generation
}

const maxConfirmedMeanwhile = 200000

func (v *inventory) mention(folder uint64) {
	for uint64(len(v.mentioned)) <= folder/64 {
		v.mentioned = append(v.mentioned, make([]uint64, len(v.mentioned)+64)...)
	}
	v.mentioned[folder/64] |= 1 << (folder % 64)
}

func (v *inventory) has(folder uint64) bool {
	return folder/64 < uint64(len(v.mentioned)) && v.mentioned[folder/64]&(1<<(folder%64)) != 0
}

// confirm remembers a file; false: there are too many.
func (v *inventory) confirm(key catalog.Key) bool {
	if len(v.confirmed) >= maxConfirmedMeanwhile {
		return false
	}
	v.confirmed[key] = true
	return true
}

// maxFolders and maxRecords bound one page.
const (
	maxFolders = 20000
	maxRecords = 100000
)

// Inventory compares a page of what a location holds with what is recorded.
func (c *Coordinator) Inventory(ctx context.Context, from v1.HostName, req *Inventory) (*InventoryAnswer, error) {
	records := 0
	for i := range req.Folders {
		records += len(req.Folders[i].Records)
	}
	if len(req.Folders) > maxFolders || records > maxRecords {
		return nil, fmt.Errorf("inventory of %d folders, %d records: %w", len(req.Folders), records, ErrBadRequest)
	}
	inv, err := c.beginPage(from, req)
	if err != nil {
		return nil, err
	}
	a := &InventoryAnswer{}
	page := &page{c: c, from: from, req: req, answer: a, judging: inv.judging && c.cat.Current() && !c.cat.Amnesic()}
	for i := range req.Folders {
		if err := page.folder(&req.Folders[i]); err != nil {
			return nil, fmt.Errorf("inventory: %w", err)
		}
	}
	if err := page.write(); err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	if c.cfg.Acting {
		a = a.CopiesOnly()
	}
	return a, c.endPage(ctx, from, req, inv, page)
}

// beginPage checks the order of pages.
func (c *Coordinator) beginPage(from v1.HostName, req *Inventory) (*inventory, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, l, err := c.order(from, req.Source, req.Location, req.Life, req.Turn)
	if err != nil {
		return nil, err
	}
	h.settled = req.Turn
	switch {
	case req.Session != h.session:
		return nil, fmt.Errorf("session: %w", ErrHelloFirst)
	case req.First:
		l.inventory = &inventory{confirmed: make(map[catalog.Key]bool), judging: c.mayJudge(l), counted: c.cat.Current(), asOf: c.cat.Generation()}
		l.again = false
	case l.inventory == nil:
		return nil, fmt.Errorf("inventory was not begun: %w", ErrHelloFirst)
	}
	return l.inventory, nil
}

// endPage notes the folders of the page; after the last one, what was not told is lost and the location has reported.
func (c *Coordinator) endPage(ctx context.Context, from v1.HostName, req *Inventory, inv *inventory, p *page) error {
	c.mu.Lock()
	h := c.hosts[from]
	l := h.locations[req.Location]
	if l.inventory != inv {
		c.mu.Unlock()
		return fmt.Errorf("inventory was begun anew: %w", ErrHelloFirst)
	}
	for _, id := range p.folders {
		inv.mention(id)
	}
	l.again = l.again || p.unknown
	inv.strangers += p.strangers
	c.mu.Unlock()
	if !req.Last {
		return nil
	}
	lost, err := c.sweep(ctx, from, req, inv)
	if err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	if err := c.endInventory(h, l, inv, req); err != nil {
		return err
	}
	if lost+p.lost > 0 {
		c.cfg.Events("ReplicasLost", fmt.Sprintf("location %s of host %s no longer has %d replicas that it had", req.Location, from, lost+p.lost))
	}
	if c.cfg.Acting {
		return nil
	}
	return c.holdOrphans()
}

func (c *Coordinator) endInventory(h *host, l *location, inv *inventory, req *Inventory) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.inventory != inv || h.session != req.Session || !l.listed {
		return fmt.Errorf("inventory was begun anew: %w", ErrHelloFirst)
	}
	l.inventory, l.reported, c.stale = nil, true, true
	l.strangers, l.counted, l.asOf, l.countedAt = inv.strangers, inv.counted, inv.asOf, c.clock()
	return nil
}

// page is one page being compared.
type page struct {
	c       *Coordinator
	from    v1.HostName
	req     *Inventory
	answer  *InventoryAnswer
	judging bool
	// folders were whole in this page. unknown: something could not be judged yet.
	folders []uint64
	unknown bool
	// strangers is how many files there were that the catalog has never seen.
	strangers int64
	lost      int64
	changed   []*FolderInventory
}

// folder compares one folder; it is written later if anything differs.
func (p *page) folder(f *FolderInventory) error {
	if f.Folder != "" {
		if _, err := v1.ParseRelPath(f.Folder); err != nil {
			return fmt.Errorf("%w: %w", ErrBadRequest, err)
		}
	}
	return p.c.cat.View(func(tx *catalog.Tx) error {
		id, ok := tx.FolderID(f.Folder)
		if !ok {
			p.stranger(f)
			return nil
		}
		if f.Records == nil {
			same, err := p.same(tx, id, f)
			if err != nil {
				return err
			}
			if !same {
				p.answer.Want = append(p.answer.Want, f.Folder)
				return nil
			}
			p.folders = append(p.folders, id)
			return nil
		}
		p.folders = append(p.folders, id)
		differs, err := p.reconcile(tx, id, f, false)
		if differs {
			p.changed = append(p.changed, f)
		}
		return err
	})
}

// stranger judges a folder that the source does not have.
func (p *page) stranger(f *FolderInventory) {
	switch {
	case !p.judging:
		p.unknown = true
		p.strangers += int64(max(f.Files, len(f.Records)))
	case f.Records == nil:
		p.answer.Want = append(p.answer.Want, f.Folder)
	default:
		for i := range f.Records {
			p.verdict(&f.Records[i], ActionUnknown)
		}
	}
}

func (p *page) verdict(r *Record, a Action) {
	p.answer.Verdicts = append(p.answer.Verdicts, Verdict{Path: r.Path, Gen: r.Gen, Action: a})
}

func (p *page) holder() (catalog.HolderID, bool) {
	return p.c.cat.HolderID(catalog.Holder{Host: p.from, Location: p.req.Location})
}

// same tells whether a location holds in a folder exactly what is recorded, all of it confirmed.
func (p *page) same(tx *catalog.Tx, folder uint64, f *FolderInventory) (bool, error) {
	id, known := p.holder()
	if !known {
		return false, nil
	}
	sum, plain := newFolderHash(), true
	err := tx.InFolder(folder, func(key catalog.Key, e *catalog.Entry) error {
		if r := e.Replica(id); r != nil {
			plain = plain && e.Live() && r.State == catalog.Confirmed
			sum.add(key.Name(), tx.Generation(e))
		}
		return nil
	})
	return plain && sum.sum() == f.Digest, err
}

// reconcile makes what is recorded of a location in one folder what it says. Without write it only tells whether anything
// differs, and gives the verdicts.
func (p *page) reconcile(tx *catalog.Tx, folder uint64, f *FolderInventory, write bool) (differs bool, err error) {
	id, known := p.holder()
	if write && !known {
		if id, err = tx.Holder(catalog.Holder{Host: p.from, Location: p.req.Location}); err != nil {
			return false, err
		}
		known = true
	}
	records := make(map[string]*Record, len(f.Records))
	for i := range f.Records {
		if f.Records[i].Path.Dir() != f.Folder {
			return false, fmt.Errorf("%q is not in folder %q: %w", f.Records[i].Path, f.Folder, ErrBadRequest)
		}
		records[f.Records[i].Path.Base()] = &f.Records[i]
	}
	type edit struct {
		key    catalog.Key
		old, e *catalog.Entry
	}
	var edits []edit
	err = tx.InFolder(folder, func(key catalog.Key, old *catalog.Entry) error {
		rec := records[key.Name()]
		delete(records, key.Name())
		var was *catalog.Replica
		if known {
			was = old.Replica(id)
		}
		now, action := p.weigh(tx, old, was, rec, id)
		if action != ActionKeep && !write {
			p.verdict(rec, action)
		}
		if same := was == nil && now == nil || was != nil && now != nil && *was == *now; same {
			return nil
		}
		differs = true
		if !write {
			return nil
		}
		e := old.Clone()
		if now == nil {
			e.RemoveReplica(id)
			p.lost++
		} else {
			e.SetReplica(*now)
		}
		edits = append(edits, edit{key, old, e})
		return nil
	})
	if err != nil {
		return differs, err
	}
	for _, x := range edits {
		if err := tx.Put(x.key, x.old, x.e); err != nil {
			return differs, err
		}
	}
	if !write {
		for _, rec := range records {
			if p.judging {
				p.verdict(rec, ActionUnknown)
			} else {
				p.unknown = true
				p.strangers++
			}
		}
	}
	return differs, nil
}

// weigh decides what a record (nil: not there) makes of a replica (nil: none recorded), and what its holder is to do.
func (p *page) weigh(tx *catalog.Tx, e *catalog.Entry, was *catalog.Replica, rec *Record, id catalog.HolderID) (now *catalog.Replica, do Action) {
	if p.c.cfg.Acting {
		return asListed(e, rec, id), ActionKeep
	}
	if rec == nil {
		return nil, ActionKeep
	}
	gen := tx.Generation(e)
	seq := uint64(0)
	if rec.Gen.Epoch == gen.Epoch {
		seq = rec.Gen.Seq
	}
	if !e.Live() {
		if was != nil {
			return was, ActionKeep // it is being retired
		}
		return &catalog.Replica{Holder: id, State: catalog.Stale, Seq: seq}, ActionKeep
	}
	fits := rec.Size == e.Size && rec.ModTime == e.ModTime
	differs := !rec.Digest.IsZero() && !e.Digest.IsZero() && rec.Digest != e.Digest
	switch {
	case was != nil && was.State == catalog.Corrupt && was.Seq == seq:
		return was, ActionKeep
	case was != nil && was.State == catalog.Confirmed && rec.Gen == gen && fits && !differs:
		return was, ActionKeep
	case fits && !differs:
		return &catalog.Replica{Holder: id, State: catalog.Unconfirmed, Seq: seq}, ActionConfirm
	}
	return &catalog.Replica{Holder: id, State: catalog.Stale, Seq: seq}, ActionStale
}

// write records the differences, all in one transaction.
func (p *page) write() error {
	if len(p.changed) == 0 {
		return nil
	}
	return p.c.cat.Update(func(tx *catalog.Tx) error {
		for _, f := range p.changed {
			id, ok := tx.FolderID(f.Folder)
			if !ok {
				continue
			}
			if _, err := p.reconcile(tx, id, f, true); err != nil {
				return err
			}
		}
		return nil
	})
}

// sweepBatch is how many replicas are forgotten in one transaction.
const sweepBatch = 4000

// sweep forgets what is recorded of a location in folders that its inventory did not mention.
func (c *Coordinator) sweep(ctx context.Context, from v1.HostName, req *Inventory, inv *inventory) (lost int64, err error) {
	id, known := c.cat.HolderID(catalog.Holder{Host: from, Location: req.Location})
	if !known {
		return 0, nil
	}
	for {
		keys, err := c.unmentioned(id, inv)
		if err != nil || len(keys) == 0 {
			return lost, err
		}
		if err := c.forget(id, inv, keys); err != nil {
			return lost, err
		}
		lost += int64(len(keys))
		if err := ctx.Err(); err != nil {
			return lost, err
		}
	}
}

// unmentioned finds some replicas in folders that were not mentioned.
func (c *Coordinator) unmentioned(id catalog.HolderID, inv *inventory) (keys []catalog.Key, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.cat.View(func(tx *catalog.Tx) error {
		keys = keys[:0]
		return tx.HeldBy(id, func(key catalog.Key) bool {
			if !inv.has(key.Folder()) && !inv.confirmed[key] {
				keys = append(keys, key)
			}
			return len(keys) < sweepBatch
		})
	})
	return keys, err
}

// forget removes a holder's replicas, but for those that were confirmed meanwhile.
func (c *Coordinator) forget(id catalog.HolderID, inv *inventory, keys []catalog.Key) error {
	return c.cat.Update(func(tx *catalog.Tx) error {
		c.mu.Lock()
		keys := slices.DeleteFunc(slices.Clone(keys), func(k catalog.Key) bool { return inv.confirmed[k] })
		c.mu.Unlock()
		for _, key := range keys {
			if err := removeReplica(tx, key, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeReplica forgets one replica.
func removeReplica(tx *catalog.Tx, key catalog.Key, id catalog.HolderID) error {
	old, err := tx.Get(key)
	if err != nil || old == nil || old.Replica(id) == nil {
		return err
	}
	e := old.Clone()
	e.RemoveReplica(id)
	return tx.Put(key, old, e)
}
