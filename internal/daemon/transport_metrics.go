package daemon

import (
	"github.com/prometheus/client_golang/prometheus"

	"clusterbackup/transport"
)

// transportMetrics counts what happens to datagram connections, as clusterbackup_transport_*.
type transportMetrics struct {
	events *prometheus.CounterVec
	bytes  *prometheus.CounterVec
	open   *prometheus.GaugeVec
}

func newTransportMetrics(reg prometheus.Registerer) *transportMetrics {
	m := &transportMetrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "clusterbackup_transport_events_total",
			Help: "Connections by role and what happened to them (connected, disconnected, refused, dial failed)."}, []string{"role", "event"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "clusterbackup_transport_bytes_total",
			Help: "Bytes of datagram connections that have ended."}, []string{"role", "direction"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "clusterbackup_transport_connections",
			Help: "Datagram connections that are open."}, []string{"role"}),
	}
	reg.MustRegister(m.events, m.bytes, m.open)
	for _, role := range []string{"client", "server"} {
		for _, kind := range []transport.Kind{transport.Connected, transport.Disconnected, transport.Refused, transport.DialFailed} {
			m.events.WithLabelValues(role, kind.String())
		}
		m.bytes.WithLabelValues(role, "in")
		m.bytes.WithLabelValues(role, "out")
		m.open.WithLabelValues(role)
	}
	return m
}

// observe is the option by which a client or a server has itself counted.
func (m *transportMetrics) observe(role string) transport.Option {
	return transport.Observe(func(e transport.Event) {
		m.events.WithLabelValues(role, e.Kind.String()).Inc()
		switch e.Kind {
		case transport.Connected:
			m.open.WithLabelValues(role).Inc()
		case transport.Disconnected:
			m.open.WithLabelValues(role).Dec()
			m.bytes.WithLabelValues(role, "in").Add(float64(e.Received))
			m.bytes.WithLabelValues(role, "out").Add(float64(e.Sent))
		}
	})
}
