//go:build linux

package disk

import (
	"math/rand/v2"
	"testing"
)

// TestBitmapModel holds every method against a slice of bools.
func TestBitmapModel(t *testing.T) {
	const seed = 20
	r := rand.New(rand.NewPCG(seed, 1))
	for _, size := range []int{1, 3, 8, 9, 128} {
		m, model := make(Bitmap, size), make([]bool, size*8)
		next := func(from, end int, want bool) int {
			for ; from < end; from++ {
				if model[from] == want {
					return from
				}
			}
			return end
		}
		for step := range 20_000 {
			i := r.IntN(len(model))
			n := r.IntN(len(model) - i + 1)
			switch r.IntN(4) {
			case 0:
				m.SetRange(i, n)
				for k := range n {
					model[i+k] = true
				}
			case 1:
				m.ClearRange(i, n)
				for k := range n {
					model[i+k] = false
				}
			case 2:
				m.Set(i)
				model[i] = true
			case 3:
				m.Clear(i)
				model[i] = false
			}
			count := 0
			for _, b := range model[:i] {
				if b {
					count++
				}
			}
			end := i + n
			if m.NextClear(i, end) != next(i, end, false) || m.NextSet(i, end) != next(i, end, true) ||
				m.Test(i) != model[i] || m.CountSet(i) != count {
				t.Fatalf("seed %d, %d bytes, step %d: bit %d, end %d: clear %d, set %d, count %d of %d", seed, size, step,
					i, end, m.NextClear(i, end), m.NextSet(i, end), m.CountSet(i), count)
			}
		}
	}
}
