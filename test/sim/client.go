package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/placement"
)

// client is a host as a client of one source's coordinator: two processes, one that copies and one that lets go, which
// take turns to talk about what is held here (lock).
type client struct {
	h        *host
	to       *source
	lock     mutex
	life     uint64
	turn     uint64
	hello    coordinator.HelloAnswer
	wanted   int64 // bytes of room that the source would fill here
	pending  map[v1.RelPath]bool
	accepted int64 // bytes that its coordinator has copied elsewhere for others
	copier   *proc
	copies   []*proc
	dropper  *proc
	drops    bell
	fetch    bell
}

func newClient(h *host, s *source) *client {
	c := &client{h: h, to: s, pending: make(map[v1.RelPath]bool)}
	c.copier = start(&h.w.clock, c.copyLoop)
	c.dropper = start(&h.w.clock, c.dropLoop)
	return c
}

func (c *client) stop() {
	c.copier.kill()
	c.dropper.kill()
	for _, p := range c.copies {
		p.kill()
	}
}

// ask sends a request whose answer is of type A.
func ask[A any](p *proc, c *client, handle func(context.Context, *coordinator.Coordinator) (*A, error)) (*A, error) {
	var answer *A
	err := c.h.w.net.ask(p, c.h, c.to, func(_ *call, co *coordinator.Coordinator) (func(), error) {
		a, err := handle(context.Background(), co)
		return func() { answer = a }, err
	})
	return answer, err
}

// turnNow begins an exchange in which order matters. The lock is held.
func (c *client) turnNow() (life, turn uint64) {
	c.turn++
	return c.life, c.turn
}

func (c *client) copyLoop(p *proc) {
	p.sleep(time.Duration(c.h.w.rng.Int64N(int64(c.h.w.cfg.Poll))))
	for {
		wait, err := c.round(p)
		if err != nil {
			wait = c.h.w.cfg.Poll
		}
		p.sleepUntilNudged(c.h.w.spread(wait), &c.fetch)
	}
}

// round is one reconcile of the copying half.
func (c *client) round(p *proc) (wait time.Duration, err error) {
	if err := c.sayHello(p); err != nil {
		return 0, err
	}
	if c.hello.NeedInventory {
		if err := c.inventory(p); err != nil {
			return 0, err
		}
	}
	if err := c.confirmPending(p); err != nil {
		return 0, err
	}
	copied := 0
	retry := max(c.hello.PollAfter, time.Second)
	if c.hello.Claimable || c.hello.Extra {
		if copied, retry, err = c.copyAll(p); err != nil {
			return 0, err
		}
	} else {
		c.wanted = 0
	}
	if c.hello.Retire || c.hello.Surplus || c.h.disk.over() > 0 || c.h.draining || c.h.starving() > 0 {
		c.drops.ring(&c.h.w.clock)
	}
	if copied > 0 {
		return time.Second, nil
	}
	return min(retry, max(c.hello.PollAfter, time.Second)), nil
}

func (c *client) sayHello(p *proc) error {
	c.lock.lock(p)
	defer c.lock.unlock(&c.h.w.clock)
	d := c.h.disk
	hello := &coordinator.Hello{
		Source: c.to.name, Session: c.h.session, Highest: d.highest(c.to.name), Holds: len(d.replicas[c.to.name]) > 0,
		Locations: []coordinator.LocationInfo{{Name: c.h.location, UID: string(c.h.location), Capacity: d.allowed(), Used: d.used() + d.reserved, Free: d.free(), Draining: c.h.draining}},
	}
	answer, err := ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.HelloAnswer, error) {
		answer, err := co.Hello(ctx, c.h.name, hello)
		if err == nil && !answer.NeedInventory && hello.Session == c.h.session {
			c.to.hears(c.h)
		}
		return answer, err
	})
	if err != nil {
		return err
	}
	if answer.Life != c.life {
		c.life, c.turn = answer.Life, 0
	}
	c.turn = max(c.turn, answer.Turn)
	c.hello = *answer
	return nil
}

