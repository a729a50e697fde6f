package main

import (
	"context"
	"fmt"
	"iter"
	"math/big"
	"strings"
)

// maxTerms is how many powers a sum has at most.
const maxTerms = 6

// Sum is a way to write a number as a sum of like powers.
type Sum struct {
	Bases []*big.Int // from the largest down
	Power int
}

// String writes the sum out: 4^2 + 3^2.
func (s Sum) String() string {
	var parts []string
	for _, b := range s.Bases {
		parts = append(parts, fmt.Sprintf("%v^%d", b, s.Power))
	}
	return strings.Join(parts, " + ")
}

// sums yields the ways to write n as a sum of like powers, squares or higher, of
// positive numbers: those of few terms first, and among them the highest powers
// first, since these are the quickest to search. It ends with ctx at the latest.
func sums(ctx context.Context, n *big.Int) iter.Seq[Sum] {
	return func(yield func(Sum) bool) {
		for terms := 1; terms <= maxTerms; terms++ {
			for power := n.BitLen(); power >= 2; power-- {
				s := search{ctx: ctx, power: power, yield: yield}
				if !s.run(n, root(n, power), terms) {
					return
				}
			}
		}
	}
}

// search looks for sums of one power.
type search struct {
	ctx   context.Context
	power int
	yield func(Sum) bool
	bases []*big.Int
}

// run looks for sums of n of so many terms with bases of at most most; false when
// to end.
func (s *search) run(n, most *big.Int, terms int) bool {
	base := root(n, s.power)
	if base.Cmp(most) > 0 {
		base.Set(most)
	}
	if terms == 1 {
		return s.last(n, base)
	}
	one, p, e := big.NewInt(1), new(big.Int), big.NewInt(int64(s.power))
	for ; base.Sign() > 0; base.Sub(base, one) {
		if s.ctx.Err() != nil {
			return false
		}
		p.Exp(base, e, nil)
		if new(big.Int).Mul(p, big.NewInt(int64(terms))).Cmp(n) < 0 {
			return true // too small to reach n, as all that follow
		}
		rest := new(big.Int).Sub(n, p)
		if rest.Sign() <= 0 {
			continue
		}
		s.bases = append(s.bases, new(big.Int).Set(base))
		more := s.run(rest, base, terms-1)
		s.bases = s.bases[:len(s.bases)-1]
		if !more {
			return false
		}
	}
	return true
}

// last ends a sum if what is missing is a power itself.
func (s *search) last(n, base *big.Int) bool {
	if s.ctx.Err() != nil {
		return false
	}
	if new(big.Int).Exp(base, big.NewInt(int64(s.power)), nil).Cmp(n) != 0 {
		return true
	}
	return s.yield(Sum{append(append([]*big.Int(nil), s.bases...), base), s.power})
}

// root is the whole part of n's power-th root, by Newton's method from above.
func root(n *big.Int, power int) *big.Int {
	if power == 2 {
		return new(big.Int).Sqrt(n)
	}
	if n.BitLen() <= power {
		return big.NewInt(1)
	}
	k, less := big.NewInt(int64(power)), big.NewInt(int64(power-1))
	x := new(big.Int).Lsh(big.NewInt(1), uint(n.BitLen()/power+1))
	for {
		y := new(big.Int).Exp(x, less, nil)
		y.Quo(n, y)
		y.Add(y, new(big.Int).Mul(less, x)).Quo(y, k)
		if y.Cmp(x) >= 0 {
			return x
		}
		x = y
	}
}
