package reconcile

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	crmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Metrics counts outcomes and durations by controller, as clusterbackup_reconcile_*. A nil *Metrics keeps none.
type Metrics struct {
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewMetrics registers the engine's metrics at reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "clusterbackup_reconcile_total",
			Help: "Reconciles by controller and outcome (success, requeue, error, terminal).",
		}, []string{"controller", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "clusterbackup_reconcile_duration_seconds",
			Help:    "How long a reconcile took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}, []string{"controller"}),
	}
	reg.MustRegister(m.total, m.duration)
	return m
}

// outcomes are the values of the label result.
var outcomes = []string{"success", "requeue", "error", "terminal"}

// begin has a controller's series exist from the start, at zero.
func (m *Metrics) begin(controller string) {
	if m == nil {
		return
	}
	for _, outcome := range outcomes {
		m.total.WithLabelValues(controller, outcome)
	}
	m.duration.WithLabelValues(controller)
	beginDepth(controller)
}

// beginDepth has workqueue_depth exist for a controller whose queue nothing was put into yet. The gauge is controller-runtime's own,
// which its registry gives out to whoever would register it again.
func beginDepth(controller string) {
	again := prometheus.NewGaugeVec(prometheus.GaugeOpts{Subsystem: crmetrics.WorkQueueSubsystem, Name: crmetrics.DepthKey,
		Help: "Current depth of workqueue by workqueue and priority"}, []string{"name", "controller", "priority"})
	var known prometheus.AlreadyRegisteredError
	if errors.As(crmetrics.Registry.Register(again), &known) {
		if depth, ok := known.ExistingCollector.(*prometheus.GaugeVec); ok {
			depth.WithLabelValues(controller, controller, "0")
		}
	}
}

func (m *Metrics) observe(controller, outcome string, took time.Duration) {
	if m == nil {
		return
	}
	m.total.WithLabelValues(controller, outcome).Inc()
	m.duration.WithLabelValues(controller).Observe(took.Seconds())
}

// QueueMetrics gathers the workqueue_* metrics of every controller of this process.
func QueueMetrics() prometheus.Gatherer { return crmetrics.Registry }
