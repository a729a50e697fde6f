package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/placement"
)

// host is what a host has said since this coordinator started. It is guarded by Coordinator.mu.
type host struct {
	name    v1.HostName
	seen    time.Time
	session uint64
	// lived is when it certainly lived, by Boottime: it has answered to what it was told then. 0: it has not yet in this life.
	lived time.Duration
	hello bool
	holds bool
	// sought is what other sources look for a place for in its locations, in bytes.
	sought int64
	// life is what its messages must carry. It is drawn at its first Hello, and whenever its session is another.
	life uint64
	// turn is the highest of its turns seen. settled is the highest of those after which its earlier words count nothing.
	turn, settled uint64
	locations     map[v1.LocationName]*location
	// shared are those that its latest Hello named and another host has.
	shared map[v1.LocationName]bool
}

// location is one location of a host, since this coordinator started.
type location struct {
	info LocationInfo
	// listed: the host's latest Hello named it. left is when it was named last, if it is not.
	listed bool
	left   time.Time
	// reported: its inventory was complete.
	reported bool
	// again: there was something in its inventory that could not be judged then, or a grant ran out unanswered.
	again     bool
	inventory *inventory
	// strangers is how many files its latest complete inventory had that the catalog has never seen. counted: a scan had been believed
	// by then. asOf and countedAt are when that was.
	strangers int64
	counted   bool
	asOf      v1.Generation
	countedAt time.Time
	// room is what new replicas may take: what the location said last, less what it claimed since.
	room int64
	// asked is the plan by which it got nothing, pause for how long it was told to wait then.
	asked *plan
	pause time.Duration
	// turnedAway is for how long it was told to wait last, because enough hosts copied.
	turnedAway time.Duration
}

// renewLife makes every message that a host has sent so far, seen or not, count nothing: they are of another life. The host
// learns the new one by Hello.
func (c *Coordinator) renewLife(h *host) {
	h.turn, h.settled, h.lived = 0, 0, 0
	h.life = c.draw()
}

// echo is what a host's next message is to repeat. The caller holds c.mu, as those of the next three do.
func (c *Coordinator) echo(h *host) Echo { return Echo{Life: h.life, At: c.cfg.Boottime()} }

// heed takes note of what a host's message proves.
func (c *Coordinator) heed(h *host, e Echo) {
	now := c.cfg.Boottime()
	if e.Life == h.life && e.At <= now && (e.At > h.lived || h.lived > now) {
		h.lived = e.At
	}
}

// heard tells whether anything came from a host within hostTimeout.
func (c *Coordinator) heard(h *host, now time.Time) bool { return now.Sub(h.seen) <= c.hostTimeout() }

// lives tells whether a host certainly lived within hostTimeout.
func (c *Coordinator) lives(h *host) bool {
	silent := c.cfg.Boottime() - h.lived
	return h.lived != 0 && silent >= 0 && silent <= c.hostTimeout()
}

// admit checks who asks for which source and notes that the host was heard. The caller holds c.mu.
func (c *Coordinator) admit(from v1.HostName, source v1.SourceName) (*host, error) {
	switch {
	case source != v1.SourceName(c.source.Name):
		return nil, fmt.Errorf("%q: %w", source, ErrOtherSource)
	case from == c.cfg.Host:
		return nil, ErrOwnHost
	}
	if _, ok := c.info(from); !ok {
		return nil, fmt.Errorf("%q: %w", from, ErrUnknownHost)
	}
	h := c.hosts[from]
	if h == nil {
		h = &host{name: from, locations: make(map[v1.LocationName]*location)}
		c.hosts[from] = h
	}
	now := c.clock()
	c.awake(now)
	if !c.heard(h, now) {
		c.stale = true // it is live again
	}
	h.seen = now
	return h, nil
}

// meet is admit for messages that come after Hello and name a location.
func (c *Coordinator) meet(from v1.HostName, source v1.SourceName, name v1.LocationName) (*host, *location, error) {
	h, err := c.admit(from, source)
	if err != nil {
		return nil, nil, err
	}
	l := h.locations[name]
	if !h.hello || l == nil || !l.listed {
		return nil, nil, fmt.Errorf("location %q: %w", name, ErrHelloFirst)
	}
	return h, l, nil
}