// inventory tells what is held, folder by folder.
func (c *client) inventory(p *proc) error {
	c.lock.lock(p)
	defer c.lock.unlock(&c.h.w.clock)
	folders := make(map[string][]coordinator.Record)
	held := c.h.disk.replicas[c.to.name]
	for _, path := range slices.Sorted(maps.Keys(held)) {
		folders[path.Dir()] = append(folders[path.Dir()], record(path, held[path]))
	}
	var brief, whole []coordinator.FolderInventory
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		brief = append(brief, coordinator.FolderInventory{Folder: name, Digest: coordinator.FolderDigest(folders[name])})
	}
	answer, err := c.page(p, &coordinator.Inventory{Folders: brief, First: true})
	if err != nil {
		return err
	}
	verdicts := answer.Verdicts
	for _, name := range answer.Want {
		whole = append(whole, coordinator.FolderInventory{Folder: name, Digest: coordinator.FolderDigest(folders[name]), Records: folders[name]})
	}
	if answer, err = c.page(p, &coordinator.Inventory{Folders: whole, Last: true}); err != nil {
		return err
	}
	return c.judge(p, append(verdicts, answer.Verdicts...))
}

func record(path v1.RelPath, r *replica) coordinator.Record {
	return coordinator.Record{Path: path, Gen: r.gen, Digest: r.was.digest(), Size: r.size, ModTime: r.modTime}
}

func (c *client) page(p *proc, page *coordinator.Inventory) (*coordinator.InventoryAnswer, error) {
	page.Source, page.Location, page.Session = c.to.name, c.h.location, c.h.session
	page.Life, page.Turn = c.turnNow()
	session, sent := c.h.session, c.h.w.clock.now
	return ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.InventoryAnswer, error) {
		answer, err := co.Inventory(ctx, c.h.name, page)
		if err == nil && page.Last && session == c.h.session {
			c.to.hears(c.h)
			c.h.w.truth.reported(c.to, c.h, sent)
		}
		return answer, err
	})
}

// judge does as the coordinator says of an inventory. The lock is held.
func (c *client) judge(p *proc, verdicts []coordinator.Verdict) error {
	var confirm, unknown []v1.RelPath
	for _, v := range verdicts {
		switch v.Action {
		case coordinator.ActionConfirm:
			confirm = append(confirm, v.Path)
		case coordinator.ActionUnknown:
			unknown = append(unknown, v.Path)
		}
	}
	if err := c.confirm(p, confirm); err != nil {
		return err
	}
	return c.retire(p, unknown, "the coordinator does not know it")
}

// confirm asks the coordinator to count replicas. The lock is held; what is said is read from the disk now.
func (c *client) confirm(p *proc, paths []v1.RelPath) error {
	for batch := range slices.Chunk(paths, 1000) {
		if err := c.confirmBatch(p, batch); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) confirmBatch(p *proc, paths []v1.RelPath) error {
	request := &coordinator.Confirm{Source: c.to.name, Location: c.h.location}
	for _, path := range paths {
		if r := c.h.disk.get(c.to.name, path); r != nil {
			request.Files = append(request.Files, record(path, r))
			c.pending[path] = true
		}
	}
	if len(request.Files) == 0 {
		return nil
	}
	request.Life, request.Turn = c.turnNow()
	answer, err := ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.ConfirmAnswer, error) {
		answer, err := co.Confirm(ctx, c.h.name, request)
		if err == nil {
			c.h.w.truth.checkConfirmed(c, request, answer)
		}
		return answer, err
	})
	if err != nil {
		return err
	}
	var wrong []v1.RelPath
	for i, a := range answer.Answers {
		path := request.Files[i].Path
		if a.Outcome != coordinator.OutcomeUnclear {
			delete(c.pending, path)
		}
		switch a.Outcome {
		case coordinator.OutcomeYes:
			if r := c.h.disk.get(c.to.name, path); r != nil {
				r.gen = a.Gen
			}
			c.h.w.stats.confirms++
		case coordinator.OutcomeNo, coordinator.OutcomeGone:
			wrong = append(wrong, path)
		}
	}
	return c.retire(p, wrong, "it could not be confirmed")
}

