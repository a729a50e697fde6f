package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"clusterbackup/transport"
)

// Pair is who gives to whom.
type Pair struct{ Giver, Taker string }

// maxDraws is how often an unfair draw is repeated.
const maxDraws = 500

// The errors a draw can end with.
const (
	TooFew    transport.Code = "too-few"   // fewer than two names
	Duplicate transport.Code = "duplicate" // a name twice
	Empty     transport.Code = "empty"     // a name of nothing
	Unfair    transport.Code = "unfair"    // no fair draw in maxDraws
)

// Draw lets people draw each other's names from a hat. A draw is fair when the
// names make one loop of everybody: nobody has drawn themselves, and no subset has
// drawn among itself.
func Draw(names []string, random *rand.Rand) ([]Pair, error) {
	names, err := checked(names)
	if err != nil {
		return nil, err
	}
	for range maxDraws {
		if drawn := draw(len(names), random); loopFrom(0, drawn) == len(names) {
			return pairs(names, drawn), nil
		}
	}
	return nil, &transport.Error{Code: Unfair, Msg: fmt.Sprintf("draw among %d: %d draws, none of them fair; try again, or in smaller groups", len(names), maxDraws)}
}

// checked trims names and refuses those that can't be drawn.
func checked(names []string) ([]string, error) {
	trimmed := make([]string, len(names))
	places := map[string]int{}
	for i, name := range names {
		name = strings.Join(strings.Fields(name), " ")
		if name == "" {
			return nil, &transport.Error{Code: Empty, Msg: fmt.Sprintf("name %d is empty", i+1)}
		}
		if first, twice := places[name]; twice {
			return nil, &transport.Error{Code: Duplicate, Msg: fmt.Sprintf("%q is name %d and name %d; tell them apart, such as by an initial", name, first, i+1)}
		}
		places[name] = i + 1
		trimmed[i] = name
	}
	switch len(names) {
	case 0:
		return nil, &transport.Error{Code: TooFew, Msg: "no names; at least 2 are needed"}
	case 1:
		return nil, &transport.Error{Code: TooFew, Msg: "one name; it could only draw itself, at least 2 are needed"}
	}
	return trimmed, nil
}

// draw has n people take a name out of the hat in turn; drawn[i] is whom i drew.
func draw(n int, random *rand.Rand) (drawn []int) {
	hat := make([]int, n)
	for i := range hat {
		hat[i] = i
	}
	for range n {
		i, last := random.IntN(len(hat)), len(hat)-1
		drawn = append(drawn, hat[i])
		hat[i] = hat[last]
		hat = hat[:last]
	}
	return drawn
}

// loopFrom is the length of the loop that a walk through the draw runs into, by
// Floyd's method: a hare that takes two steps for the tortoise's one meets it
// inside the loop, and once more round counts it.
func loopFrom(start int, drawn []int) int {
	tortoise, hare := drawn[start], drawn[drawn[start]]
	for tortoise != hare {
		tortoise, hare = drawn[tortoise], drawn[drawn[hare]]
	}
	length := 1
	for hare = drawn[tortoise]; hare != tortoise; hare = drawn[hare] {
		length++
	}
	return length
}

func pairs(names []string, drawn []int) []Pair {
	all := make([]Pair, len(names))
	for i, taker := range drawn {
		all[i] = Pair{names[i], names[taker]}
	}
	return all
}