// order is meet for messages that carry Life and Turn and must be later than every earlier one.
func (c *Coordinator) order(from v1.HostName, source v1.SourceName, name v1.LocationName, life, turn uint64) (*host, *location, error) {
	h, l, err := c.meet(from, source, name)
	if err != nil {
		return nil, nil, err
	}
	if life != h.life || turn <= h.turn {
		return nil, nil, fmt.Errorf("turn %d after %d: %w", turn, h.turn, ErrHelloFirst)
	}
	h.turn = turn
	return h, l, nil
}

// countable tells whether a host's word of that turn may make replicas count.
func (c *Coordinator) countable(h *host, life, turn uint64) bool {
	return placement.MayCount(placement.CountFacts{Life: h.life, MessageLife: life, Turn: turn, DropTurn: h.settled})
}

// info finds a host in the cluster's desired state.
func (c *Coordinator) info(name v1.HostName) (HostInfo, bool) {
	for _, h := range c.cfg.Hosts() {
		if h.Name == name {
			return h, true
		}
	}
	return HostInfo{}, false
}

// sends tells whether copies may be made from the source's host now. Who acts for it sends nothing itself.
func (c *Coordinator) sends() bool {
	own, _ := c.info(c.cfg.Host)
	return c.cfg.Acting || v1.WithinWindows(own.Windows, c.clock())
}

func (c *Coordinator) hostTimeout() time.Duration {
	return orDefault(c.cluster.HostTimeout, 2*time.Minute)
}
func (c *Coordinator) repairAfter() time.Duration { return orDefault(c.cluster.RepairAfter, time.Hour) }
func (c *Coordinator) pollInterval() time.Duration {
	return orDefault(c.cluster.PollInterval, 15*time.Second)
}

// polled is d, or longer where clients ask so seldom that they would not hear of it in that time.
func (c *Coordinator) polled(d time.Duration) time.Duration { return max(d, 3*c.pollInterval()) }

// holderFacts is how one holder (a location of a host) stands now.
type holderFacts struct {
	catalog.Holder
	// host is its index in view.hosts; -1: the host, or the location on it, is in the cluster no more.
	host int
	// heard: within hostTimeout, and the location with it. live: and it is certain, by an Echo. gone: removed, or silent for longer than
	// repairAfter.
	heard, live, gone, reported bool
	// open: it may take replicas.
	open bool
	room int64
}

// view is how all hosts stand at one moment. It is not changed once made.
type view struct {
	now      time.Time
	min, max int
	hosts    []placement.Host // those of the cluster, without the source's own
	index    map[v1.HostName]int
	holders  []holderFacts // by holder id
	amnesic  bool
	// acting: see Config.
	acting bool
}

// look makes a view. The caller holds c.mu.
func (c *Coordinator) look() *view {
	v := &view{now: c.clock(), min: int(max(c.source.Spec.MinReplicas, 1)), index: make(map[v1.HostName]int),
		amnesic: c.cfg.Catalog.Amnesic(), acting: c.cfg.Acting}
	v.max = max(v.min, int(c.source.Spec.MaxReplicas))
	infos := make(map[v1.HostName]HostInfo)
	for _, info := range c.cfg.Hosts() {
		if info.Name == c.cfg.Host {
			continue
		}
		infos[info.Name] = info
		v.index[info.Name] = len(v.hosts)
		v.hosts = append(v.hosts, c.hostRoom(v.now, info))
	}
	for _, holder := range c.cfg.Catalog.Holders() {
		f := holderFacts{Holder: holder, host: -1, gone: true}
		if info, ok := infos[holder.Host]; ok && c.belongs(info, holder.Location) {
			c.judge(&f, v, info)
		}
		v.holders = append(v.holders, f)
	}
	return v
}

