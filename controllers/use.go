package controllers

import (
	"context"
	"sync"
)

// use is how long something may be used. Its users are counted, and told when it is to end.
type use struct {
	context.Context
	end   context.CancelCauseFunc
	users sync.WaitGroup
}

func newUse() *use {
	u := &use{}
	u.Context, u.end = context.WithCancelCause(context.Background())
	return u
}

// finish tells the users why it ends, and waits until they are done.
func (u *use) finish(why error) {
	u.end(why)
	u.users.Wait()
}

// Until returns a context that ends with ctx, and when one of several uses does, for its reason. stop is to be called at the end.
func Until(ctx context.Context, uses ...context.Context) (until context.Context, stop func()) {
	until, cancel := context.WithCancelCause(ctx)
	var stops []func() bool
	for _, u := range uses {
		if u == nil { // what is never closed
			continue
		}
		stops = append(stops, context.AfterFunc(u, func() { cancel(context.Cause(u)) }))
	}
	return until, func() {
		for _, stop := range stops {
			stop()
		}
		cancel(nil)
	}
}
