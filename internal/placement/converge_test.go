package placement

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

var table = flag.Bool("table", false, "print the share of instances that converge, for all families and levels")

// cluster is hosts with room and the files of several sources, each decided about by a plan that sees only its own files
// and every host's free room: what coordinators do, without network and time.
type cluster struct {
	rng   *rand.Rand
	room  []int64
	cap   []int64
	files [][]*tfile // source → files
	home  []int      // source → host it is on, -1 none of these
	moved int64
	need  int64
}

type tfile struct {
	size    int64
	holders []int
	extra   int // raised desire
	leave   int // host that is to let go, -1 none
	toward  int // host that is to take it
}

const copies = 2

// family draws file sizes.
type family struct {
	name string
	draw func(*rand.Rand) int64
}

var families = []family{
	{"uniform", func(r *rand.Rand) int64 { return 1 << 20 }},
	{"even", func(r *rand.Rand) int64 { return 1 + r.Int64N(2<<20) }},
	{"log-normal", func(r *rand.Rand) int64 { return int64(math.Exp(r.NormFloat64()*1.5+13)) + 1 }},
	{"giants", func(r *rand.Rand) int64 {
		if r.IntN(30) == 0 {
			return 20<<20 + r.Int64N(20<<20)
		}
		return 1 + r.Int64N(1<<20)
	}},
}

// draw makes a feasible instance: files are laid into hosts until these are full to level, then taken out again.
func draw(rng *rand.Rand, f family, hosts, sources int, level, spread float64, files int) *cluster {
	c := &cluster{rng: rng, files: make([][]*tfile, sources), home: make([]int, sources)}
	for i := range c.home {
		c.home[i] = -1
		if sources > 1 && hosts > 4 {
			c.home[i] = i % hosts
		}
	}
	weights := make([]float64, hosts)
	var sum float64
	for h := range weights {
		weights[h] = math.Exp(rng.Float64() * math.Log(spread))
		sum += weights[h]
	}
	sizes := make([]int64, files)
	var total int64
	for i := range sizes {
		sizes[i] = f.draw(rng)
		total += sizes[i] * copies
	}
	slices.SortFunc(sizes, func(a, b int64) int { return cmp.Compare(b, a) })
	used := make([]int64, hosts)
	for _, size := range sizes {
		s := rng.IntN(sources)
		c.files[s] = append(c.files[s], &tfile{size: size, leave: -1, toward: -1})
		// Where relative use is least, with some chance.
		order := rng.Perm(hosts)
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Compare(float64(used[a]+size)/weights[a], float64(used[b]+size)/weights[b])
		})
		order = slices.DeleteFunc(order, func(h int) bool { return h == c.home[s] })
		for _, h := range order[:copies] {
			used[h] += size
		}
	}
	for h := range used {
		c.cap = append(c.cap, int64(math.Ceil(float64(used[h])/level)))
	}
	c.room = slices.Clone(c.cap)
	c.need = total
	for s := range c.files {
		rng.Shuffle(len(c.files[s]), func(i, j int) { c.files[s][i], c.files[s][j] = c.files[s][j], c.files[s][i] })
	}
	return c
}

// hosts is what source s sees.
func (c *cluster) hosts(s int) []Host {
	hosts := make([]Host, len(c.room))
	for h := range hosts {
		hosts[h] = Host{Name: hostName(h), Capacity: c.cap[h], Room: c.room[h], Open: h != c.home[s]}
	}
	return hosts
}

// view is what source s lacks, as classes and rocks.
func (c *cluster) view(s int) (classes []Class, rocks []File, rockFiles []*tfile, members [][]*tfile) {
	index := make(map[string]int)
	for _, f := range c.files[s] {
		missing := copies + f.extra - len(f.holders)
		if missing <= 0 || f.extra > 0 {
			continue
		}
		key := fmt.Sprint(f.holders)
		i, ok := index[key]
		if !ok {
			i = len(classes)
			index[key] = i
			classes = append(classes, Class{Holders: slices.Clone(f.holders), Missing: missing})
			members = append(members, nil)
		}
		classes[i].Files++
		classes[i].Bytes += f.size
		classes[i].Largest = max(classes[i].Largest, f.size)
		members[i] = append(members[i], f)
	}
	type cand struct {
		f *tfile
		c int
	}
	var cands []cand
	for i := range members {
		slices.SortStableFunc(members[i], func(a, b *tfile) int { return cmp.Compare(b.size, a.size) })
		for _, f := range members[i] {
			cands = append(cands, cand{f, i})
		}
	}
	slices.SortStableFunc(cands, func(a, b cand) int { return cmp.Compare(b.f.size, a.f.size) })
	for _, x := range cands[:min(256, len(cands))] {
		rocks = append(rocks, File{Size: x.f.size, Holders: slices.Clone(x.f.holders), Missing: classes[x.c].Missing, Class: x.c})
		rockFiles = append(rockFiles, x.f)
	}
	return classes, rocks, rockFiles, members
}

func (c *cluster) copyTo(f *tfile, h int) {
	c.room[h] -= f.size
	if c.room[h] < 0 {
		panic("room overdrawn")
	}
	f.holders = append(f.holders, h)
	slices.Sort(f.holders)
	c.moved += f.size
}

