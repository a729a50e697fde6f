package sim

import (
	"context"

	"clusterbackup/internal/coordinator"
)

// remote is a source's coordinator as a client's process reaches it. It carries what is asked over the network, and tells the
// truth what was answered.
type remote struct {
	h       *host
	to      *source
	session uint64 // as told last
	held    *call  // whose grants the client may act on: until its next message in order, or its end
}

// ask sends a request and waits for its answer.
func ask[A any](ctx context.Context, r *remote, handle func(context.Context, *call, *coordinator.Coordinator) (*A, error)) (*A, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var answer *A
	err := r.h.w.net.ask(r.h, r.to, func(k *call, c *coordinator.Coordinator) (func(), error) {
		a, err := handle(context.Background(), k, c)
		return func() { answer = a }, err
	})
	return answer, err
}

// next begins a message in order: what was granted before is not acted on any more.
func (r *remote) next() {
	if r.held != nil {
		r.held.open = false
		r.held = nil
	}
}

// current tells whether a message is of the client's present process and session.
func (r *remote) current(session uint64) bool { return r.h.remotes[r.to] == r && r.session == session }

// Hello implements controllers.Coordinator.
func (r *remote) Hello(ctx context.Context, q *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	r.next()
	r.session = q.Session
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.HelloAnswer, error) {
		a, err := c.Hello(ctx, r.h.name, q)
		if err == nil && !a.NeedInventory && r.current(q.Session) {
			r.to.hears(r.h)
		}
		return a, err
	})
}

// Inventory implements controllers.Coordinator.
func (r *remote) Inventory(ctx context.Context, q *coordinator.Inventory) (*coordinator.InventoryAnswer, error) {
	r.next()
	sent := r.h.w.clock.now
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.InventoryAnswer, error) {
		a, err := c.Inventory(ctx, r.h.name, q)
		if err == nil && q.Last && r.current(q.Session) {
			r.to.hears(r.h)
			r.h.w.truth.reported(r.to, r.h, sent)
		}
		return a, err
	})
}

// Claim implements controllers.Coordinator.
func (r *remote) Claim(ctx context.Context, q *coordinator.Claim) (*coordinator.ClaimAnswer, error) {
	a, err := ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.ClaimAnswer, error) {
		return c.Claim(ctx, r.h.name, q)
	})
	if err == nil && len(a.Files) > 0 {
		r.h.w.say("%s claims %d files of %s from %s", r.h.name, len(a.Files), r.to.name, a.Files[0].Path)
	}
	return a, err
}

// Renew implements controllers.Coordinator.
func (r *remote) Renew(ctx context.Context, q *coordinator.Renew) (*coordinator.RenewAnswer, error) {
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.RenewAnswer, error) {
		return c.Renew(ctx, r.h.name, q)
	})
}

// Release implements controllers.Coordinator.
func (r *remote) Release(ctx context.Context, q *coordinator.Release) (*coordinator.ReleaseAnswer, error) {
	for _, f := range q.Files {
		r.h.w.say("%s gives %s of %s back: %s", r.h.name, f.Path, r.to.name, f.Reason)
	}
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.ReleaseAnswer, error) {
		return c.Release(ctx, r.h.name, q)
	})
}

// Confirm implements controllers.Coordinator.
func (r *remote) Confirm(ctx context.Context, q *coordinator.Confirm) (*coordinator.ConfirmAnswer, error) {
	r.next()
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.ConfirmAnswer, error) {
		a, err := c.Confirm(ctx, r.h.name, q)
		if err == nil {
			r.h.w.truth.checkConfirmed(r, q, a)
		}
		return a, err
	})
}

// Report implements controllers.Coordinator.
func (r *remote) Report(ctx context.Context, q *coordinator.Report) (*coordinator.ReportAnswer, error) {
	r.next()
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.ReportAnswer, error) {
		return c.Report(ctx, r.h.name, q)
	})
}

// Relieve implements controllers.Coordinator.
func (r *remote) Relieve(ctx context.Context, q *coordinator.Relieve) (*coordinator.RelieveAnswer, error) {
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.RelieveAnswer, error) {
		return c.Relieve(ctx, r.h.name, q)
	})
}

// Drop implements controllers.Coordinator.
func (r *remote) Drop(ctx context.Context, q *coordinator.Drop) (*coordinator.DropAnswer, error) {
	r.next()
	var mine *call
	a, err := ask(ctx, r, func(ctx context.Context, k *call, c *coordinator.Coordinator) (*coordinator.DropAnswer, error) {
		mine = k
		a, err := c.Drop(ctx, r.h.name, q)
		if err == nil {
			r.h.w.truth.granted(r, k, a.Grants)
		}
		return a, err
	})
	if err != nil {
		return nil, err
	}
	r.held = mine
	if len(a.Grants) == 0 {
		r.h.w.say("%s may drop nothing of %s for %s: %s", r.h.name, r.to.name, q.Reason, a.Why)
	}
	return a, nil
}

// Dropped implements controllers.Coordinator.
func (r *remote) Dropped(ctx context.Context, q *coordinator.Dropped) (*coordinator.DroppedAnswer, error) {
	r.next()
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.DroppedAnswer, error) {
		return c.Dropped(ctx, r.h.name, q)
	})
}

// Retire implements controllers.Coordinator.
func (r *remote) Retire(ctx context.Context, q *coordinator.Retire) (*coordinator.RetireAnswer, error) {
	r.next()
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.RetireAnswer, error) {
		return c.Retire(ctx, r.h.name, q)
	})
}

// Retired implements controllers.Coordinator.
func (r *remote) Retired(ctx context.Context, q *coordinator.Retired) (*coordinator.RetiredAnswer, error) {
	r.next()
	return ask(ctx, r, func(ctx context.Context, _ *call, c *coordinator.Coordinator) (*coordinator.RetiredAnswer, error) {
		return c.Retired(ctx, r.h.name, q)
	})
}
