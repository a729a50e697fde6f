package admin

import "iter"

// mapSeq turns each item into another; the first error ends it.
func mapSeq[A, B any](items iter.Seq2[A, error], turn func(A) (B, error)) iter.Seq2[B, error] {
	return func(yield func(B, error) bool) {
		for item, err := range items {
			var turned B
			if err == nil {
				turned, err = turn(item)
			}
			if !yield(turned, err) || err != nil {
				return
			}
		}
	}
}

// chunkSeq gathers up to n items into one; what came before an error is delivered before it.
func chunkSeq[A, B any](items iter.Seq2[A, error], n int, turn func(A) B) iter.Seq2[[]B, error] {
	return func(yield func([]B, error) bool) {
		var chunk []B
		for item, err := range items {
			if err != nil {
				if len(chunk) == 0 || yield(chunk, nil) {
					yield(nil, err)
				}
				return
			}
			chunk = append(chunk, turn(item))
			if len(chunk) == n {
				if !yield(chunk, nil) {
					return
				}
				chunk = nil
			}
		}
		if len(chunk) > 0 {
			yield(chunk, nil)
		}
	}
}

// unchunkSeq is chunkSeq undone.
func unchunkSeq[A, B any](chunks iter.Seq2[[]A, error], turn func(A) (B, error)) iter.Seq2[B, error] {
	return func(yield func(B, error) bool) {
		for chunk, err := range chunks {
			if err != nil {
				yield(*new(B), err)
				return
			}
			for _, item := range chunk {
				turned, err := turn(item)
				if !yield(turned, err) || err != nil {
					return
				}
			}
		}
	}
}
