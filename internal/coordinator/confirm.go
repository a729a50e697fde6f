package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/tree"
)

// maxConfirms bounds one message.
const maxConfirms = 10000

// checking is one record of a Confirm under way.
type checking struct {
	rec *Record
	key catalog.Key
	// seq is the version it is compared with, stat and digest are that version's.
	seq     uint64
	mode    uint32
	stat    tree.Entry
	digest  v1.Digest
	outcome Outcome
	decided bool
	// known: the file is in the catalog; counted: the replica is confirmed already as it should be.
	known, counted bool
}

// Confirm compares what a location holds with the source and makes it count.
func (c *Coordinator) Confirm(ctx context.Context, from v1.HostName, req *Confirm) (*ConfirmAnswer, error) {
	if len(req.Files) > maxConfirms {
		return nil, fmt.Errorf("confirm of %d files, at most %d: %w", len(req.Files), maxConfirms, ErrBadRequest)
	}
	if err := c.mayConfirm(from, req); err != nil {
		return nil, err
	}
	checks := make([]checking, len(req.Files))
	for i := range req.Files {
		checks[i].rec = &req.Files[i]
	}
	if err := c.compare(ctx, from, req, checks); err != nil {
		return nil, fmt.Errorf("confirm: %w", err)
	}
	if err := c.record(from, req, checks); err != nil {
		return nil, fmt.Errorf("confirm: %w", err)
	}
	gen := c.cat.Generation()
	a := &ConfirmAnswer{Answers: make([]Confirmation, len(checks))}
	for i := range checks {
		a.Answers[i].Outcome = checks[i].outcome
		if checks[i].outcome == OutcomeYes {
			a.Answers[i].Gen, a.Answers[i].Mode = v1.Generation{Epoch: gen.Epoch, Seq: checks[i].seq}, checks[i].mode
		}
	}
	c.finish(from, req, checks)
	if c.cfg.Acting {
		a = a.CopiesOnly()
	}
	return a, nil
}

// mayConfirm checks that the message may count.
func (c *Coordinator) mayConfirm(from v1.HostName, req *Confirm) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, _, err := c.meet(from, req.Source, req.Location)
	if err != nil {
		return err
	}
	if !c.countable(h, req.Life, req.Turn) {
		return fmt.Errorf("turn %d not after %d: %w", req.Turn, h.settled, ErrHelloFirst)
	}
	h.turn = max(h.turn, req.Turn)
	return nil
}

// maxLooks is how often a file is looked at that changes while it is.
const maxLooks = 3

// compare finds out, without changing what is recorded of replicas, what each record is. What keeps changing is unclear.
func (c *Coordinator) compare(ctx context.Context, from v1.HostName, req *Confirm, checks []checking) error {
	left := make([]int, len(checks))
	for i := range left {
		left[i] = i
	}
	for range maxLooks {
		open, err := c.lookup(from, req, checks, left)
		if err == nil && c.cfg.Acting {
			yesOrStale(checks)
			return nil
		}
		if err != nil || len(open) == 0 {
			return err
		}
		c.settle(ctx, checks, open)
		left = slices.DeleteFunc(open, func(i int) bool { return checks[i].decided })
	}
	for _, i := range left {
		checks[i].decide(OutcomeUnclear)
	}
	return nil
}

// lookup compares records with the catalog and returns those for which the source has to be looked at.
func (c *Coordinator) lookup(from v1.HostName, req *Confirm, checks []checking, which []int) (open []int, err error) {
	id, known := c.cat.HolderID(catalog.Holder{Host: from, Location: req.Location})
	err = c.cat.View(func(tx *catalog.Tx) error {
		for _, i := range which {
			x := &checks[i]
			key, e, err := tx.Find(x.rec.Path)
			if err != nil {
				return err
			}
			x.key, x.known = key, e != nil
			if e != nil {
				x.mode = unix.S_IFREG | e.Mode
			}
			switch {
			case (e == nil || !e.Live()) && !c.cat.Current(), e == nil && c.doubtful():
				x.decide(OutcomeUnclear)
			case e == nil || !e.Live():
				x.decide(OutcomeGone)
			case e.Size != x.rec.Size || e.ModTime != x.rec.ModTime:
				x.seq, x.stat, x.outcome = e.Seq, e.Stat(""), OutcomeStale
				open = append(open, i) // perhaps the holder is ahead of the last scan
			case e.Digest.IsZero():
				x.seq, x.stat, x.outcome = e.Seq, e.Stat(""), OutcomeUnclear
				open = append(open, i)
			default:
				x.seq, x.digest = e.Seq, e.Digest
				x.judge()
				r := e.Replica(id)
				x.counted = known && r != nil && r.State == catalog.Confirmed && r.Seq == e.Seq && x.outcome == OutcomeYes
			}
		}
		return nil
	})
	return open, err
}

func (x *checking) decide(o Outcome) { x.outcome, x.decided = o, true }

// judge compares the digests.
func (x *checking) judge() {
	switch {
	case x.rec.Digest.IsZero() || x.digest.IsZero():
		x.decide(OutcomeUnclear)
	case x.rec.Digest == x.digest:
		x.decide(OutcomeYes)
	default:
		x.decide(OutcomeNo)
	}
}

