package sim

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	v1 "clusterbackup/api/v1"
)

var (
	instances = flag.Int("instances", 5, "instances of each kind in BenchmarkPlacement")
	firstSeed = flag.Uint64("placement-seed", 1, "seed of the first instance in BenchmarkPlacement")
	large     = flag.Bool("large", false, "also the large clusters in BenchmarkPlacement (minutes)")
)

const mib = 1 << 20

// family draws file sizes.
type family struct {
	name string
	draw func(*rand.Rand) int64
}

var (
	uniform   = family{"uniform", func(*rand.Rand) int64 { return 64 * mib }}
	logNormal = family{"log-normal", func(r *rand.Rand) int64 { return int64(math.Exp(r.NormFloat64()*1.2)*20*mib) + 1 }}
	giants    = family{"few giants", func(r *rand.Rand) int64 {
		if r.IntN(50) == 0 {
			return (500 + r.Int64N(500)) * mib
		}
		return 1 + r.Int64N(60*mib)
	}}
	medium = family{"medium files", func(r *rand.Rand) int64 { return 1 + r.Int64N(10*mib) }}
	small  = family{"small files", func(r *rand.Rand) int64 { return 1 + r.Int64N(100<<10) }}
)

// kind is a kind of cluster.
type kind struct {
	family
	hosts, sources int
	spread         float64 // largest capacity to smallest
	files          int
	level          float64
}

func (k kind) String() string {
	return fmt.Sprintf("%s/%d hosts 1:%.0f/%d sources/%d files/%.0f%% full", k.name, k.hosts, k.spread, k.sources, k.files, k.level*100)
}

// build makes a feasible instance: files are laid into hosts, whose capacities are then cut to the level, and taken out.
func (k kind) build(dir string, seed uint64) *world {
	w := newWorld(config{
		Seed: seed, Replicas: 2, Rate: 100 * mib, Poll: 15 * time.Second, Timeout: 2 * time.Minute, RepairAfter: time.Hour, Scan: 15 * time.Minute,
		Tick: 2 * time.Second, CallTimeout: 30 * time.Second, Retention: 30 * day,
	}, dir)
	rng := rand.New(rand.NewPCG(seed, 3))
	weights := make([]float64, k.hosts)
	for i := range k.hosts {
		w.addHost(i, 1)
		weights[i] = math.Exp(rng.Float64() * math.Log(k.spread))
	}
	for i := range k.sources {
		home := w.hosts[i%k.hosts]
		if k.hosts < 5 || k.sources == 1 {
			home = w.addHost(k.hosts+i, 0)
		}
		w.addSource(i, home)
	}
	sizes := make([]int64, k.files)
	for i := range sizes {
		sizes[i] = k.draw(rng)
	}
	slices.SortFunc(sizes, func(a, b int64) int { return cmp.Compare(b, a) })
	used := make([]int64, k.hosts)
	type planted struct {
		s    *source
		size int64
	}
	var files []planted
	for _, size := range sizes {
		s := w.sources[rng.IntN(k.sources)]
		order := slices.DeleteFunc(rng.Perm(k.hosts), func(h int) bool { return w.hosts[h] == s.host })
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Compare(float64(used[a]+size)/weights[a], float64(used[b]+size)/weights[b])
		})
		for _, h := range order[:2] {
			used[h] += size
		}
		files = append(files, planted{s, size})
	}
	rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	for i, f := range files {
		f.s.add(v1.RelPath(fmt.Sprintf("d%d/f%d", i%100, i)), f.size)
	}
	for i := range used {
		w.hosts[i].disk.capacity = int64(math.Ceil(float64(used[i]) / k.level))
	}
	return w
}

// result is how one instance went.
type result struct {
	converged          bool
	moved, slow, again float64 // bytes moved per byte needed; time per least possible time; bytes dropped per byte needed
	requests           float64 // per file
	problems           []string
}

