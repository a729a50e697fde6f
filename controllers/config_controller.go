package controllers

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	v1 "clusterbackup/api/v1"
	"clusterbackup/reconcile"
)

// peersAtOnce is how many other hosts are asked for what is newer in one interval: enough for a change to reach n hosts in about
// log n intervals.
const peersAtOnce = 3

// ConfigReconciler keeps this host's desired state as new as that of the hosts that it asks. Its key means nothing.
type ConfigReconciler struct {
	Desired Desired
	Host    v1.HostName
	// Pull asks one host for what is newer there and takes it in.
	Pull func(context.Context, v1.HostName) error
	Env  Env
	Log  logr.Logger

	away map[v1.HostName]bool // those whose silence was logged; touched by the one worker alone
}

// Reconcile implements reconcile.Reconciler. It is to run with one worker.
func (r *ConfigReconciler) Reconcile(ctx context.Context, _ struct{}) (reconcile.Result, error) {
	var hosts []v1.HostName
	for _, h := range r.Desired.Hosts() {
		if h.Name != string(r.Host) {
			hosts = append(hosts, v1.HostName(h.Name))
		}
	}
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	hosts = hosts[:min(len(hosts), peersAtOnce)]
	errs := make([]error, len(hosts))
	var pulls errgroup.Group
	for i, host := range hosts {
		pulls.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			errs[i] = r.Pull(ctx, host)
			return nil
		})
	}
	pulls.Wait()
	for i, host := range hosts {
		r.note(host, errs[i])
	}
	return reconcile.Result{RequeueAfter: r.Env.jitter(r.Desired.Cluster().Spec.PollInterval.Duration)}, nil
}

// note logs a host's silence once, and its return.
func (r *ConfigReconciler) note(host v1.HostName, err error) {
	if r.away == nil {
		r.away = map[v1.HostName]bool{}
	}
	switch {
	case err != nil && !r.away[host]:
		r.Log.Info("Host does not answer", "peer", host, "reason", err.Error())
	case err == nil && r.away[host]:
		r.Log.Info("Host answers again", "peer", host)
	}
	r.away[host] = err != nil
}
