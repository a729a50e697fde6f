package coordinator

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"clusterbackup/internal/catalog"
	"clusterbackup/internal/placement"
)

// plan is where the missing copies are to go, as placement sees it, and the way back from its classes and rocks to files.
type plan struct {
	*placement.Plan
	view   *view
	built  time.Time
	cost   int
	groups []group
	keys   []catalog.Member // of the rocks
	rocks  map[catalog.Key]bool
	need   int64
	given  int // files given since it was made
}

// group is the files that the same hosts have, or are about to have.
type group struct {
	hosts   []int
	missing int
	// classes hold the files that are alike; single are those that somebody has claimed or keeps failing at.
	classes []uint32
	single  []catalog.Member
}

const (
	// maxRocks is how many files are placed one by one.
	maxRocks = 256
	// maxQuick is the size of a plan that is made anew whenever anything changed; larger ones live for planLife.
	maxQuick = 20000
	planLife = 2 * time.Second
)

// planned gives the plan for the present state. The caller holds c.mu.
func (c *Coordinator) planned() *plan {
	if p := c.plan; p != nil && len(p.view.holders) == len(c.cat.Holders()) {
		age := c.clock().Sub(p.built)
		if !c.stale || p.cost > maxQuick && age >= 0 && age < planLife {
			return p
		}
	}
	c.stale = c.watched != c.cat.ClassesVersion() // a commit is on its way to us
	c.plan = c.makePlan()
	return c.plan
}

func (c *Coordinator) makePlan() *plan {
	v := c.look()
	p := &plan{view: v, built: v.now, rocks: make(map[catalog.Key]bool)}
	b := planBuilder{p: p, index: make(map[string]int)}
	classes := c.cat.Classes()
	taken := make(map[uint32][]int, len(classes))
	for i := range classes {
		class := &classes[i]
		taken[class.ID] = v.taken(class)
		if !v.copyable(class) {
			continue
		}
		free := c.claims.byClass[class.ID]
		b.add(taken[class.ID], v.min+v.idle(class), class.ID, class.Files-free.files, class.Bytes-free.bytes)
	}
	for _, key := range slices.Sorted(maps.Keys(c.claims.byKey)) { // in an order that is always the same: groups are told apart by it
		list := c.claims.byKey[key]
		hosts := slices.Clone(taken[list[0].class])
		want := v.min
		if class, ok := c.cat.Class(list[0].class); ok {
			if want += v.idle(&class); len(c.refusals.until) > 0 {
				hosts = c.takenOf(v, key, &class)
			}
		}
		for _, n := range list {
			if h, ok := v.index[n.host]; ok && !slices.Contains(hosts, h) {
				hosts = append(hosts, h)
			}
		}
		slices.Sort(hosts)
		b.addSingle(hosts, want, catalog.Member{Key: key, Size: list[0].size})
	}
	c.addStuck(&b, v, taken)
	for i := range p.groups {
		slices.SortFunc(p.groups[i].single, larger)
	}
	hosts := slices.Clone(v.hosts)
	for i := range hosts {
		hosts[i].Room -= c.reliefs.pending(hosts[i].Name)
	}
	rocks := c.rocks(p, b.classes)
	p.cost = len(b.classes) * len(hosts)
	p.Plan = placement.NewPlan(hosts, b.classes, rocks)
	p.Lenient = v.now.Before(c.lenient)
	return p
}

// larger orders members by size, largest first, then by key.
func larger(a, b catalog.Member) int {
	return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Key, b.Key))
}

type planBuilder struct {
	p       *plan
	index   map[string]int
	classes []placement.Class
}

func (b *planBuilder) group(hosts []int, want int) int {
	missing := b.p.view.missing(hosts, want)
	if missing <= 0 {
		return -1
	}
	name := binary.AppendUvarint(nil, uint64(missing))
	for _, h := range hosts {
		name = binary.AppendUvarint(name, uint64(h))
	}
	i, ok := b.index[string(name)]
	if !ok {
		i = len(b.classes)
		b.index[string(name)] = i
		b.classes = append(b.classes, placement.Class{Holders: hosts, Missing: missing})
		b.p.groups = append(b.p.groups, group{hosts: hosts, missing: missing})
	}
	return i
}

