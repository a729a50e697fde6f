package main

import (
	"context"
	"math/big"
)

// interruptible is the length in bits up to which math/big decides within a
// moment. Beyond it a single call could take hours, and can't be stopped.
const interruptible = 4096

// probablyPrime says whether n is probably prime; wrongly "yes" to fewer than one
// in 4^20 composite numbers. It ends early with ctx.
func probablyPrime(ctx context.Context, n *big.Int) (bool, error) {
	if n.BitLen() <= interruptible {
		return n.ProbablyPrime(20), nil
	}
	if n.Bit(0) == 0 {
		return false, nil
	}
	for base, tests := int64(2), 0; tests < 20; base++ {
		if !big.NewInt(base).ProbablyPrime(0) {
			continue
		}
		tests++
		if yes, err := strongTest(ctx, n, base); !yes || err != nil {
			return false, err
		}
	}
	return true, nil
}

// strongTest is the test of Miller and Rabin to one base, with the exponentiation
// written out so that it can be stopped.
func strongTest(ctx context.Context, n *big.Int, base int64) (bool, error) {
	one := big.NewInt(1)
	less := new(big.Int).Sub(n, one)
	twos := less.TrailingZeroBits()
	power := new(big.Int).Rsh(less, twos)
	x := big.NewInt(1)
	for i := power.BitLen() - 1; i >= 0; i-- {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		x.Mul(x, x)
		if power.Bit(i) == 1 {
			x.Mul(x, big.NewInt(base))
		}
		x.Rem(x, n)
	}
	for i := uint(0); ; i++ {
		switch {
		case x.Cmp(less) == 0, i == 0 && x.Cmp(one) == 0:
			return true, nil
		case i+1 >= twos:
			return false, nil
		case ctx.Err() != nil:
			return false, ctx.Err()
		}
		x.Mul(x, x).Rem(x, n)
	}
}
