package daemon

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/coordinator"
)

// collector turns the state of this host into metrics at each scrape. Nothing is counted twice: what it shows is what the
// loops keep anyway.
type collector struct {
	host      v1.HostName
	desired   *view
	sources   *controllers.SourceSet
	acting    *controllers.SourceSet // that this host acts for
	locations *controllers.LocationSet
	counters  *controllers.Counters
	peers     *peers
	sent      func() int64
}

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("clusterbackup_"+name, help, labels, nil)
}

var (
	sourceFiles     = description("source_files", "Files by number of confirmed replicas.", "source", "replicas")
	sourceBytes     = description("source_bytes", "Bytes by number of confirmed replicas.", "source", "replicas")
	underserved     = description("source_underserved_files", "Files with fewer than minReplicas.", "source")
	overserved      = description("source_overserved_files", "Files with more than maxReplicas.", "source")
	lastScan        = description("source_last_scan_timestamp_seconds", "When the latest scan ended; 0: none yet.", "source")
	scanDuration    = description("source_scan_duration_seconds", "How long the latest scan took.", "source")
	capacityBytes   = description("location_capacity_bytes", "Bytes that may lie in the location now, by capacity and reserve.", "location")
	usedBytes       = description("location_used_bytes", "Bytes that lie in the location.", "location")
	freeBytes       = description("location_free_bytes", "Bytes that new replicas may take.", "location")
	copiedFiles     = description("copied_files_total", "Files copied into the location.", "source", "location")
	copiedBytes     = description("copied_bytes_total", "Bytes of files copied into the location.", "source", "location")
	droppedFiles    = description("dropped_files_total", "Replicas deleted under a grant.", "source", "location")
	verifiedBytes   = description("verified_bytes_total", "Bytes of replicas read again.", "source", "location")
	corruptReplicas = description("corrupt_replicas_total", "Replicas found corrupt.", "source", "location")
	transferBytes   = description("transfer_bytes_total", "Bytes on the wire.", "direction")
	hostLastSeen    = description("host_last_seen_timestamp_seconds", "When this host last heard of the host; 0: never.", "host")
)

// Describe implements prometheus.Collector. Which series there are depends on what is declared, so none is named beforehand.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	for _, state := range c.sources.States() {
		c.source(state, gauge)
	}
	for _, state := range c.acting.States() {
		if running, done := c.acting.Use(state.Name); running != nil {
			if status := running.Coordinator.Status(); len(status.WaitingFor) == 0 { // else what is not told yet would seem to be lost
				replicas(string(state.Name), &status, gauge)
			}
			done()
		}
	}
	for _, state := range c.locations.States() {
		name := string(state.Name)
		gauge(capacityBytes, float64(state.Space.Capacity), name)
		gauge(usedBytes, float64(state.Space.Used), name)
		gauge(freeBytes, float64(state.Space.Free), name)
	}
	received := c.counts(counter)
	counter(transferBytes, received, "in")
	counter(transferBytes, c.sent(), "out")
	for _, h := range c.desired.Hosts() {
		gauge(hostLastSeen, unixSeconds(c.peers.lastSeen(v1.HostName(h.Name))), h.Name)
	}
}

func (c *collector) source(state controllers.SourceState, gauge func(*prometheus.Desc, float64, ...string)) {
	name := string(state.Name)
	running, done := c.sources.Use(state.Name)
	defer done()
	if running != nil {
		status := running.Coordinator.Status()
		replicas(name, &status, gauge)
	}
	gauge(lastScan, unixSeconds(state.Scan.Ended), name)
	gauge(scanDuration, state.Scan.Took.Seconds(), name)
}

// replicas shows how many replicas a source's files have.
func replicas(source string, status *coordinator.Status, gauge func(*prometheus.Desc, float64, ...string)) {
	for n, files := range status.ReplicaFiles {
		label := strconv.Itoa(n)
		if n == len(status.ReplicaFiles)-1 {
			label += "+"
		}
		gauge(sourceFiles, float64(files), source, label)
		gauge(sourceBytes, float64(status.ReplicaBytes[n]), source, label)
	}
	gauge(underserved, float64(status.Underserved), source)
	gauge(overserved, float64(status.Overserved), source)
}

// counts shows a counter for every source in every location of this host, at zero where nothing happened, and returns the bytes
// received.
func (c *collector) counts(counter func(*prometheus.Desc, int64, ...string)) (received int64) {
	counts := c.counters.All()
	for _, l := range c.desired.Locations() {
		if l.Spec.Host != c.host {
			continue
		}
		for _, s := range c.desired.Sources() {
			key := controllers.CountKey{Source: v1.SourceName(s.Name), Location: v1.LocationName(l.Name)}
			if _, counted := counts[key]; !counted {
				counts[key] = controllers.Count{}
			}
		}
	}
	for key, n := range counts {
		source, location := string(key.Source), string(key.Location)
		counter(copiedFiles, n.CopiedFiles, source, location)
		counter(copiedBytes, n.CopiedBytes, source, location)
		counter(droppedFiles, n.DroppedFiles, source, location)
		counter(verifiedBytes, n.VerifiedBytes, source, location)
		counter(corruptReplicas, n.CorruptReplicas, source, location)
		received += n.ReceivedBytes
	}
	return received
}

// unixSeconds is a time as Prometheus wants it; 0 for the zero time.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