func (c *client) confirmPending(p *proc) error {
	if len(c.pending) == 0 {
		return nil
	}
	c.lock.lock(p)
	defer c.lock.unlock(&c.h.w.clock)
	paths := slices.Sorted(maps.Keys(c.pending))
	clear(c.pending)
	return c.confirm(p, paths)
}

// retire moves replicas to versions and says so. The lock is held.
func (c *client) retire(p *proc, paths []v1.RelPath, why string) error {
	if len(paths) == 0 {
		return nil
	}
	for _, path := range paths {
		c.h.w.say("%s retires %s of %s: %s", c.h.name, path, c.to.name, why)
		c.h.w.truth.checkRetired(c, path)
		c.h.disk.retire(c.to.name, path, c.h.w.clock.now+c.h.w.cfg.Retention)
	}
	request := &coordinator.Retired{Source: c.to.name, Location: c.h.location, Files: paths}
	request.Life, request.Turn = c.turnNow()
	_, err := ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.RetiredAnswer, error) {
		return co.Retired(ctx, c.h.name, request)
	})
	return err
}

// copyAll claims and copies until there is nothing more for this host. retry is when to ask again.
func (c *client) copyAll(p *proc) (copied int, retry time.Duration, err error) {
	if c.h.draining {
		return 0, c.hello.PollAfter, nil
	}
	extra := c.hello.Extra && !c.hello.Claimable
	for {
		n, after, err := c.batch(p, extra)
		copied += n
		if err != nil || n == 0 {
			return copied, after, err
		}
	}
}

// batch claims some files, copies them and has them confirmed.
func (c *client) batch(p *proc, extra bool) (copied int, retry time.Duration, err error) {
	d := c.h.disk
	claim := &coordinator.Claim{Source: c.to.name, Location: c.h.location, Room: d.free(), MaxFiles: c.h.w.cfg.Batch, MaxBytes: c.h.w.cfg.BatchBytes, Extra: extra}
	answer, err := ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.ClaimAnswer, error) {
		return co.Claim(ctx, c.h.name, claim)
	})
	if err != nil {
		return 0, 0, err
	}
	c.wanted = answer.Wanted
	if len(answer.Files) > 0 {
		c.h.w.say("%s claims %d files of %s from %s", c.h.name, len(answer.Files), c.to.name, answer.Files[0].Path)
	}
	files, back, total := c.reserve(answer.Files)
	defer func() { d.reserved -= total }()
	if len(files) > 0 {
		if err = c.h.w.net.transfer(p, c.to, c.h, total); err != nil {
			for _, f := range files {
				back = append(back, coordinator.Released{Path: f.Path, Gen: f.Gen, Reason: coordinator.ReasonFailed, Message: err.Error()})
			}
			files = nil
		}
	}
	var paths []v1.RelPath
	for _, f := range files {
		if reason := c.publish(f); reason != "" {
			back = append(back, coordinator.Released{Path: f.Path, Gen: f.Gen, Reason: reason})
			continue
		}
		paths = append(paths, f.Path)
	}
	d.reserved, total = d.reserved-total, 0
	c.lock.lock(p)
	defer c.lock.unlock(&c.h.w.clock)
	if err := errors.Join(c.confirm(p, paths), c.release(p, back)); err != nil {
		return len(paths), 0, err
	}
	return len(paths), max(answer.RetryAfter, time.Second), err
}

// reserve takes room for as many of the claimed files as fit.
func (c *client) reserve(claimed []coordinator.Claimed) (files []coordinator.Claimed, back []coordinator.Released, total int64) {
	for _, f := range claimed {
		if f.Size > c.h.disk.free() {
			back = append(back, coordinator.Released{Path: f.Path, Gen: f.Gen, Reason: coordinator.ReasonNoRoom})
			continue
		}
		c.h.disk.reserved += f.Size
		total += f.Size
		files = append(files, f)
	}
	return files, back, total
}

