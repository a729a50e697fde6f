// Command bench measures transport side by side with what else there is: raw TCP
// frames, net/rpc, gRPC, drpc, NATS and yamux with CBOR; each server in a process of
// its own on this machine, plain and under mutual TLS. It prints a table of the
// figures and one of the goals. Differences under 30 % are noise.
//
//	go run . [-t 300ms] [-rounds 5] [-goals] [-only NAME] [-mixed] [-frozen]
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

type bench struct {
	dir     string
	lasting time.Duration
	rounds  int
	found   map[string]result // by library and load
}

func main() {
	name := flag.String("serve", "", "internal: be the server of this library")
	secure := flag.Bool("tls", false, "internal")
	addr := flag.String("addr", "", "internal")
	dir := flag.String("dir", "", "internal")
	lasting := flag.Duration("t", 300*time.Millisecond, "how long each run lasts")
	rounds := flag.Int("rounds", 5, "runs of each, in turns; the best figures count")
	goals := flag.Bool("goals", false, "measure only what the goals need")
	only := flag.String("only", "", "measure only the loads whose name is this: 100 B, 1 KB, 1 MiB, 500 records")
	mix := flag.Bool("mixed", false, "measure only small beside large")
	frozen := flag.Bool("frozen", false, "also wait half a minute for a frozen server to be noticed")
	flag.Parse()
	var err error
	if *name != "" {
		err = serve(*name, *secure, *addr, *dir)
	} else {
		err = measure(*lasting, *rounds, *goals, *only, *mix, *frozen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func measure(lasting time.Duration, rounds int, goals bool, only string, mix, frozen bool) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := certify(dir); err != nil {
		return err
	}
	b := &bench{dir: dir, lasting: lasting, rounds: rounds, found: map[string]result{}}
	fmt.Printf("%s, %d processors, %s; %d × %v each in turns, the best counts\n\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, rounds, lasting)
	if mix {
		return b.printMixed()
	}
	for _, l := range loads(only, goals) {
		if err := b.table(l, goals); err != nil {
			return err
		}
	}
	if only != "" {
		return nil
	}
	return b.goals(frozen)
}

func loads(only string, goals bool) (all []load) {
	for _, secure := range []bool{false, true} {
		for _, callers := range []int{1, 64} {
			for _, p := range []struct {
				name string
				size int
			}{{"100 B", 100}, {"1 KB", 1000}, {"1 MiB", 1 << 20}, {"500 records", 0}} {
				needed := p.name == "1 KB" || p.name == "1 MiB" && callers == 1 || p.name == "500 records" && callers == 64
				if (only == "" || only == p.name) && (needed || !goals) {
					all = append(all, load{p.name, p.size, callers, secure})
				}
			}
		}
	}
	return all
}

// table measures all libraries under one load and prints a line each.
func (b *bench) table(l load, goals bool) error {
	names := order
	if goals {
		names = []string{"transport", "raw TCP", "net/rpc", "gRPC"}
	}
	runs := map[string][]result{}
	for range b.rounds {
		for _, name := range names {
			r, err := run(name, l, b.dir, b.lasting)
			if err != nil {
				return fmt.Errorf("%s, %v: %w", name, l, err)
			}
			runs[name] = append(runs[name], r)
		}
	}
	fmt.Printf("%-28s %10s %10s %10s %9s   against transport\n", l, "requests/s", "p50", "p99", "allocs")
	ours := best(runs["transport"])
	for _, name := range names {
		r := best(runs[name])
		b.found[name+" "+l.String()] = r
		fmt.Printf("  %-26s %10.0f %10v %10v %9.0f   %.2f×\n", name, r.rate, r.p50.Round(time.Microsecond), r.p99.Round(time.Microsecond), r.allocs, r.rate/ours.rate)
	}
	fmt.Println()
	return nil
}

func (b *bench) get(name, payload string, callers int, secure bool) result {
	return b.found[name+" "+load{name: payload, callers: callers, secure: secure}.String()]
}

// goal is a line of the last table.
type goal struct {
	what, limit, is string
	met             bool
}

func atLeast(what string, is, limit float64) goal {
	return goal{what, fmt.Sprintf("≥ %.2f", limit), fmt.Sprintf("%.2f", is), is >= limit}
}

func atMost(what string, is, limit float64) goal {
	return goal{what, fmt.Sprintf("≤ %.2f", limit), fmt.Sprintf("%.2f", is), is <= limit}
}

func over(a, b time.Duration) float64 { return float64(a) / float64(b) }

func (b *bench) goals(frozen bool) error {
	gs := b.ratios()
	more, err := b.others(frozen)
	if err != nil {
		return err
	}
	fmt.Printf("%-72s %8s %8s\n", "goal", "limit", "is")
	for _, g := range append(gs, more...) {
		verdict := "met"
		if !g.met {
			verdict = "MISSED"
		}
		fmt.Printf("%-72s %8s %8s  %s\n", g.what, g.limit, g.is, verdict)
	}
	return nil
}

// ratios are the goals that follow from the tables.
func (b *bench) ratios() (gs []goal) {
	t := func(p string, n int, s bool) result { return b.get("transport", p, n, s) }
	g := func(p string, n int, s bool) result { return b.get("gRPC", p, n, s) }
	raw := func(p string, n int, s bool) result { return b.get("raw TCP", p, n, s) }
	gs = append(gs,
		atLeast("requests/s, 1 KB × 64, mutual TLS, against gRPC", t("1 KB", 64, true).rate/g("1 KB", 64, true).rate, 3),
		atLeast("requests/s, 1 KB × 64, mutual TLS, against net/rpc", t("1 KB", 64, true).rate/b.get("net/rpc", "1 KB", 64, true).rate, 2))
	for _, s := range []bool{false, true} {
		kind := map[bool]string{false: "plain", true: "TLS"}[s]
		gs = append(gs,
			atMost("p99, 1 KB × 64, "+kind+", against gRPC", over(t("1 KB", 64, s).p99, g("1 KB", 64, s).p99), 0.6),
			atMost("p50, 1 KB × 1, "+kind+", against raw TCP", over(t("1 KB", 1, s).p50, raw("1 KB", 1, s).p50), 1.8),
			atMost("p50, 1 KB × 1, "+kind+", against gRPC", over(t("1 KB", 1, s).p50, g("1 KB", 1, s).p50), 0.65),
			atMost("p50, 1 MiB × 1, "+kind+", against raw TCP", over(t("1 MiB", 1, s).p50, raw("1 MiB", 1, s).p50), map[bool]float64{false: 2.2, true: 1.4}[s]),
			atMost("p50, 1 MiB × 1, "+kind+", against gRPC", over(t("1 MiB", 1, s).p50, g("1 MiB", 1, s).p50), 0.75),
			atLeast("requests/s, 500 records × 64, "+kind+", against gRPC", t("500 records", 64, s).rate/g("500 records", 64, s).rate, 2),
			atLeast("gRPC's allocations, 500 records × 64, "+kind+", against these", g("500 records", 64, s).allocs/t("500 records", 64, s).allocs, 50))
	}
	return gs
}

// others are the goals that are measured in ways of their own.
func (b *bench) others(frozen bool) (gs []goal, err error) {
	for _, s := range []bool{false, true} {
		kind := map[bool]string{false: "plain", true: "TLS"}[s]
		ours, theirs, err := b.mixed(s)
		if err != nil {
			return nil, err
		}
		gs = append(gs,
			atMost(fmt.Sprintf("p50 of 100 B beside 4 × 1 MiB, %s, against gRPC (%v, %v)", kind, ours.small.Round(time.Microsecond), theirs.small.Round(time.Microsecond)), over(ours.small, theirs.small), 1.2),
			atLeast(fmt.Sprintf("the large ones' MiB/s, %s, against gRPC (%.0f, %.0f)", kind, ours.bulk, theirs.bulk), ours.bulk/theirs.bulk, 0.9))
		idle, err := runIdle("transport", s, b.dir)
		if err != nil {
			return nil, err
		}
		gs = append(gs, atMost("KiB a resting connection, "+kind, idle/1024, map[bool]float64{false: 10, true: 30}[s]))
	}
	for _, o := range []struct {
		outage time.Duration
		limit  float64
	}{{time.Second, 50}, {8 * time.Second, 1200}} {
		took, err := runOutage(b.dir, o.outage)
		if err != nil {
			return nil, err
		}
		gs = append(gs, atMost(fmt.Sprintf("ms after a restart, %v of outage", o.outage), float64(took.Microseconds())/1000, o.limit))
	}
	if frozen {
		took, err := runFrozen(b.dir, syscall.SIGSTOP)
		if err != nil {
			return nil, err
		}
		gs = append(gs, atMost("s until a frozen server is noticed", took.Seconds(), 26))
	}
	return gs, nil
}

// mixed measures small beside large, in turns.
func (b *bench) mixed(secure bool) (ours, theirs mixed, err error) {
	var a, g []mixed
	for range b.rounds {
		m, err := runMixed("transport", secure, b.dir, 2*b.lasting)
		if err != nil {
			return ours, theirs, err
		}
		n, err := runMixed("gRPC", secure, b.dir, 2*b.lasting)
		if err != nil {
			return ours, theirs, err
		}
		a, g = append(a, m), append(g, n)
	}
	return bestMixed(a), bestMixed(g), nil
}

func (b *bench) printMixed() error {
	for _, secure := range []bool{false, true} {
		ours, theirs, err := b.mixed(secure)
		if err != nil {
			return err
		}
		fmt.Printf("100 B beside 4 × 1 MiB, TLS %v: transport %v and %.0f MiB/s, gRPC %v and %.0f MiB/s\n", secure, ours.small, ours.bulk, theirs.small, theirs.bulk)
	}
	return nil
}

func bestMixed(ms []mixed) mixed {
	b := ms[0]
	for _, m := range ms[1:] {
		b.small, b.bulk = min(b.small, m.small), max(b.bulk, m.bulk)
	}
	return b
}