// claim lets host h take up to n files of source s.
func (c *cluster) claim(s, h, n int) int {
	if h == c.home[s] {
		return 0
	}
	classes, rocks, rockFiles, members := c.view(s)
	p := NewPlan(c.hosts(s), classes, rocks)
	took := 0
	for _, r := range p.Rocks(h, n, unlimited) {
		c.copyTo(rockFiles[r], h)
		took++
	}
	isRock := make(map[*tfile]bool)
	for _, f := range rockFiles {
		isRock[f] = true
	}
	for _, class := range p.Order(h) {
		tries := 0
		for _, f := range members[class] {
			if took >= n || tries >= 8 {
				break
			}
			if isRock[f] || f.size > c.room[h] {
				continue
			}
			if p.Take(h, class, f.size) {
				c.copyTo(f, h)
				took++
			} else {
				tries++
			}
		}
	}
	return took
}

func (c *cluster) short() (bytes int64) {
	for _, files := range c.files {
		for _, f := range files {
			bytes += f.size * int64(max(copies-len(f.holders), 0))
		}
	}
	return bytes
}

// apply carries moves out: copy, then drop.
func (c *cluster) apply(movable []*tfile, moves []Move) int {
	done := 0
	for range len(moves) {
		for i, m := range moves {
			if m.File >= 0 && c.room[m.To] >= movable[m.File].size {
				f := movable[m.File]
				c.copyTo(f, m.To)
				f.holders = slices.DeleteFunc(f.holders, func(h int) bool { return h == m.From })
				c.room[m.From] += f.size
				moves[i].File = -1
				done++
			}
		}
	}
	return done
}

// movable is a sample of the files of a source that are served.
func (c *cluster) movable(s int) (served []*tfile, files []File) {
	order := c.rng.Perm(len(c.files[s]))
	for _, i := range order {
		if f := c.files[s][i]; len(f.holders) >= copies && len(files) < 4096 {
			served = append(served, f)
			files = append(files, File{Size: f.size, Holders: slices.Clone(f.holders)})
		}
	}
	return served, files
}

// displace lets a source make the moves that help itself.
func (c *cluster) displace(s int) int {
	var missing []File
	_, rocks, _, _ := c.view(s)
	for _, r := range rocks {
		r.Class = 0
		missing = append(missing, r)
	}
	if len(missing) == 0 {
		return 0
	}
	served, files := c.movable(s)
	return c.apply(served, Displace(c.hosts(s), missing, files, 3, 300))
}

// relieve lets hosts where a source starves be relieved by the others.
func (c *cluster) relieve(s int) int {
	classes, rocks, _, _ := c.view(s)
	if len(classes) == 0 {
		return 0
	}
	p := NewPlan(c.hosts(s), classes, rocks)
	done := 0
	for _, h := range c.rng.Perm(len(c.room)) {
		if h == c.home[s] {
			continue
		}
		want := p.Wanted(h)
		if want <= 0 {
			continue
		}
		for other := range c.files {
			if other == s || want <= 0 {
				continue
			}
			served, files := c.movable(other)
			moves, freed := Relieve(c.hosts(other), h, want, files)
			if freed < want {
				continue
			}
			done += c.apply(served, moves)
			want = 0
		}
		if done > 0 {
			break
		}
	}
	return done
}

// run lets everybody work until nothing moves any more.
func (c *cluster) run() bool {
	idle := 0
	for round := 0; round < 4000 && idle < 3; round++ {
		worked := 0
		for _, h := range c.rng.Perm(len(c.room)) {
			for _, s := range c.rng.Perm(len(c.files)) {
				worked += c.claim(s, h, 40)
			}
		}
		if c.short() == 0 {
			return true
		}
		if worked == 0 {
			for s := range c.files {
				worked += c.displace(s)
			}
		}
		if worked == 0 {
			for s := range c.files {
				worked += c.relieve(s)
			}
		}
		if worked == 0 {
			idle++
		} else {
			idle = 0
		}
	}
	return c.short() == 0
}

// figures runs instances and sums up.
func figures(f family, hosts, sources int, level, spread float64, files, n int, seed uint64) (solved int, moved float64) {
	for i := range n {
		c := draw(rand.New(rand.NewPCG(seed, uint64(i))), f, hosts, sources, level, spread, files)
		if c.run() {
			solved++
		}
		moved += float64(c.moved) / float64(c.need) / float64(n)
	}
	return solved, moved
}

func TestNearlyFullClustersConverge(t *testing.T) {
	for _, f := range families {
		solved, moved := figures(f, 5, 1, 0.98, 4, 200, 10, 1)
		t.Logf("%s: %d of 10 solved, %.3f bytes moved per byte", f.name, solved, moved)
		if solved < 9 {
			t.Errorf("%s: only %d of 10 solved", f.name, solved)
		}
	}
}

func TestTable(t *testing.T) {
	if !*table {
		t.Skip("needs -table")
	}
	for _, f := range families {
		for _, level := range []float64{0.9, 0.95, 0.98} {
			var all, moves float64
			for _, x := range []struct {
				hosts, sources int
				spread         float64
			}{{3, 1, 1}, {3, 3, 2}, {5, 1, 1}, {5, 3, 1}, {10, 1, 15}, {10, 5, 1}, {10, 5, 15}, {30, 1, 4}, {30, 10, 4}} {
				n := 30
				solved, moved := figures(f, x.hosts, x.sources, level, x.spread, 20*x.hosts+60, n, 7)
				all += float64(solved) / float64(n) / 9
				moves += moved / 9
				fmt.Fprintf(os.Stderr, "%-10s %3.0f%% %3d hosts 1:%-3.0f %2d sources: %3.0f%% solved, %.3f moved\n", f.name, level*100, x.hosts, x.spread, x.sources, float64(solved)/float64(n)*100, moved)
			}
			fmt.Fprintf(os.Stderr, "%-10s %3.0f%% all: %.3f solved, %.4f moved\n", f.name, level*100, all, moves)
		}
	}
}
