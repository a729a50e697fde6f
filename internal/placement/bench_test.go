package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkPlan makes the plan of a large cluster in which every pair of hosts shares some files that lack a copy.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{5, 30, 200} {
		b.Run(fmt.Sprint(n, " hosts"), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			rooms := make([]int64, n)
			for i := range rooms {
				rooms[i] = 1<<30 + rng.Int64N(1<<34)
			}
			hosts := open(rooms...)
			var classes []Class
			var rocks []File
			for i := range n {
				classes = append(classes, Class{Holders: []int{i}, Files: 1000, Bytes: rooms[i] / 3, Missing: 1})
			}
			classes = append(classes, Class{Files: 1000, Bytes: 1 << 32, Missing: 2})
			for i := range 256 {
				rocks = append(rocks, File{Size: classes[i%n].Bytes / 4000, Holders: []int{i % n}, Missing: 1, Class: i % n})
			}
			for b.Loop() {
				p := NewPlan(hosts, classes, rocks)
				p.Rocks(0, 1000, 1<<40)
				p.Order(0)
			}
		})
	}
}
