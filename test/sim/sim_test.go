package sim

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/coordinator"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of the one simulation to run; 0: several, by their numbers")
	hostsFlag = flag.Int("hosts", 0, "hosts of each simulation; 0: 3 to 8, by the seed")
	traceFlag = flag.String("trace", "", "file that the latest run's whole trace is written to")
	yearsFlag = flag.Float64("years", 0, "host-years in all; 0: 10")
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// total sums up what several simulations saw.
type total struct {
	stats
	years float64
	bad   int
}

func (t *total) add(s stats) {
	t.copies += s.copies
	t.drops += s.drops
	t.grants += s.grants
	t.faults += s.faults
	t.requests += s.requests
	t.lost += s.lost
	t.confirms += s.confirms
	t.acted += s.acted
}

func TestSim(t *testing.T) {
	want := *yearsFlag
	if want == 0 {
		want = 10
	}
	seed := max(*seedFlag, 1)
	var sum total
	var mu sync.Mutex
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4) {
		group.Go(func() {
			for {
				mu.Lock()
				done := sum.years >= want || *seedFlag != 0 && sum.years > 0 && *yearsFlag == 0 || sum.bad >= 3
				mine := seed
				hosts := cmp.Or(*hostsFlag, 3+int(seed%6))
				length := time.Duration(min(max((want-sum.years)/float64(hosts), 0.1), 1) * float64(year))
				seed++
				if !done {
					sum.years += float64(hosts) * length.Hours() / 24 / 365
				}
				mu.Unlock()
				if done {
					return
				}
				s, problems := simulate(t, mine, hosts, length)
				mu.Lock()
				sum.add(s)
				if len(problems) > 0 {
					sum.bad++
					t.Errorf("seed %d, %d hosts:\n%s", mine, hosts, strings.Join(problems, "\n"))
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	t.Logf("%.0f host-years, %d faults, %d requests (%d lost), %d copies (%d ordered by who acts for another), %d grants, %d drops, %d violations", sum.years, sum.faults,
		sum.requests, sum.lost, sum.copies, sum.acted, sum.grants, sum.drops, sum.bad)
	if *seedFlag == 0 && (sum.drops == 0 || sum.faults == 0 || sum.lost == 0 || sum.acted == 0) {
		t.Error("nothing was put to the test")
	}
}

// TestChecksCanFail breaks the invariants by hand and sees that the checks say so.
func TestChecksCanFail(t *testing.T) {
	calm := func(t *testing.T) (*world, *source, v1.RelPath, []*host) {
		w := faultyWorld(t, 6, 5)
		t.Cleanup(w.stop)
		for _, h := range w.hosts {
			h.start()
		}
		w.clock.run(2 * day)
		s := w.sources[0]
		path := s.names[0]
		var holders []*host
		for _, h := range w.hosts {
			if h.disk.get(s.name, path) != nil {
				holders = append(holders, h)
			}
		}
		if len(w.problems) > 0 || len(holders) < s.minimum {
			t.Fatalf("not calm: %v, %d holders of %s", w.problems, len(holders), path)
		}
		return w, s, path, holders
	}
	t.Run("a replica that counts and is not there", func(t *testing.T) {
		w, s, path, holders := calm(t)
		holders[0].disk.remove(s.name, path)
		w.checkFiles(s)
		if len(w.problems) == 0 {
			t.Error("not noticed")
		}
	})
	t.Run("a grant that relies on too few", func(t *testing.T) {
		w, s, path, holders := calm(t)
		for _, h := range holders[:len(holders)-s.minimum+1] {
			w.truth.granted(h.remotes[s], &call{}, []coordinator.Grant{{ID: 1, Path: path}})
		}
		if len(w.problems) == 0 {
			t.Error("not noticed")
		}
	})
	t.Run("a deletion without a grant", func(t *testing.T) {
		w, s, path, holders := calm(t)
		w.truth.dropped(holders[0].remotes[s], path)
		if len(w.problems) == 0 {
			t.Error("not noticed")
		}
	})
	t.Run("a file taken for deleted", func(t *testing.T) {
		w, s, path, holders := calm(t)
		w.truth.checkRetired(holders[0], s, path)
		if len(w.problems) == 0 {
			t.Error("not noticed")
		}
	})
}

// simulate runs one world through faults, then without, and returns what is wrong with a trace.
func simulate(t *testing.T, seed uint64, hosts int, length time.Duration) (stats, []string) {
	w := faultyWorld(t, seed, hosts)
	if *traceFlag != "" {
		w.cfg.Trace = 1 << 20
	}
	defer w.stop()
	for _, h := range w.hosts {
		h.start()
	}
	w.clock.run(2 * day)
	c := w.unleash(allFaults())
	for end := w.clock.now + length; w.clock.now < end && len(w.problems) == 0; {
		before := w.stats.requests
		w.clock.run(w.clock.now + day)
		w.checkBusy(w.stats.requests - before)
	}
	c.end()
	w.settle()
	if *traceFlag != "" {
		os.WriteFile(*traceFlag, []byte(strings.Join(w.lines(), "\n")), 0o600)
	}
	if len(w.problems) == 0 {
		return w.stats, nil
	}
	return w.stats, append(w.lines(), w.problems[0], fmt.Sprintf("replay with: go test ./test/sim -run 'TestSim$' -seed %d -hosts %d -years %g", seed, hosts, length.Hours()/24/365*float64(hosts)))
}

// settle gives a healthy world time to serve every file, then to rest.
func (w *world) settle() {
	deadline := w.clock.now + 20*w.cfg.RepairAfter
	for w.clock.now < deadline && len(w.problems) == 0 {
		before := w.stats.requests
		w.clock.run(w.clock.now + 6*time.Hour)
		w.checkBusy(w.stats.requests - before)
		if w.clock.now-w.stats.lastMove > 2*w.cfg.RepairAfter && len(w.unserved()) == 0 {
			for _, s := range w.sources {
				w.checkFiles(s)
			}
			return
		}
	}
	if len(w.problems) > 0 || !w.feasible() {
		return
	}
	bad := w.unserved()
	slices.Sort(bad)
	for _, h := range w.hosts {
		w.say("%s: %s of %s free, %s in versions", h.name, v1Size(h.disk.free()), v1Size(h.disk.capacity), v1Size(h.disk.kept))
	}
	for _, b := range bad[:min(len(bad), 3)] {
		w.sayFile(strings.Fields(b)[0])
	}
	w.fail("L1: %d files are not as they should be: %v; the last copy or drop was %v ago", len(bad), bad[:min(len(bad), 5)], w.clock.now-w.stats.lastMove)
}

// faultyWorld is a small cluster, half to nearly full, of a kind that its seed decides.
func faultyWorld(t *testing.T, seed uint64, hosts int) *world {
	rng := rand.New(rand.NewPCG(seed, 2))
	cfg := config{
		Seed: seed, Replicas: 2, Rate: 100 << 20, Poll: 2 * time.Hour, Timeout: 5 * time.Hour, RepairAfter: 24 * time.Hour, Scan: 12 * time.Hour,
		Tick: time.Hour, CallTimeout: 30 * time.Second, Retention: 5 * day, Disk: 2 * time.Second, Check: 50, Trace: 60,
	}
	spare := hosts - 1 - cfg.Replicas
	switch {
	case spare >= 2 && rng.IntN(4) == 0:
		cfg.Replicas = 3
	case rng.IntN(4) == 0:
		cfg.MaxReplicas = cfg.Replicas + 1
	}
	if spare >= 3 && rng.IntN(3) == 0 {
		cfg.Spread = "site"
	}
	w := newWorld(cfg, t.TempDir())
	for i := range hosts {
		h := w.addHost(i, 0)
		if cfg.Spread != "" && i%3 == 2 {
			h.site = w.hosts[i-1].site
		}
	}
	var need, largest int64
	for i := range 1 + rng.IntN(2) {
		s := w.addSource(i, w.hosts[i])
		for n := range 20 + rng.IntN(40) {
			size := rng.Int64N(30 << 20)
			s.add(v1.RelPath(fmt.Sprintf("d%d/f%d", n%4, n)), size)
			need += size * int64(s.minimum)
			largest = max(largest, size)
		}
	}
	slack := 1.2 + rng.Float64()
	for _, h := range w.hosts {
		h.disk.capacity = int64(float64(need)/float64(max(hosts-2, 1))*(slack+rng.Float64()/2)) + 4*largest
	}
	return w
}

// sayFile notes who holds a file and what its coordinator thinks.
func (w *world) sayFile(name string) {
	for _, s := range w.sources {
		if path, ok := strings.CutPrefix(name, string(s.name)+"/"); ok {
			f, err := s.coord.File(context.Background(), v1.RelPath(path))
			w.say("%s: %v %v %+v", name, err, f.Status.Service, f.Status.Replicas)
			for _, h := range w.hosts {
				if r := h.disk.get(s.name, v1.RelPath(path)); r != nil {
					w.say("   %s holds gen %v content %d", h.name, r.gen, r.content)
				}
			}
		}
	}
}
