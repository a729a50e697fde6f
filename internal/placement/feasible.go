package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Demand is files of one size, or of sizes up to one, that are wanted in a number of copies.
type Demand struct {
	Files int64
	// Bytes is their total.
	Bytes int64
	// Largest is the size of the largest one.
	Largest int64
}

// Fit is an answer about feasibility.
type Fit int

// The answers.
const (
	// Fits: a placement of whole files exists.
	Fits Fit = iota
	// MayFit: the bytes fit, but whether whole files do is open; it is that tight.
	MayFit
	// Unfit: no placement exists.
	Unfit
)

// Verdict is what Feasible found.
type Verdict struct {
	Fit Fit
	// Message is for people, with a way out; empty when it fits.
	Message string
	// Files, Bytes are copies that find no place, at least.
	Files, Bytes int64
}

// Feasible tells whether demands, in that many copies each, fit on the hosts at all, one copy a failure domain, which people call
// domain: "host", "site". Host.Room is here all that the source may use: free and what it holds there already; hosts that are only silent for a while should be
// handed in as Open.
//
// It is a maximum flow demand → domain (at most the demand's bytes: one copy each) → host (room). If that flow is short,
// no placement exists. If it is not, whole files are laid out in a row, copies times over, and cut into the flow's portions
// in turn; each file goes to the host in whose portion it begins. A portion of a domain is no longer than the row, so the
// copies of one file begin in different domains (this is McNaughton's wrap-around rule, "Scheduling with deadlines and loss
// functions", 1959), and each host gets at most one file more than its portion for each demand. So if the flow also fits
// with the largest file of each demand kept free on every host, whole files fit. Files that are demanded one by one are laid
// into hosts first, and the flow gets what room that leaves.
func Feasible(hosts []Host, demands []Demand, copies int, domain string) Verdict {
	demands = slices.DeleteFunc(slices.Clone(demands), func(d Demand) bool { return d.Files <= 0 })
	if copies < 1 || len(demands) == 0 {
		return Verdict{}
	}
	slices.SortFunc(demands, func(a, b Demand) int { return cmp.Compare(b.Largest, a.Largest) })
	if v := fewDomains(hosts, demands, copies, domain); v.Fit == Unfit {
		return v
	}
	short, worst := flowShort(hosts, demands, copies, false)
	if short > 0 {
		files := (short + max(worst.Largest, 1) - 1) / max(worst.Largest, 1)
		return Verdict{Fit: Unfit, Files: files, Bytes: short, Message: fmt.Sprintf(
			"copies of %s find no room; add %s on another %s or lower minReplicas", Size(short), Size(short), domain)}
	}
	if uniform(demands) {
		return Verdict{}
	}
	if short := wholeShort(hosts, demands, copies); short > 0 {
		return Verdict{Fit: MayFit, Message: fmt.Sprintf("fits by bytes, but with little to spare for whole files; %s more would be safe", Size(short))}
	}
	return Verdict{}
}

// wholeShort is how many bytes a placement of whole files may lack, as far as it is known.
func wholeShort(hosts []Host, demands []Demand, copies int) (short int64) {
	k := newPacking(slices.Clone(hosts))
	k.steps = rockSteps
	k.goal = slices.Clone(k.room) // evenly, so that smaller files find different hosts too
	var rest []Demand
	bars := make([][]int, len(demands))
	for i, d := range demands {
		if d.Files > 1 {
			rest = append(rest, d)
			continue
		}
		for range copies {
			if !k.place(k.add(i, d.Bytes, &bars[i], -1), rockDepth) {
				short += d.Bytes
			}
		}
	}
	if len(rest) == 0 {
		return short
	}
	for h := range k.hosts {
		k.hosts[h].Room = k.room[h]
	}
	more, _ := flowShort(k.hosts, rest, copies, true)
	return short + more
}