// publish makes a file that came over a replica; otherwise it says why not.
func (c *client) publish(f coordinator.Claimed) (reason string) {
	s, d, w := c.to, c.h.disk, c.h.w
	now := s.files[f.Path]
	switch {
	case now == nil || s.away:
		return coordinator.ReasonVanished
	case now.entry.Size != f.Size || now.entry.ModTime != f.ModTime:
		return coordinator.ReasonChanged
	}
	if old := d.get(s.name, f.Path); old != nil {
		w.say("%s replaces %s of %s, generation %v, by %v", c.h.name, f.Path, s.name, old.gen, f.Gen)
		d.retire(s.name, f.Path, w.clock.now+w.cfg.Retention)
	}
	d.put(s.name, f.Path, &replica{gen: f.Gen, content: now.content, was: now.content, size: f.Size, modTime: f.ModTime})
	w.truth.copied(s, c.h, f.Path)
	w.stats.copies++
	w.stats.copied += f.Size
	w.stats.lastMove = w.clock.now
	return ""
}

func (c *client) release(p *proc, back []coordinator.Released) error {
	if len(back) == 0 {
		return nil
	}
	request := &coordinator.Release{Source: c.to.name, Location: c.h.location, Files: back}
	_, err := ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.ReleaseAnswer, error) {
		return co.Release(ctx, c.h.name, request)
	})
	return err
}

func (c *client) dropLoop(p *proc) {
	for {
		p.sleepUntilNudged(c.h.w.spread(24*time.Hour), &c.drops)
		for c.life != 0 {
			again, err := c.letGo(p)
			if err != nil || again == 0 {
				break
			}
			p.sleepUntilNudged(again, &c.drops)
		}
	}
}

// letGo is one reconcile of the dropping half. again is when to come back, 0: when there is a reason.
func (c *client) letGo(p *proc) (again time.Duration, err error) {
	if len(c.h.disk.replicas[c.to.name]) == 0 {
		return 0, nil
	}
	if err := c.retireDeleted(p); err != nil {
		return 0, err
	}
	bytes, reason := c.wish()
	if reason == "" {
		return 0, nil
	}
	c.accepted = 0
	relieve := bytes
	if reason == coordinator.ReasonStarving {
		relieve = c.h.toRelieve(c.to)
	}
	if relieve > 0 {
		request := &coordinator.Relieve{Source: c.to.name, Location: c.h.location, Bytes: relieve, Reason: reason}
		answer, err := ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.RelieveAnswer, error) {
			return co.Relieve(ctx, c.h.name, request)
		})
		if err != nil {
			return 0, err
		}
		c.accepted = answer.Accepted
		again = max(answer.RetryAfter, time.Second)
	}
	for {
		dropped, after, err := c.drop(p, bytes, reason)
		if err != nil {
			return 0, err
		}
		if dropped == 0 {
			return max(again, after), nil
		}
		for _, other := range c.h.clients {
			other.fetch.ring(&c.h.w.clock)
		}
	}
}

func (c *client) wish() (int64, string) {
	held := int64(0)
	for _, r := range c.h.disk.replicas[c.to.name] {
		held += r.size
	}
	switch {
	case c.h.draining:
		return max(held, 1), coordinator.ReasonDraining
	case c.h.disk.over() > 0:
		return c.h.disk.over(), coordinator.ReasonOverCapacity
	case c.h.starving() > 0:
		return c.h.starving(), coordinator.ReasonStarving
	case c.hello.Surplus:
		return 0, coordinator.ReasonSurplus
	}
	return 0, ""
}

func (c *client) retireDeleted(p *proc) error {
	for {
		c.lock.lock(p)
		more, err := c.retireSome(p)
		c.lock.unlock(&c.h.w.clock)
		if err != nil || !more {
			return err
		}
	}
}

func (c *client) retireSome(p *proc) (more bool, err error) {
	request := &coordinator.Retire{Source: c.to.name, Location: c.h.location, Max: 1000}
	request.Life, request.Turn = c.turnNow()
	answer, err := ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.RetireAnswer, error) {
		return co.Retire(ctx, c.h.name, request)
	})
	if err != nil || len(answer.Files) == 0 {
		return false, err
	}
	paths := make([]v1.RelPath, len(answer.Files))
	for i, f := range answer.Files {
		paths[i] = f.Path
	}
	return answer.More, c.retire(p, paths, "it is deleted")
}

