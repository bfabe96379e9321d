package disk

import "math/bits"

// Hash versions of directory indexes. On disk only the first three occur; the unsigned
// ones follow from s_flags (Superblock.HashVersion).
const (
	HashLegacy = iota
	HashHalfMD4
	HashTEA
	HashLegacyUnsigned
	HashHalfMD4Unsigned
	HashTEAUnsigned
)

// hashEOF is the hash that stands for the end of a directory; names never get it.
const hashEOF = 0x7FFFFFFF << 1 &^ 1

// DirHash hashes a name as directory indexes do. version is one of HashLegacy to
// HashTEAUnsigned, for any other both results are 0. seed is s_hash_seed; all zero means the built-in one.
// Major is the hash of the index entries, its lowest bit 0; minor orders equal ones in
// readdir positions and is 0 for the legacy hash.
func DirHash(version uint8, seed [4]uint32, name []byte) (major, minor uint32) {
	state := [4]uint32{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476}
	if seed != [4]uint32{} {
		state = seed
	}
	signed := version <= HashTEA
	switch version {
	case HashLegacy, HashLegacyUnsigned:
		major = legacyHash(name, signed)
	case HashHalfMD4, HashHalfMD4Unsigned:
		for ; len(name) > 0; name = name[min(32, len(name)):] {
			var in [8]uint32
			packName(in[:], name, signed)
			halfMD4(&state, &in)
		}
		major, minor = state[1], state[2]
	case HashTEA, HashTEAUnsigned:
		for ; len(name) > 0; name = name[min(16, len(name)):] {
			var in [4]uint32
			packName(in[:], name, signed)
			tea(&state, &in)
		}
		major, minor = state[0], state[1]
	default:
		return 0, 0
	}
	major &^= 1
	if major == hashEOF {
		major = hashEOF - 2
	}
	return major, minor
}

// widen turns a byte of a name into the word that C's char would become.
func widen(c byte, signed bool) uint32 {
	if signed {
		return uint32(int32(int8(c)))
	}
	return uint32(c)
}

// legacyHash is the hash of the first indexed directories.
func legacyHash(name []byte, signed bool) uint32 {
	h0, h1 := uint32(0x12A3FE2D), uint32(0x37ABE8F9)
	for _, c := range name {
		h := h1 + (h0 ^ widen(c, signed)*7152373)
		if h&0x80000000 != 0 {
			h -= 0x7FFFFFFF
		}
		h0, h1 = h, h0
	}
	return h0 << 1
}

// packName fills in with the bytes of name, four to a word, first byte highest; what
// the name does not fill is padded with its whole remaining length.
func packName(in []uint32, name []byte, signed bool) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	name = name[:min(len(name), 4*len(in))]
	for i := range in {
		v := pad
		for j := 4 * i; j < min(4*i+4, len(name)); j++ {
			v = widen(name[j], signed) + v<<8
		}
		in[i] = v
	}
}

// tea is the Tiny Encryption Algorithm, 16 rounds, its result added to the first two
// words of state.
func tea(state *[4]uint32, key *[4]uint32) {
	const delta = 0x9E3779B9
	x, y, sum := state[0], state[1], uint32(0)
	for range 16 {
		sum += delta
		x += (y<<4 + key[0]) ^ (y + sum) ^ (y>>5 + key[1])
		y += (x<<4 + key[2]) ^ (x + sum) ^ (x>>5 + key[3])
	}
	state[0] += x
	state[1] += y
}

// md4Steps are the three rounds of the cut-down MD4: the order in which the input words
// enter, the rotations, and the constant added.
var md4Steps = [3]struct {
	order [8]uint8
	shift [4]int
	add   uint32
}{
	{[8]uint8{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}, 0},
	{[8]uint8{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}, 0x5A827999},
	{[8]uint8{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}, 0x6ED9EBA1},
}

// halfMD4 mixes 32 bytes of input into state.
func halfMD4(state *[4]uint32, in *[8]uint32) {
	a, b, c, d := state[0], state[1], state[2], state[3]
	for round := range md4Steps {
		s := &md4Steps[round]
		for i, word := range s.order {
			var f uint32
			switch round {
			case 0: // selection
				f = d ^ b&(c^d)
			case 1: // majority
				f = b&c + (b^c)&d
			default: // parity
				f = b ^ c ^ d
			}
			a = bits.RotateLeft32(a+f+in[word]+s.add, s.shift[i&3])
			a, b, c, d = d, a, b, c
		}
	}
	state[0] += a
	state[1] += b
	state[2] += c
	state[3] += d
}
