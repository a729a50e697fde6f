package main

import (
	"context"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"clusterbackup/transport"
)

func start(t *testing.T) *transport.Client {
	t.Helper()
	server, err := transport.Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(server)
	client := transport.Dial(server.Addr().String())
	t.Cleanup(func() {
		client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error("work goes on:", err)
		}
	})
	return client
}

func tell(ctx context.Context, c *transport.Client, numbers ...*big.Int) (lines []string, err error) {
	for line, e := range transport.CallStream[string](ctx, c, "tell", numbers) {
		if e != nil {
			return lines, e
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func TestOneNumber(t *testing.T) {
	c := start(t)
	for _, w := range []struct {
		n     int64
		prime bool
		sums  []string
	}{
		{1729, false, []string{"12^3 + 1^3", "10^3 + 9^3"}},
		{97, true, []string{"9^2 + 4^2", "3^4 + 2^4"}},
		{64, false, []string{"2^6", "4^3", "8^2"}},
		{2, true, []string{"1^2 + 1^2"}},
	} {
		lines, err := tell(t.Context(), c, big.NewInt(w.n))
		if err != nil {
			t.Fatal(err)
		}
		if (lines[0] == "probably prime") != w.prime {
			t.Error(w.n, lines[0])
		}
		for _, s := range w.sums {
			if !slices.Contains(lines, s) {
				t.Errorf("%d = %s is not among %q", w.n, s, lines)
			}
		}
	}
}

func TestEverySumIsOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := big.NewInt(rapid.Int64Range(1, 3000).Draw(t, "n"))
		seen := map[string]bool{}
		for s := range sums(context.Background(), n) {
			total := new(big.Int)
			for i, b := range s.Bases {
				if i > 0 && b.Cmp(s.Bases[i-1]) > 0 || b.Sign() <= 0 {
					t.Fatal("out of order:", s)
				}
				total.Add(total, new(big.Int).Exp(b, big.NewInt(int64(s.Power)), nil))
			}
			if total.Cmp(n) != 0 || s.Power < 2 || seen[s.String()] {
				t.Fatalf("%v = %v", n, s)
			}
			seen[s.String()] = true
		}
	})
}

// TestNoSumIsMissed counts the sums of two squares by trying them all.
func TestNoSumIsMissed(t *testing.T) {
	for n := int64(1); n <= 500; n++ {
		want, got := 0, 0
		for a := int64(1); a*a < n; a++ {
			for b := int64(1); b <= a; b++ {
				if a*a+b*b == n {
					want++
				}
			}
		}
		for s := range sums(t.Context(), big.NewInt(n)) {
			if s.Power == 2 && len(s.Bases) == 2 {
				got++
			}
		}
		if got != want {
			t.Fatalf("%d: %d sums of two squares, not %d", n, got, want)
		}
	}
}

func TestRoots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 1, 60).Draw(t, "n"))
		n.Add(n, big.NewInt(1))
		k := rapid.IntRange(2, 30).Draw(t, "power")
		r, e := root(n, k), big.NewInt(int64(k))
		if new(big.Int).Exp(r, e, nil).Cmp(n) > 0 || new(big.Int).Exp(new(big.Int).Add(r, big.NewInt(1)), e, nil).Cmp(n) <= 0 {
			t.Fatalf("root %d of %v is not %v", k, n, r)
		}
	})
}

func TestCommonFactor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Custom(func(t *rapid.T) *big.Int {
			n := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "bytes"))
			return n.Add(n, big.NewInt(1))
		})
		a, b, f := number.Draw(t, "a"), number.Draw(t, "b"), number.Draw(t, "f")
		a.Mul(a, f)
		b.Mul(b, f)
		got, err := commonFactor(context.Background(), a, b)
		if err != nil || got.Cmp(new(big.Int).GCD(nil, nil, a, b)) != 0 {
			t.Fatalf("of %v and %v: %v, %v", a, b, got, err)
		}
	})
	if lines, err := tell(t.Context(), start(t), big.NewInt(84), big.NewInt(126), big.NewInt(210)); err != nil || lines[0] != "greatest common factor 42" {
		t.Fatal(lines, err)
	}
}

func TestPrimesOfAnyLength(t *testing.T) {
	mersenne := func(p uint) *big.Int { return new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), p), big.NewInt(1)) }
	for _, c := range []struct {
		n    *big.Int
		want bool
	}{{mersenne(4253), true}, {mersenne(4259), false}, {mersenne(521), true}, {big.NewInt(1), false}} {
		if got, err := probablyPrime(t.Context(), c.n); got != c.want || err != nil {
			t.Errorf("%d bits: %v, %v", c.n.BitLen(), got, err)
		}
	}
}

func TestHangingUpStopsTheWork(t *testing.T) {
	c := start(t) // whose end fails if work goes on
	huge := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 400_000), big.NewInt(593))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := tell(ctx, c, huge)
	if !errors.Is(err, transport.TimedOut) || time.Since(begun) > 3*time.Second {
		t.Fatal(err, time.Since(begun))
	}
	for range transport.CallStream[string](t.Context(), c, "tell", []*big.Int{new(big.Int).Lsh(big.NewInt(3), 100)}) {
		break
	}
}

func TestSearchEndsInTime(t *testing.T) {
	n, _ := new(big.Int).SetString("123456789012345678901234567890123456789012345678901234567", 10)
	begun := time.Now()
	lines, err := tell(t.Context(), start(t), n)
	if err != nil || len(lines) == 0 || time.Since(begun) > patience+2*time.Second {
		t.Fatal(lines, err, time.Since(begun))
	}
}

func TestWhatIsNoNumber(t *testing.T) {
	c := start(t)
	for code, numbers := range map[transport.Code][]*big.Int{
		"no-number":    {},
		"not-positive": {big.NewInt(3), big.NewInt(-3)},
	} {
		if _, err := tell(t.Context(), c, numbers...); !errors.Is(err, code) {
			t.Error(err)
		}
	}
	if err := run(t.Context(), []string{"tell", c.Server(), "seven"}, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), `"seven"`) {
		t.Error(err)
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"tell", c.Server(), "0x10"}, &out); err != nil || !strings.HasPrefix(out.String(), "not prime\n2^4\n4^2\n") {
		t.Error(out.String(), err)
	}
}
