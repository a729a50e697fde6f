package placement

// fillStep is the difference of fill, in thousandths, below which two hosts count as equally full.
const fillStep = 50

// Need is why a host asks to drop.
type Need int

// The needs, weakest first.
const (
	// Tidy: it only has more than it must.
	Tidy Need = iota
	// Starved: files that it lacks find no room there.
	Starved
	// Leave: it is over capacity, below its reserve, or draining.
	Leave
)

// ShouldDrop tells whether host at should be the one to let go of a file that these hosts hold, confirmed. min and max
// are the source's replicas (max ≥ min). It is about what is wise; whether it is safe is MayDrop's to say.
//
// With a need, whatever min allows; without, only what exceeds max, and then the fullest hosts first. Hosts whose fill
// differs by little count as equal, and among equals the last in order lets go: always the same one, so that two
// coordinators or two moments don't decide against each other.
func ShouldDrop(hosts []Host, holders []int, at int, need Need, min, max int) bool {
	if len(holders) <= min {
		return false
	}
	if need >= Starved {
		return true
	}
	excess := len(holders) - max
	before := 0
	for _, h := range holders {
		if h != at && dropsBefore(hosts, h, at) {
			before++
		}
	}
	return before < excess
}

// dropsBefore orders holders by who lets go first.
func dropsBefore(hosts []Host, a, b int) bool {
	fa, fb := hosts[a].fill()/fillStep, hosts[b].fill()/fillStep
	if fa != fb {
		return fa > fb
	}
	return a > b
}
