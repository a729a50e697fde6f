package daemon

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/admin"
)

// rateWindow is the time over which rates are averaged.
const rateWindow = time.Minute

// rates turns counters into averages over the last minute or so.
type rates struct {
	counters *controllers.Counters
	sent     *sentBytes

	mu      sync.Mutex
	samples []sample // oldest first
}

type sample struct {
	at     time.Time
	counts map[controllers.CountKey]controllers.Count
	sent   map[v1.SourceName]int64
}

// take notes the counters as they are now.
func (r *rates) take(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, sample{now, r.counters.All(), r.sent.all()})
	for len(r.samples) > 1 && now.Sub(r.samples[1].at) >= rateWindow {
		r.samples = r.samples[1:]
	}
}

// perSecond is the average of bytes received and verified, over what pick chooses.
func (r *rates) perSecond(pick func(controllers.CountKey) bool) (download, verify float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.samples) == 0 {
		return 0, 0
	}
	first, now := r.samples[0], r.counters.All()
	seconds := max(time.Since(first.at).Seconds(), 1)
	for key, n := range now {
		if pick(key) {
			download += float64(n.ReceivedBytes-first.counts[key].ReceivedBytes) / seconds
			verify += float64(n.VerifiedBytes-first.counts[key].VerifiedBytes) / seconds
		}
	}
	return download, verify
}

// bySource is what is received and verified here for each source.
func (r *rates) bySource() (rows []admin.TopRow) {
	seen := map[v1.SourceName]bool{}
	for key := range r.counters.All() {
		if seen[key.Source] {
			continue
		}
		seen[key.Source] = true
		row := admin.TopRow{Name: string(key.Source)}
		row.Download, row.Verify = r.perSecond(func(k controllers.CountKey) bool { return k.Source == key.Source })
		rows = append(rows, row)
	}
	return rows
}

// upload is the average of bytes sent a second, of the sources that pick chooses ("": what locations send).
func (r *rates) upload(pick func(v1.SourceName) bool) (rate float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.samples) == 0 {
		return 0
	}
	first := r.samples[0]
	seconds := max(time.Since(first.at).Seconds(), 1)
	for source, n := range r.sent.all() {
		if pick(source) {
			rate += float64(n-first.sent[source]) / seconds
		}
	}
	return rate
}

// Top implements admin.Operations.
func (b *backend) Top(ctx context.Context, kind string) ([]admin.TopRow, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var mu sync.Mutex
	var rows []admin.TopRow
	var asking sync.WaitGroup
	for _, h := range b.desired.Hosts() {
		host := v1.HostName(h.Name)
		asking.Go(func() {
			theirs := b.topAt(ctx, host, kind)
			mu.Lock()
			defer mu.Unlock()
			rows = append(rows, theirs...)
		})
	}
	asking.Wait()
	return merge(rows), nil
}

// merge sorts rows by name and makes one of those that tell of one source: its own host's, and what its holders read for it.
func merge(rows []admin.TopRow) (merged []admin.TopRow) {
	slices.SortFunc(rows, func(a, b admin.TopRow) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), -strings.Compare(string(a.Host), string(b.Host))) // holders name no host
	})
	for _, row := range rows {
		switch last := len(merged) - 1; {
		case last >= 0 && merged[last].Name == row.Name:
			merged[last].Download += row.Download
			merged[last].Verify += row.Verify
		case row.Host != "":
			merged = append(merged, row)
		}
	}
	return merged
}

type topRequest struct{ Kind string }

func (b *backend) topAt(ctx context.Context, host v1.HostName, kind string) []admin.TopRow {
	if host == b.identity.Host() {
		return b.topHere(kind)
	}
	rows, err := askHost[[]admin.TopRow](ctx, b.peers, host, "cb.Top", &topRequest{kind})
	if err != nil {
		return b.topAbsent(host, kind)
	}
	return *rows
}

// topAbsent names what a host that doesn't answer would have told of.
func (b *backend) topAbsent(host v1.HostName, kind string) (rows []admin.TopRow) {
	switch kind {
	case v1.KindHost:
		rows = append(rows, admin.TopRow{Name: string(host), Host: host})
	case v1.KindLocation:
		for _, l := range b.desired.Locations() {
			if l.Spec.Host == host {
				rows = append(rows, admin.TopRow{Name: l.Name, Host: host})
			}
		}
	case v1.KindSource:
		for _, s := range b.desired.Sources() {
			if s.Spec.Host == host {
				rows = append(rows, admin.TopRow{Name: s.Name, Host: host})
			}
		}
	}
	return rows
}

func (b *backend) topHere(kind string) []admin.TopRow {
	switch kind {
	case v1.KindLocation:
		return b.topLocations()
	case v1.KindSource:
		return b.topSources()
	}
	self := admin.TopRow{Name: string(b.identity.Host()), Host: b.identity.Host(), Reachable: true}
	self.Upload = b.rates.upload(func(v1.SourceName) bool { return true })
	for _, l := range b.topLocations() {
		self.Capacity += l.Capacity
		self.Used += l.Used
		self.Free += l.Free
		self.Files += l.Files
		self.Queued += l.Queued
		self.Download += l.Download
		self.Verify += l.Verify
	}
	return []admin.TopRow{self}
}

func (b *backend) topLocations() []admin.TopRow {
	var rows []admin.TopRow
	for _, state := range b.locations.States() {
		row := admin.TopRow{Name: string(state.Name), Host: b.identity.Host(), Reachable: state.Err == nil, Capacity: state.Space.Capacity,
			Used: state.Space.Used, Free: state.Space.Free, Files: state.Space.Replicas, Queued: b.underway(state.Name)}
		row.Download, row.Verify = b.rates.perSecond(func(k controllers.CountKey) bool { return k.Location == state.Name })
		rows = append(rows, row)
	}
	return rows
}

// topSources tells of this host's sources, and what is read here for others'.
func (b *backend) topSources() []admin.TopRow {
	rows := b.rates.bySource()
	for _, state := range b.sources.States() {
		row := admin.TopRow{Name: string(state.Name), Host: b.identity.Host(), Reachable: state.Err == nil}
		row.Upload = b.rates.upload(func(s v1.SourceName) bool { return s == state.Name })
		if running, done := b.sources.Use(state.Name); running != nil {
			counts := running.Coordinator.Status()
			row.Used, row.Files, row.Queued, row.Failing = counts.Bytes, counts.Files, counts.Underserved, counts.ProblemCount
			done()
		}
		rows = append(rows, row)
	}
	return rows
}
