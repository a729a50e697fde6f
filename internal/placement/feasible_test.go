package placement

import (
	"strings"
	"testing"
)

func open(rooms ...int64) []Host {
	hosts := make([]Host, len(rooms))
	for i, r := range rooms {
		hosts[i] = Host{Name: hostName(i), Capacity: max(r, 0), Room: r, Open: true}
	}
	return hosts
}

func TestFeasibleMessages(t *testing.T) {
	const gi = 1 << 30
	for _, c := range []struct {
		name    string
		hosts   []Host
		demands []Demand
		copies  int
		fit     Fit
		message string
	}{
		{"large files on one host only", open(2000*gi, 100*gi, 100*gi), []Demand{{2, 1800 * gi, 900 * gi}, {1000, 10 * gi, gi / 50}}, 2, Unfit,
			"2 files of 900Gi fit on 1 host only; add 900Gi on another host or lower minReplicas"},
		{"too few hosts", open(100, 100), []Demand{{3, 30, 10}}, 3, Unfit, "3 files of 10 B fit on 2 hosts only; add 10 B on another host or lower minReplicas"},
		{"too few bytes", open(100, 100, 5), []Demand{{12, 120, 10}}, 2, Unfit, "copies of 40 B find no room; add 40 B on another host"},
		{"exactly full, one size", open(100, 100, 100), []Demand{{15, 150, 10}}, 2, Fits, ""},
		{"one size, rooms that waste", open(109, 100, 91), []Demand{{15, 150, 10}}, 2, Unfit, "copies of 10 B find no room"},
		{"mixed and nearly full", open(100, 100, 100), []Demand{{2, 12, 10}, {20, 130, 10}}, 2, MayFit, "little to spare"},
		{"mixed and loose", open(100, 100, 100), []Demand{{2, 12, 10}, {20, 80, 10}}, 2, Fits, ""},
		{"a few large ones among small ones", open(1000, 1000, 1000), []Demand{{1, 400, 400}, {1, 300, 300}, {1, 200, 200}, {100, 300, 5}}, 2, Fits, ""},
		{"large ones that don't divide", open(500, 500, 500), []Demand{{1, 300, 300}, {1, 290, 290}}, 2, MayFit, "little to spare"},
		{"nothing to place", open(), nil, 2, Fits, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Feasible(c.hosts, c.demands, c.copies, "host")
			if v.Fit != c.fit || !strings.Contains(v.Message, c.message) || (v.Message == "") != (v.Fit == Fits) {
				t.Errorf("got %v %q, want %v %q", v.Fit, v.Message, c.fit, c.message)
			}
		})
	}
}

func TestFeasibleCountsDomains(t *testing.T) {
	hosts := open(100, 100, 100)
	hosts[0].Domain, hosts[1].Domain = "attic", "attic"
	if v := Feasible(hosts, []Demand{{10, 90, 9}}, 2, "host"); v.Fit == Unfit {
		t.Errorf("attic and the third host can hold two copies: %v", v.Message)
	}
	if v := Feasible(hosts, []Demand{{9, 81, 9}}, 3, "site"); v.Fit != Unfit || v.Message != "9 files of 9 B fit on 2 sites only; add 9 B on another site or lower minReplicas" {
		t.Errorf("three copies in two domains: got %v, %q", v.Fit, v.Message)
	}
	if v := Feasible(hosts, []Demand{{20, 180, 9}}, 2, "host"); v.Fit != Unfit {
		t.Errorf("the third host must hold all 180: got %v", v.Fit)
	}
}
