package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/coordinator"
)

// config is what a simulation is made of. Times are long where that saves steps: a year of polls every 15 seconds tells no
// more than one of polls every half hour.
type config struct {
	Seed        uint64
	Replicas    int
	MaxReplicas int
	Rate        float64 // bytes a second, up and down
	Poll        time.Duration
	Timeout     time.Duration // hostTimeout
	RepairAfter time.Duration
	Scan        time.Duration
	Tick        time.Duration
	CallTimeout time.Duration
	Retention   time.Duration
	Disk        time.Duration // the most that a step on disk takes
	Check       int           // every so many steps all files are looked at
	Trace       int           // lines kept for a violation
	Spread      string        // failure domain
}

// world is a simulated cluster.
type world struct {
	cfg     config
	clock   clock
	rng     *rand.Rand
	dir     string
	hosts   []*host
	byName  map[v1.HostName]*host
	sources []*source
	net     network
	failing float64 // chance that a step on a disk fails
	truth   truth
	stats   stats
	acting  map[controllers.Client]*acting

	trace    []string
	at       int
	problems []string
}

// stats are counted over a run.
type stats struct {
	copies, copied int64 // files, bytes
	acted          int64 // files copied on account of a coordinator that acts
	drops, dropped int64
	grants         int64
	confirms       int64
	requests, lost int64
	faults         int64
	checks         int64
	lastMove       time.Duration // when a copy or drop happened last
}

func newWorld(cfg config, dir string) *world {
	w := &world{cfg: cfg, dir: dir, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), byName: make(map[v1.HostName]*host), acting: make(map[controllers.Client]*acting)}
	w.truth.init()
	w.net.w = w
	return w
}

func (w *world) cluster() v1.ClusterSpec {
	return v1.ClusterSpec{
		MinReplicas: int32(w.cfg.Replicas), PollInterval: &metav1.Duration{Duration: w.cfg.Poll},
		RepairAfter: &metav1.Duration{Duration: w.cfg.RepairAfter}, HostTimeout: &metav1.Duration{Duration: w.cfg.Timeout},
	}
}

func (w *world) hostInfos() []coordinator.HostInfo {
	infos := make([]coordinator.HostInfo, len(w.hosts))
	for i, h := range w.hosts {
		infos[i] = coordinator.HostInfo{Name: h.name, Draining: h.draining}
		if h.disk.capacity > 0 {
			infos[i].Locations = []v1.LocationName{h.location}
		}
		if w.cfg.Spread != "" {
			infos[i].Labels = map[string]string{"site": h.site}
		}
	}
	return infos
}

// say notes a line for the trace of a violation.
func (w *world) say(format string, args ...any) {
	if w.cfg.Trace == 0 {
		return
	}
	line := w.stamp() + " " + fmt.Sprintf(format, args...)
	if len(w.trace) < w.cfg.Trace {
		w.trace = append(w.trace, line)
		return
	}
	w.trace[w.at%len(w.trace)] = line
	w.at++
}

func (w *world) stamp() string {
	d := w.clock.now
	return fmt.Sprintf("day %4d %02d:%02d:%06.3f", d/(24*time.Hour), d/time.Hour%24, d/time.Minute%60, (d % time.Minute).Seconds())
}

// lines is the trace, oldest first.
func (w *world) lines() []string {
	at := 0
	if len(w.trace) > 0 {
		at = w.at % len(w.trace)
	}
	return append(append([]string(nil), w.trace[at:]...), w.trace[:at]...)
}

// fail notes a violation.
func (w *world) fail(format string, args ...any) {
	line := w.stamp() + " " + fmt.Sprintf(format, args...)
	w.problems = append(w.problems, line)
	w.say("VIOLATION: "+format, args...)
}

// spread is about d, so that things don't fall into step.
func (w *world) spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*w.rng.Float64()))
}

// exponential is the time to the next of events that happen once in mean.
func (w *world) exponential(mean time.Duration) time.Duration {
	return time.Duration(-math.Log(1-w.rng.Float64()) * float64(mean))
}

// source finds a source by its name.
func (w *world) source(name v1.SourceName) *source {
	return w.sources[slices.IndexFunc(w.sources, func(s *source) bool { return s.name == name })]
}

// slow is the time that disks take, where they are slow: now and then so long that grants run out.
func (w *world) slow() {
	if w.cfg.Disk == 0 {
		return
	}
	d := time.Duration(w.rng.Int64N(int64(w.cfg.Disk)))
	if w.rng.IntN(50) == 0 {
		d *= 100
	}
	w.clock.running.sleep(d)
}

// stop ends all processes.
func (w *world) stop() {
	for _, client := range w.actingClients(nil) {
		w.acting[client].end()
	}
	for _, h := range w.hosts {
		h.stop()
	}
	for _, s := range w.sources {
		s.close()
	}
}