// drop asks once for grants and deletes under them, holding the lock throughout.
func (c *client) drop(p *proc, bytes int64, reason string) (dropped int, retry time.Duration, err error) {
	c.lock.lock(p)
	defer c.lock.unlock(&c.h.w.clock)
	w := c.h.w
	asked := w.clock.now
	if bytes == 0 {
		bytes = 1 << 62
	}
	request := &coordinator.Drop{Source: c.to.name, Location: c.h.location, MaxFiles: 1000, MaxBytes: bytes, Reason: reason}
	request.Life, request.Turn = c.turnNow()
	var answer *coordinator.DropAnswer
	var held *call
	err = w.net.ask(p, c.h, c.to, func(k *call, co *coordinator.Coordinator) (func(), error) {
		a, err := co.Drop(context.Background(), c.h.name, request)
		if err == nil {
			w.truth.granted(c, k, a.Grants)
		}
		return func() { answer, held = a, k }, err
	})
	if err != nil {
		return 0, 0, err
	}
	defer func() { held.open = false }()
	if len(answer.Grants) == 0 {
		w.say("%s may drop nothing of %s for %s: %s", c.h.name, c.to.name, reason, answer.Why)
		return 0, answer.RetryAfter, nil
	}
	report := &coordinator.Dropped{Source: c.to.name, Location: c.h.location}
	for _, g := range answer.Grants {
		if w.cfg.Poll < time.Minute {
			p.sleep(0)
		} else {
			p.sleep(time.Duration(w.rng.IntN(2000)) * time.Millisecond) // slow disks: grants run out meanwhile
		}
		gone := c.delete(g, asked)
		if gone {
			dropped++
		}
		report.Grants = append(report.Grants, coordinator.GrantResult{ID: g.ID, Path: g.Path, Dropped: gone})
	}
	held.open = false
	report.Life, report.Turn = c.turnNow()
	_, err = ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.DroppedAnswer, error) {
		return co.Dropped(ctx, c.h.name, report)
	})
	return dropped, answer.RetryAfter, err
}

// delete acts on one grant, if it still may.
func (c *client) delete(g coordinator.Grant, asked time.Duration) bool {
	w := c.h.w
	r := c.h.disk.get(c.to.name, g.Path)
	if r == nil {
		return true
	}
	facts := placement.DeleteFacts{Asked: asked, Now: w.clock.now, For: g.For, SameProcess: true, Identity: true, Generation: g.Gen.IsZero() || r.gen == g.Gen}
	if !placement.MayDelete(facts) {
		return false
	}
	c.h.disk.remove(c.to.name, g.Path)
	w.truth.dropped(c, g)
	w.stats.drops++
	w.stats.dropped += r.size
	w.stats.lastMove = w.clock.now
	w.say("%s dropped %s of %s", c.h.name, g.Path, c.to.name)
	return true
}

// verify reads everything held of the source and reports what it finds.
func (c *client) verify(p *proc) error {
	c.lock.lock(p)
	defer c.lock.unlock(&c.h.w.clock)
	request := &coordinator.Report{Source: c.to.name, Location: c.h.location}
	var bad []v1.RelPath
	for path, r := range c.h.disk.replicas[c.to.name] {
		if r.content != r.was {
			bad = append(bad, path)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	slices.Sort(bad)
	for _, path := range bad {
		request.Files = append(request.Files, coordinator.Reported{Path: path, Gen: c.h.disk.get(c.to.name, path).gen, Kind: coordinator.FoundCorrupt, At: c.h.w.clock.time().UnixNano()})
		c.h.disk.remove(c.to.name, path)
	}
	request.Life, request.Turn = c.turnNow()
	_, err := ask(p, c, func(ctx context.Context, co *coordinator.Coordinator) (*coordinator.ReportAnswer, error) {
		answer, err := co.Report(ctx, c.h.name, request)
		return answer, err
	})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