func (b *planBuilder) add(hosts []int, want int, class uint32, files, bytes int64) {
	if files <= 0 {
		return
	}
	if i := b.group(hosts, want); i >= 0 {
		b.classes[i].Files += files
		b.classes[i].Bytes += max(bytes, 0)
		b.p.groups[i].classes = append(b.p.groups[i].classes, class)
		b.p.need += int64(b.classes[i].Missing) * max(bytes, 0)
	}
}

// addStuck adds the files whose holders don't bring them up to date, as they were to.
func (c *Coordinator) addStuck(b *planBuilder, v *view, taken map[uint32][]int) {
	keys := c.refusals.stuckKeys()
	if len(keys) == 0 {
		return
	}
	slices.Sort(keys)
	_ = c.cat.View(func(tx *catalog.Tx) error {
		for _, key := range keys {
			e, err := tx.Get(key)
			if err != nil || e == nil || !e.Live() || len(c.claims.byKey[key]) > 0 {
				continue
			}
			class, ok := c.cat.Class(e.Class())
			if !ok {
				continue
			}
			if hosts := c.takenOf(v, key, &class); len(hosts) < len(taken[class.ID]) {
				b.addSingle(hosts, v.min, catalog.Member{Key: key, Size: e.Size})
			}
		}
		return nil
	})
}

func (b *planBuilder) addSingle(hosts []int, want int, m catalog.Member) {
	if i := b.group(hosts, want); i >= 0 {
		b.classes[i].Files++
		b.classes[i].Bytes += m.Size
		b.p.groups[i].single = append(b.p.groups[i].single, m)
		b.p.need += int64(b.classes[i].Missing) * m.Size
	}
}

// rocks chooses the files to be placed one by one: all if there are few, else the large ones, and those that a host could not
// copy though it was meant to.
func (c *Coordinator) rocks(p *plan, classes []placement.Class) (rocks []placement.File) {
	var files int64
	for i := range classes {
		files += classes[i].Files
	}
	least := int64(0)
	if files > maxRocks {
		least = max(p.need/(2*maxRocks), 1)
	}
	type candidate struct {
		catalog.Member
		group int
	}
	var found []candidate
	most := max(8, 4*maxRocks/max(len(p.groups), 1))
	_ = c.cat.View(func(tx *catalog.Tx) error {
		for g := range p.groups {
			n := 0
			c.eachMember(tx, p, g, unbounded, func(m catalog.Member) bool {
				classes[g].Largest = max(classes[g].Largest, m.Size)
				if m.Size < least || n >= most {
					return false
				}
				found = append(found, candidate{m, g})
				n++
				return true
			})
		}
		return nil
	})
	slices.SortFunc(found, func(a, b candidate) int { return larger(a.Member, b.Member) })
	found = found[:min(len(found), maxRocks)]
	for _, f := range found {
		holders := slices.Clone(p.groups[f.group].hosts)
		for h := range p.view.hosts {
			if c.barred(p.view.hosts[h].Name, f.Member, p.view.now) && !slices.Contains(holders, h) {
				holders = append(holders, h)
			}
		}
		slices.Sort(holders)
		p.rocks[f.Key] = true
		p.keys = append(p.keys, f.Member)
		rocks = append(rocks, placement.File{Size: f.Size, Holders: holders, Missing: p.groups[f.group].missing, Class: f.group})
	}
	return rocks
}

const unbounded = int64(1)<<62 - 1

// eachMember visits the files of a group that are no larger than most, each class's largest first.
func (c *Coordinator) eachMember(tx *catalog.Tx, p *plan, g int, most int64, visit func(catalog.Member) bool) {
	for _, id := range p.groups[g].classes {
		tx.Members(id, most, catalog.Member{}, func(m catalog.Member) bool {
			if len(c.claims.byKey[m.Key]) > 0 {
				return true
			}
			return visit(m)
		})
	}
	for _, m := range p.groups[g].single {
		if m.Size <= most && !visit(m) {
			return
		}
	}
}

// meant is how many bytes of a host's room the plan needs for what is missing, apart from the rocks.
func (p *plan) meant(host int) (bytes int64) {
	for g := range p.groups {
		bytes += p.Share(g, host)
	}
	return bytes
}
