package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"clusterbackup/transport"
)

// fair checks pairs by other means than the draw does: everybody gives and takes
// once, and following the presents visits everybody.
func fair(names []string, drawn []Pair) error {
	gives := map[string]string{}
	takes := map[string]bool{}
	for _, p := range drawn {
		gives[p.Giver] = p.Taker
		takes[p.Taker] = true
	}
	if len(drawn) != len(names) || len(gives) != len(names) || len(takes) != len(names) {
		return fmt.Errorf("%d names, %d pairs, %d givers, %d takers", len(names), len(drawn), len(gives), len(takes))
	}
	seen := map[string]bool{}
	for at := names[0]; !seen[at]; at = gives[at] {
		seen[at] = true
	}
	if len(seen) != len(names) {
		return fmt.Errorf("a loop of %d among %d", len(seen), len(names))
	}
	return nil
}

func TestEveryDrawIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := make([]string, rapid.IntRange(2, 40).Draw(t, "people"))
		for i := range names {
			names[i] = fmt.Sprint("person ", i)
		}
		drawn, err := Draw(names, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)))
		if errors.Is(err, Unfair) {
			return // of 40, it happens to one in 300,000
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := fair(names, drawn); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDrawsDiffer(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	count := map[string]int{}
	for range 600 {
		drawn, err := Draw([]string{"a", "b", "c", "d"}, random)
		if err != nil {
			t.Fatal(err)
		}
		count[fmt.Sprint(drawn)]++
	}
	if len(count) != 6 { // the loops of four
		t.Fatal(count)
	}
	for d, n := range count {
		if n < 60 || n > 140 {
			t.Errorf("%s was drawn %d times of 600", d, n)
		}
	}
}

func TestLoops(t *testing.T) {
	for _, c := range []struct {
		drawn []int
		want  int
	}{
		{[]int{0, 1}, 1},
		{[]int{1, 0}, 2},
		{[]int{1, 0, 3, 2}, 2},
		{[]int{1, 2, 3, 0}, 4},
		{[]int{1, 2, 0, 3}, 3},
		{[]int{1, 2, 3, 1}, 3}, // no draw, but a walk that runs into a loop
	} {
		if got := loopFrom(0, c.drawn); got != c.want {
			t.Errorf("%v: %d, not %d", c.drawn, got, c.want)
		}
	}
}

func TestNamesThatCannotBeDrawn(t *testing.T) {
	crowd := make([]string, 200_000)
	for i := range crowd {
		crowd[i] = fmt.Sprint(i)
	}
	for _, c := range []struct {
		names []string
		code  transport.Code
		says  string
	}{
		{nil, TooFew, "no names"},
		{[]string{"Ada"}, TooFew, "itself"},
		{[]string{"Ada", "Grace", " Ada "}, Duplicate, `"Ada" is name 1 and name 3`},
		{[]string{"Ada", " \t"}, Empty, "name 2"},
		{crowd[:2000], Unfair, "500"},
	} {
		var err error
		for range 20 { // of 2000, one draw in 2000 is fair
			if _, err = Draw(c.names, rand.New(rand.NewPCG(7, 7))); err != nil {
				break
			}
		}
		if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.40v: %v", c.names, err)
		}
	}
}

func TestService(t *testing.T) {
	server, err := transport.Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	serve(server)
	var out strings.Builder
	if err := run(t.Context(), []string{"draw", server.Addr().String(), "Ada", "Grace", "Edsger"}, &out); err != nil {
		t.Fatal(err)
	}
	names := []string{"Ada", "Grace", "Edsger"}
	var drawn []Pair
	for line := range strings.Lines(out.String()) {
		giver, taker, _ := strings.Cut(strings.TrimSpace(line), " gives to ")
		drawn = append(drawn, Pair{giver, taker})
	}
	if err := fair(names, drawn); err != nil {
		t.Fatal(err, out.String())
	}
	err = run(t.Context(), []string{"draw", server.Addr().String(), "Ada"}, &out)
	var e *transport.Error
	if !errors.As(err, &e) || e.Code != TooFew || !e.Remote {
		t.Fatal(err)
	}
}
