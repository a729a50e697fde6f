package main

import (
	"context"
	"math/big"
)

// commonFactor is the greatest common factor of a and b, which are positive: by
// division while one is much longer than the other, since that shortens by a whole
// word's worth, then by Stein's method of halving and subtracting, which needs no
// division. It ends early with ctx.
func commonFactor(ctx context.Context, a, b *big.Int) (*big.Int, error) {
	a, b = new(big.Int).Set(a), new(big.Int).Set(b)
	for steps := 0; a.BitLen() > b.BitLen()+32 || b.BitLen() > a.BitLen()+32; steps++ {
		if a.Cmp(b) < 0 {
			a, b = b, a
		}
		if b.Sign() == 0 {
			return a, nil
		}
		if a.Rem(a, b); ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return stein(ctx, a, b)
}

// stein consumes a and b.
func stein(ctx context.Context, a, b *big.Int) (*big.Int, error) {
	if a.Sign() == 0 {
		return b, nil
	}
	if b.Sign() == 0 {
		return a, nil
	}
	twos := min(a.TrailingZeroBits(), b.TrailingZeroBits())
	odd(a)
	odd(b)
	for steps := 0; a.Cmp(b) != 0; steps++ {
		if a.Cmp(b) < 0 {
			a, b = b, a
		}
		odd(a.Sub(a, b))
		if steps%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return a.Lsh(a, twos), nil
}

// odd takes all factors of two out of a, which is not zero.
func odd(a *big.Int) { a.Rsh(a, a.TrailingZeroBits()) }

// commonFactorOf is that of two or more numbers.
func commonFactorOf(ctx context.Context, numbers []*big.Int) (*big.Int, error) {
	factor := numbers[0]
	for _, n := range numbers[1:] {
		var err error
		if factor, err = commonFactor(ctx, factor, n); err != nil {
			return nil, err
		}
	}
	return factor, nil
}