// fewDomains finds files that are too large for enough domains.
func fewDomains(hosts []Host, demands []Demand, copies int, domain string) Verdict {
	of, n := domains(hosts)
	var files, bytes int64
	fewest, largest := n, int64(0)
	for _, d := range demands {
		fit := domainsFor(hosts, of, n, d.Largest)
		if fit >= copies {
			continue
		}
		mean := (d.Bytes + d.Files - 1) / d.Files
		if mean < d.Largest && domainsFor(hosts, of, n, mean) >= copies {
			files++ // of differing sizes, the largest at least
		} else {
			files += d.Files
		}
		bytes += d.Largest * int64(copies-fit)
		if largest == 0 {
			largest = d.Largest
		}
		fewest = min(fewest, fit)
	}
	if files == 0 {
		return Verdict{}
	}
	return Verdict{Fit: Unfit, Files: files, Bytes: bytes, Message: fmt.Sprintf("%s of %s fit on %s only; add %s on %s or lower minReplicas",
		count(files, "file"), Size(largest), count(int64(fewest), domain), Size(largest), more(copies-fewest, domain))}
}

// domainsFor counts the domains with a host where a file of that size fits.
func domainsFor(hosts []Host, of []int, n int, size int64) int {
	seen := make([]bool, n)
	fit := 0
	for h := range hosts {
		if !seen[of[h]] && hosts[h].fits(size) {
			seen[of[h]] = true
			fit++
		}
	}
	return fit
}

// uniform tells whether all files are of one size: then the flow, counted in files, is exact.
func uniform(demands []Demand) bool {
	for _, d := range demands {
		if d.Largest != demands[0].Largest || d.Bytes != d.Largest*d.Files {
			return false
		}
	}
	return true
}

// flowShort is how many bytes of copies the flow leaves without room, and the demand that is short most.
func flowShort(hosts []Host, demands []Demand, copies int, whole bool) (short int64, worst Demand) {
	of, n := domains(hosts)
	g := newNetwork(2+len(hosts)+len(demands)*(n+1), len(hosts)+len(demands)*(len(hosts)+n+1))
	unit := int64(1)
	if uniform(demands) {
		unit = max(demands[0].Largest, 1)
	}
	for h := range hosts {
		room := hosts[h].Room
		for _, d := range demands {
			if whole && hosts[h].fits(d.Largest) {
				room -= d.Largest
			}
		}
		g.join(2+h, 1, max(room, 0)/unit*unit)
	}
	edges := make([]int, len(demands))
	node := 2 + len(hosts)
	for i, d := range demands {
		class := node
		edges[i] = g.join(0, class, d.Bytes*int64(copies))
		for j := range n {
			g.join(class, class+1+j, d.Bytes)
		}
		smallest := d.Largest
		if d.Bytes != d.Largest*d.Files {
			smallest = d.Bytes / d.Files // some file is no larger than the mean
		}
		for h := range hosts {
			size := smallest
			if whole {
				size = d.Largest
			}
			if hosts[h].fits(size) || !whole && hosts[h].Open && d.Bytes != d.Largest*d.Files {
				g.join(class+1+of[h], 2+h, d.Bytes)
			}
		}
		node += 1 + n
	}
	var wanted int64
	for _, d := range demands {
		wanted += d.Bytes * int64(copies)
	}
	short = wanted - g.push(0, 1, unlimited)
	most := int64(-1)
	for i := range demands {
		if left := g.room[edges[i]]; left > most {
			most, worst = left, demands[i]
		}
	}
	return short, worst
}

func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func more(n int, domain string) string {
	if n == 1 {
		return "another " + domain
	}
	return fmt.Sprintf("each of %d more %ss", n, domain)
}

// Size prints bytes as resource quantities are written, but for few: 900Gi, 1.5Ti, 512 B.
func Size(bytes int64) string {
	units := []string{" B", "Ki", "Mi", "Gi", "Ti", "Pi"}
	x, u := float64(bytes), 0
	for x >= 1024 && u < len(units)-1 {
		x /= 1024
		u++
	}
	s := strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0")
	return s + units[u]
}
