// Package reconcile is the engine under every control loop: it calls a Reconciler for keys that are due, and turns what comes
// back into the next call, one log line and metrics.
//
// A Reconciler looks at the present state of whatever its key names, never at what woke it. It answers with when to be called
// again (Result) or with an error, and the engine decides the rest:
//
//   - nil and an empty Result: done; called again when somebody enqueues the key.
//   - nil and RequeueAfter: called again after that time; earlier failures are forgotten.
//   - an error: called again after a back-off of its own that doubles up to Options.MaxBackoff.
//   - an error wrapped by Terminal: logged, not repeated until somebody enqueues the key.
//
// A key is never worked on by two workers at once, and a key enqueued while it is worked on is worked on once more
// afterwards. The engine knows no kind.
//
//	c := reconcile.New("copy", reconciler, reconcile.Options{Workers: 2, Log: log})
//	c.Enqueue(key)
//	err := c.Run(ctx) // until ctx ends and every worker has returned
package reconcile
