package disk

import (
	"encoding/binary"
	"math/bits"
)

// Bitmap is a block or inode bitmap: bit i of byte i/8, least significant bit first,
// is set while block or inode i of the group is in use. Its methods take bit numbers
// within the bitmap; ranges must lie inside it.
type Bitmap []byte

// Test tells whether bit i is set.
func (m Bitmap) Test(i int) bool { return m[i>>3]&(1<<(i&7)) != 0 }

// Set sets bit i.
func (m Bitmap) Set(i int) { m[i>>3] |= 1 << (i & 7) }

// Clear clears bit i.
func (m Bitmap) Clear(i int) { m[i>>3] &^= 1 << (i & 7) }

// SetRange sets n bits from bit i on.
func (m Bitmap) SetRange(i, n int) {
	m.eachByte(i, n, func(b int, mask byte) { m[b] |= mask })
}

// ClearRange clears n bits from bit i on.
func (m Bitmap) ClearRange(i, n int) {
	m.eachByte(i, n, func(b int, mask byte) { m[b] &^= mask })
}

// eachByte calls f for each byte that n bits from bit i on touch, with their mask.
func (m Bitmap) eachByte(i, n int, f func(b int, mask byte)) {
	for n > 0 {
		k := min(8-i&7, n)
		f(i>>3, byte((1<<k-1)<<(i&7)))
		i += k
		n -= k
	}
}

// NextClear is the first clear bit in [from, end), or end.
func (m Bitmap) NextClear(from, end int) int { return m.next(from, end, ^uint64(0)) }

// NextSet is the first set bit in [from, end), or end.
func (m Bitmap) NextSet(from, end int) int { return m.next(from, end, 0) }

// next finds the first bit that is set in the bitmap xor flip, a word at a time.
func (m Bitmap) next(from, end int, flip uint64) int {
	for from < end {
		at := from >> 6 << 3 // byte of the word that holds from
		w := (m.word(at) ^ flip) >> (from & 63) << (from & 63)
		if w != 0 {
			return min(at<<3+bits.TrailingZeros64(w), end)
		}
		from = at<<3 + 64
	}
	return end
}

// word is the 64 bits from byte at on; what lies past the end of the bitmap is zero.
func (m Bitmap) word(at int) uint64 {
	if at+8 <= len(m) {
		return binary.LittleEndian.Uint64(m[at:])
	}
	var b [8]byte
	copy(b[:], m[at:])
	return binary.LittleEndian.Uint64(b[:])
}

// CountSet counts the set bits among the first n.
func (m Bitmap) CountSet(n int) int {
	c := 0
	for at := 0; at<<3 < n; at += 8 {
		w := m.word(at)
		if left := n - at<<3; left < 64 {
			w &= 1<<left - 1
		}
		c += bits.OnesCount64(w)
	}
	return c
}
