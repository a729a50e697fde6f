package placement

import (
	"slices"

	v1 "clusterbackup/api/v1"
)

// Host is a host that may hold replicas of a source. The source's own host is not among them.
type Host struct {
	Name v1.HostName
	// Domain is its failure domain: hosts of one domain never hold two counted replicas of one file. Empty: the host is a
	// domain of its own.
	Domain string
	// Capacity is how many bytes the host's locations may hold in all; it only serves to compare how full hosts are. 0: not
	// known.
	Capacity int64
	// Room is how many bytes of new replicas fit: free, less what claims under way will take, plus surplus that may be
	// dropped there. Negative when over capacity.
	Room int64
	// MaxFile is the largest file that fits now (a host's room may lie in several locations). 0: Room.
	MaxFile int64
	// Sought is how many bytes other sources look for a place for, on this host among others. Those that have fewer places to look go
	// before: of hosts that are alike, one that is sought less is filled sooner.
	Sought int64
	// Open hosts may be given replicas: they are live, neither cordoned nor draining.
	Open bool
	// Leaving hosts want to be rid of what they hold: draining, or over capacity.
	Leaving bool
}

// fits tells whether one more file of that size may go there.
func (h *Host) fits(size int64) bool {
	return h.Open && size <= h.Room && (h.MaxFile == 0 || size <= h.MaxFile)
}

// fill is the share of the capacity that is taken, in thousandths; a host that wants to be rid of replicas counts as overfull.
func (h *Host) fill() int {
	switch {
	case h.Leaving:
		return 2000
	case h.Capacity <= 0:
		return 500
	case h.Room >= h.Capacity:
		return 0
	}
	return int(1000 - float64(h.Room)/float64(h.Capacity)*1000)
}

// Class is all files that are held by the same hosts and lack the same number of copies.
type Class struct {
	// Holders are the hosts with a live replica or a claim under way, ascending.
	Holders []int
	Files   int64
	Bytes   int64
	// Missing is how many copies each of the files lacks.
	Missing int
	// Largest is the size of the largest of them. 0: not known, taken for the mean.
	Largest int64
}

// largest is Largest, or what must do for it.
func (c *Class) largest() int64 {
	if c.Largest > 0 || c.Files <= 0 {
		return c.Largest
	}
	return (c.Bytes + c.Files - 1) / c.Files
}

// File is one file where whole files matter.
type File struct {
	Size int64
	// Holders are the hosts with a live replica or a claim under way, ascending.
	Holders []int
	// Missing is how many copies it lacks.
	Missing int
	// Class is the index of its class, where classes are handed in too.
	Class int
}

// Move is a replica to be copied to another host and then dropped where it was.
type Move struct {
	// File is an index into the files handed in as movable.
	File     int
	From, To int
}

// domains numbers the hosts' failure domains.
func domains(hosts []Host) (of []int, n int) {
	of = make([]int, len(hosts))
	known := make(map[string]int)
	for i := range hosts {
		d := hosts[i].Domain
		if d == "" {
			of[i] = n
			n++
			continue
		}
		id, ok := known[d]
		if !ok {
			id = n
			known[d] = id
			n++
		}
		of[i] = id
	}
	return of, n
}

// barred tells whether a file held by these hosts may not go to host to: it or its domain has it already.
func barred(of []int, holders []int, to int) bool {
	return slices.ContainsFunc(holders, func(h int) bool { return h == to || of[h] == of[to] })
}