// bound is the least time that the links allow.
func (w *world) bound() (need int64, least time.Duration) {
	var down float64
	for _, h := range w.hosts {
		if h.disk.capacity > 0 {
			down += h.downRate
		}
	}
	var up float64
	for _, s := range w.sources {
		var bytes int64
		for _, f := range s.files {
			bytes += f.entry.Size * int64(s.minimum)
		}
		need += bytes
		up = max(up, float64(bytes)/s.upRate)
	}
	return need, time.Duration(max(up, float64(need)/down) * 1e9)
}

// served tells whether all coordinators think that all is well, and it is: what was granted may not be dropped yet.
func (w *world) served() bool {
	for _, s := range w.sources {
		if st := s.coord.Status(); st.Underserved > 0 || st.Overserved > 0 || st.Files == 0 {
			return false
		}
	}
	return len(w.unserved()) == 0
}

func (k kind) run(dir string, seed uint64) result {
	w := k.build(dir, seed)
	defer w.stop()
	need, least := w.bound()
	for _, h := range w.hosts {
		h.start()
	}
	for !w.served() && w.clock.now-w.stats.lastMove < 30*time.Minute && w.clock.now < 20*least+2*time.Hour && len(w.problems) == 0 {
		w.clock.run(w.clock.now + max(least/50, time.Second))
	}
	requests := float64(w.stats.requests)
	finished := w.stats.lastMove
	if bad := w.unserved(); len(bad) > 0 && len(bad) < 4 && testing.Verbose() {
		fmt.Println(k, "seed", seed, bad)
	}
	return result{
		converged: len(w.unserved()) == 0 && len(w.problems) == 0, moved: float64(w.stats.copied) / float64(need), slow: float64(finished) / float64(least),
		again: float64(w.stats.dropped) / float64(need), requests: requests / float64(k.files), problems: w.problems,
	}
}

// kinds are those of the table.
func kinds() (all []kind) {
	for _, level := range []float64{0.8, 0.9, 0.95, 0.98} {
		for _, f := range []family{uniform, logNormal, giants} {
			for _, c := range []kind{{hosts: 3, sources: 1, spread: 1}, {hosts: 5, sources: 3, spread: 2}, {hosts: 10, sources: 1, spread: 15}, {hosts: 10, sources: 5, spread: 15}, {hosts: 30, sources: 10, spread: 4}} {
				c.family, c.level, c.files = f, level, 40*c.hosts
				all = append(all, c)
			}
		}
		for _, c := range []kind{{hosts: 5, sources: 2}, {hosts: 5, sources: 3}, {hosts: 6, sources: 5}} {
			c.family, c.level, c.spread, c.files = medium, level, 2, 4000
			all = append(all, c)
		}
		all = append(all, kind{family: small, level: level, hosts: 5, sources: 2, spread: 2, files: 10_000})
	}
	if *large {
		for _, level := range []float64{0.8, 0.98} {
			all = append(all,
				kind{family: small, level: level, hosts: 10, sources: 2, spread: 15, files: 100_000},
				kind{family: logNormal, level: level, hosts: 200, sources: 20, spread: 15, files: 8000})
		}
	}
	return all
}

// BenchmarkPlacement prints, for each kind of cluster: how many of the instances converge, bytes moved and bytes dropped
// again per byte needed, the time per least time that the links allow, and requests per file. Seeds are 1, 2, …; run with
// -benchtime 1x.
func BenchmarkPlacement(b *testing.B) {
	for _, k := range kinds() {
		b.Run(k.String(), func(b *testing.B) {
			for b.Loop() {
				var sum result
				converged := 0
				n := float64(*instances)
				for i := range *instances {
					r := k.run(b.TempDir(), *firstSeed+uint64(i))
					if r.converged {
						converged++
					}
					for _, p := range r.problems {
						b.Errorf("seed %d: %s", *firstSeed+uint64(i), p)
					}
					sum.moved += r.moved / n
					sum.slow += r.slow / n
					sum.again += r.again / n
					sum.requests += r.requests / n
				}
				b.ReportMetric(float64(converged)/n*100, "%converged")
				b.ReportMetric(sum.moved, "moved/needed")
				b.ReportMetric(sum.again, "dropped/needed")
				b.ReportMetric(sum.slow, "time/bound")
				b.ReportMetric(sum.requests, "requests/file")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
