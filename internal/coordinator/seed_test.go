package coordinator

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	v1 "clusterbackup/api/v1"
)

// Ten files of one size, three hosts with room for seven each, two replicas: however the hosts' requests interleave, every
// file ends with exactly two replicas, after twenty copies, none of them dropped.
func TestSeedExample(t *testing.T) {
	for _, window := range []int{1, 2, 3, 7, 100} {
		t.Run(fmt.Sprint("window ", window), func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) { seed(t, r, window) })
		})
	}
}

func seed(t *testing.T, r *rapid.T, window int) {
	const size = 1 << 20
	names := []v1.HostName{"a", "b", "c"}
	w := newWorld(t, r, 2, names...)
	defer w.stop()
	for i := range 10 {
		w.tree.put(fmt.Sprintf("d%d/f%d", i%3, i), size)
	}
	w.scan()
	for _, name := range names {
		w.peers[name].capacity = 7 * size
		w.peers[name].meet()
	}
	// Each step, some host claims, or finishes one of its copies.
	open := make(map[v1.HostName][]Claimed)
	idle := make(map[v1.HostName]bool) // asked in vain since anything changed
	for steps := 0; len(idle) < len(names); steps++ {
		if steps > 2000 {
			r.Fatalf("does not come to rest")
		}
		name := rapid.SampledFrom(names).Draw(r, "host")
		p := w.peers[name]
		if list := open[name]; len(list) > 0 && (len(list) >= window || rapid.Bool().Draw(r, "copy")) {
			i := rapid.IntRange(0, len(list)-1).Draw(r, "which")
			rec, ok := p.copy(list[i])
			if !ok {
				r.Fatalf("claimed what is not there")
			}
			open[name] = append(list[:i:i], list[i+1:]...)
			if err := p.confirm([]Record{rec}); err != nil {
				r.Fatalf("confirm: %v", err)
			}
			clear(idle)
			continue
		}
		got := p.claim(window - len(open[name]))
		open[name] = append(open[name], got...)
		if len(got) > 0 || len(open[name]) > 0 {
			clear(idle)
		} else {
			idle[name] = true
		}
	}
	copies := 0
	for _, name := range names {
		copies += w.peers[name].copies
		if used := w.peers[name].used(); used > 7*size {
			r.Fatalf("%s holds %d bytes", name, used)
		}
		if a := w.peers[name].meet(); a.Surplus || a.Claimable {
			r.Fatalf("%s still has to do: %+v", name, a)
		}
	}
	s := w.c.Status()
	if copies != 20 || s.ReplicaFiles[2] != 10 || s.Underserved != 0 || s.Overserved != 0 {
		r.Fatalf("after %d copies: %+v", copies, s)
	}
}
