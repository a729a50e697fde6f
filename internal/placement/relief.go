package placement

import (
	"cmp"
	"slices"
)

// Displace finds the moves after which missing files have a place, critical ones first: each missing copy goes to the
// tightest host that fits; where none does, up to depth replicas in a row are pushed on, the smallest sufficient ones.
// movable are files that are served (their Missing is 0); at most steps places are looked at. Moves are planned only when
// the missing copies could fit in total. It returns no moves where none are needed or none help.
func Displace(hosts []Host, missing, movable []File, depth, steps int) []Move {
	k := newPacking(hosts)
	bars := make([][]int, len(missing)+len(movable))
	for m := range movable {
		b := &bars[len(missing)+m]
		*b = slices.Clone(movable[m].Holders)
		for _, h := range movable[m].Holders {
			k.add(len(missing)+m, movable[m].Size, b, h)
		}
	}
	for f := range missing {
		bars[f] = slices.Clone(missing[f].Holders)
	}
	for _, f := range hardestFirst(k, missing) {
		for range missing[f].Missing {
			k.steps = min(steps, max(steps/4, 50)) // one without a place must not keep the others from being looked for
			steps -= k.steps
			k.place(k.add(f, missing[f].Size, &bars[f], -1), depth)
			k.settle()
			steps += max(k.steps, 0)
		}
	}
	var moves []Move
	for i := range k.copies {
		if c := &k.copies[i]; c.start >= 0 && c.at != c.start {
			moves = append(moves, Move{File: c.file - len(missing), From: c.start, To: c.at})
		}
	}
	return moves
}

// hardestFirst orders files by how few places there are for them, then by size.
func hardestFirst(k *packing, files []File) []int {
	order := make([]int, len(files))
	slots := make([]int, len(files))
	for f := range files {
		order[f] = f
		bars := files[f].Holders
		c := parcel{size: files[f].Size, bars: &bars}
		for h := range k.hosts {
			if k.fits(c.size, h) && k.allowed(&c, h) {
				slots[f]++
			}
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(slots[a], slots[b]), cmp.Compare(files[b].Size, files[a].Size), cmp.Compare(a, b))
	})
	return order
}

// Relieve chooses which files that a host holds are to be copied elsewhere, so that it can drop that many bytes: the
// smallest sufficient set, each to the tightest host that fits. Files with spare copies don't belong into movable: they
// need no copying. freed is what the moves give; less than bytes where no more can be moved.
func Relieve(hosts []Host, from int, bytes int64, movable []File) (moves []Move, freed int64) {
	k := newPacking(hosts)
	order := make([]int, 0, len(movable))
	for m := range movable {
		if slices.Contains(movable[m].Holders, from) {
			order = append(order, m)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(movable[b].Size, movable[a].Size), cmp.Compare(a, b))
	})
	// The smallest file that is enough for what is left; else the largest, and go on.
	for freed < bytes && len(order) > 0 {
		at := 0
		for at+1 < len(order) && movable[order[at+1]].Size >= bytes-freed {
			at++
		}
		m := order[at]
		order = slices.Delete(order, at, at+1)
		bars := slices.Clone(movable[m].Holders)
		c := parcel{size: movable[m].Size, bars: &bars}
		to := k.best(&c)
		if to < 0 || movable[m].Size == 0 {
			continue
		}
		k.room[to] -= c.size
		moves = append(moves, Move{File: m, From: from, To: to})
		freed += c.size
	}
	return moves, freed
}
