package daemon

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/resource"

	v1 "clusterbackup/api/v1"
)

// limitBurst is how many bytes may go at once.
const limitBurst = 256 << 10

// bounded returns a function that waits until that many bytes may go, by the limit that pick finds among the host's as they are at the
// time (nil: none). All that call it share the limit. A changed limit holds for what waits already: nothing waits for longer than a
// quarter of a second's worth at once.
func bounded(limits func() v1.Limits, pick func(v1.Limits) *resource.Quantity) func(ctx context.Context, bytes int) error {
	limiter := rate.NewLimiter(rate.Inf, limitBurst)
	return func(ctx context.Context, bytes int) error {
		for bytes > 0 {
			n := min(bytes, limitBurst)
			want := rate.Inf
			if limit := pick(limits()); limit != nil {
				want = rate.Limit(max(limit.Value(), 1))
				n = min(n, int(max(limit.Value()/4, 1)))
			}
			if limiter.Limit() != want {
				limiter.SetLimit(want)
			}
			if err := limiter.WaitN(ctx, n); err != nil {
				return fmt.Errorf("wait for the host's limit: %w", err)
			}
			bytes -= n
		}
		return nil
	}
}

func uploadLimit(l v1.Limits) *resource.Quantity { return l.Upload }

func downloadLimit(l v1.Limits) *resource.Quantity { return l.Download }

func readLimit(l v1.Limits) *resource.Quantity { return l.Read }