// settle looks at the source's files, several at a time.
func (c *Coordinator) settle(ctx context.Context, checks []checking, open []int) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(len(open), cap(c.digests.slots)) {
		wg.Go(func() {
			for i := range next {
				c.settleOne(ctx, &checks[i])
			}
		})
	}
	for _, i := range open {
		next <- i
	}
	close(next)
	wg.Wait()
}

// settleOne compares one record with the file in the source.
func (c *Coordinator) settleOne(ctx context.Context, x *checking) {
	if x.outcome == OutcomeUnclear { // as far as the catalog knows it is this version: reading it shows whether it still is
		digest, err := c.digests.of(ctx, x.rec.Path, x.seq, x.stat)
		if err == nil {
			x.digest = digest
			x.judge()
			return
		}
		if !errors.Is(err, tree.ErrChanged) && !errors.Is(err, tree.ErrGone) {
			x.decide(OutcomeUnclear)
			return
		}
	}
	c.catchUp(ctx, x)
}

// catchUp lets the catalog catch up with a file that is not as the catalog knows it. If the record may be of the version that is
// there now, it stays undecided.
func (c *Coordinator) catchUp(ctx context.Context, x *checking) {
	stat, err := c.cfg.Tree.Stat(ctx, x.rec.Path)
	switch {
	case errors.Is(err, tree.ErrGone):
		x.decide(OutcomeStale) // whether it is deleted is for the next scan to say
		return
	case err != nil:
		x.decide(OutcomeUnclear)
		return
	}
	if stat.Size != x.rec.Size || stat.ModTime != x.rec.ModTime {
		x.decide(OutcomeStale)
	}
	if x.stat.SameVersion(&stat) {
		return
	}
	if err := c.cat.Update(func(tx *catalog.Tx) error {
		_, err := tx.Observe(x.rec.Path, &stat)
		return err
	}); err != nil {
		x.decide(OutcomeUnclear)
	}
}

// record writes what was found, if the holder's word still counts then and the versions are still those.
func (c *Coordinator) record(from v1.HostName, req *Confirm, checks []checking) error {
	work := false
	for i := range checks {
		work = work || checks[i].known && !checks[i].counted
	}
	if !work {
		return c.stillCounts(from, req, checks)
	}
	return c.cat.Update(func(tx *catalog.Tx) error {
		if err := c.stillCounts(from, req, checks); err != nil {
			return err
		}
		id, err := tx.Holder(catalog.Holder{Host: from, Location: req.Location})
		if err != nil {
			return err
		}
		now := c.clock().Unix()
		for i := range checks {
			if x := &checks[i]; x.known && !x.counted {
				if err := x.put(tx, id, now); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// stillCounts makes all answers unclear if the holder has asked to drop, or restarted, while they were looked for.
func (c *Coordinator) stillCounts(from v1.HostName, req *Confirm, checks []checking) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, l, err := c.meet(from, req.Source, req.Location)
	if err != nil {
		return err
	}
	if !c.countable(h, req.Life, req.Turn) {
		return fmt.Errorf("turn %d not after %d: %w", req.Turn, h.settled, ErrHelloFirst)
	}
	if l.inventory != nil {
		for i := range checks {
			if checks[i].outcome == OutcomeYes && !l.inventory.confirm(checks[i].key) {
				l.inventory = nil // too much changed while it was taken; it begins anew
				break
			}
		}
	}
	return nil
}

// put records one replica.
func (x *checking) put(tx *catalog.Tx, id catalog.HolderID, now int64) error {
	old, err := tx.Get(x.key)
	if err != nil {
		return err
	}
	if old == nil {
		x.outcome = OutcomeUnclear
		return nil
	}
	if x.outcome == OutcomeYes && (!old.Live() || old.Seq != x.seq) {
		x.outcome = OutcomeStale
	}
	e := old.Clone()
	was := e.Replica(id)
	r := catalog.Replica{Holder: id, State: catalog.Stale, Verified: min(x.rec.Verified, now)}
	switch x.outcome {
	case OutcomeYes:
		r.State, r.Seq, e.Digest = catalog.Confirmed, x.seq, x.digest
	case OutcomeUnclear:
		r.State, r.Verified = catalog.Unconfirmed, 0
	default:
		r.Verified = 0
	}
	if was != nil && *was == r && e.Digest == old.Digest {
		return nil
	}
	e.SetReplica(r)
	return tx.Put(x.key, old, e)
}

// finish ends the claims, and what was waiting for the copies.
func (c *Coordinator) finish(from v1.HostName, req *Confirm, checks []checking) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := catalog.Holder{Host: from, Location: req.Location}
	claimed := int64(0)
	for i := range checks {
		x := &checks[i]
		if x.key == "" {
			continue
		}
		if n := c.claims.of(x.key, from); n != nil && n.location == req.Location && x.outcome != OutcomeUnclear {
			c.claims.remove(x.key, from)
			claimed += x.rec.Size
			c.stale = c.stale || x.outcome != OutcomeYes
		}
		switch x.outcome {
		case OutcomeYes:
			c.refusals.clear(x.key, at)
			c.problems.clear(x.rec.Path, from)
			c.reliefs.arrived(x.key, from, c.clock(), c.polled(reliefTime))
		case OutcomeNo:
			c.refusals.add(x.key, at, c.clock(), firstPause)
		}
	}
	if claimed > 0 {
		c.admission.confirmed(claimed, c.clock())
	}
}