// judge fills in how a holder of a known host stands.
func (c *Coordinator) judge(f *holderFacts, v *view, info HostInfo) {
	f.host = v.index[info.Name]
	last := c.started
	if h := c.hosts[info.Name]; h != nil {
		if l := h.locations[f.Location]; l != nil {
			latest := l.left
			if l.listed {
				latest = h.seen
				f.heard = c.heard(h, v.now)
				f.live = f.heard && c.lives(h)
			}
			if latest.After(last) {
				last = latest
			}
			f.reported = l.reported
			f.open = f.heard && l.open(info)
			f.room = l.room
		}
	}
	f.gone = !f.heard && v.now.Sub(last) > c.repairAfter() && !v.now.Before(info.MaintenanceUntil)
}

// belongs tells whether desired state has a location on a host. One that the host lists may be newer than what is known here of desired
// state; one that was deleted is the cluster's no more, though its host may not have heard of that yet.
func (c *Coordinator) belongs(info HostInfo, name v1.LocationName) bool {
	if slices.Contains(info.Locations, name) {
		return true
	}
	return c.listed(catalog.Holder{Host: info.Name, Location: name}) && !c.cfg.Deleted(name)
}

// listed tells whether a host that is there named a location lately.
func (c *Coordinator) listed(at catalog.Holder) bool {
	h := c.hosts[at.Host]
	return h != nil && h.locations[at.Location] != nil && h.locations[at.Location].listed && c.heard(h, c.clock())
}

func (l *location) open(info HostInfo) bool {
	return l.listed && !l.info.NoNew && !l.info.Draining && !info.Cordoned && !info.Draining
}

// hostRoom is what placement sees of a host: its locations together.
func (c *Coordinator) hostRoom(now time.Time, info HostInfo) placement.Host {
	p := placement.Host{Name: info.Name, Domain: c.domain(info), Leaving: info.Draining}
	h := c.hosts[info.Name]
	if h == nil || !h.hello {
		return p
	}
	p.Sought = h.sought
	heard := c.heard(h, now)
	for _, l := range h.locations {
		if !l.listed || !c.belongs(info, l.info.Name) {
			continue
		}
		p.Capacity += l.info.Capacity
		p.Leaving = p.Leaving || l.info.Draining || l.info.Used > l.info.Capacity && l.info.Capacity > 0
		if heard && l.open(info) {
			p.Open = true
			p.Room += max(l.room, 0)
			p.MaxFile = max(p.MaxFile, l.largest())
		}
	}
	return p
}

// largest is the largest file that fits.
func (l *location) largest() int64 {
	if l.info.MaxFile > 0 {
		return min(l.info.MaxFile, l.room)
	}
	return l.room
}

// roomiest is the largest file that fits on the host.
func (h *host) roomiest() (most int64) {
	for _, l := range h.locations {
		if l.listed {
			most = max(most, l.largest())
		}
	}
	return most
}

// spread is what failure domains are: hosts, or those that have a value of this label in common.
func (c *Coordinator) spread() string { return cmp.Or(c.source.Spec.Spread, v1.SpreadHost) }

// domain is a host's failure domain, empty if it is one of its own.
func (c *Coordinator) domain(info HostInfo) string {
	if key := c.spread(); key != v1.SpreadHost {
		return info.Labels[key]
	}
	return ""
}

// domainOf tells failure domains of holders apart; holders of hosts that are gone have none.
func (v *view) domainOf(id catalog.HolderID) (string, bool) {
	f := v.holder(id)
	if f.host < 0 {
		return "", false
	}
	if d := v.hosts[f.host].Domain; d != "" {
		return "domain " + d, true
	}
	return "host " + string(f.Host), true
}

// holder finds a holder's facts. One that is newer than the view is nowhere and counts nothing.
func (v *view) holder(id catalog.HolderID) *holderFacts {
	if int(id) < len(v.holders) {
		return &v.holders[id]
	}
	return &holderFacts{host: -1, gone: true}
}

// spread counts the failure domains of these holders, those of one host and of gone ones left aside.
func (v *view) spread(holders []catalog.HolderID, use func(*holderFacts) bool) int {
	var seen [8]string
	domains := seen[:0]
	for _, id := range holders {
		if d, ok := v.domainOf(id); ok && use(v.holder(id)) && !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	return len(domains)
}

func notGone(f *holderFacts) bool { return !f.gone }

func orDefault(d *metav1.Duration, def time.Duration) time.Duration {
	if d == nil || d.Duration <= 0 {
		return def
	}
	return d.Duration
}
