package disk

import (
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"unicode"
)

// featureSet is one of the three feature words of the superblock.
type featureSet int

const (
	compatSet featureSet = iota
	incompatSet
	roCompatSet
)

// renamed maps go-ext4's names to e2fsprogs', the ones users know, where the two differ
// by more than the spelling of words.
var renamed = map[string]string{
	"BigAlloc":                     "bigalloc",
	"CsumSeed":                     "metadata_csum_seed",
	"DirData":                      "dirdata",
	"ExcludeBitmap":                "snapshot_bitmap",
	"Extents":                      "extent",
	"GdtCsum":                      "uninit_bg",
	"HasSnapshot":                  "snapshot",
	"LargeExtendedAttributeValues": "ea_inode",
	"Readonly":                     "read-only",
	"Recover":                      "needs_recovery",
}

// younger are the features go-ext4 does not know yet.
var younger = [...]map[uint32]string{
	compatSet:   {0x400: "fast_commit", 0x800: "stable_inodes", 0x1000: "orphan_file"},
	incompatSet: {0x20000: "casefold"},
	roCompatSet: {0x4000: "shared_blocks", 0x8000: "verity", 0x10000: "orphan_present"},
}

// featureNames gives, per feature word, the name of each known bit.
var featureNames = sync.OnceValue(func() [3]map[uint32]string {
	var tables [3]map[uint32]string
	for set := compatSet; set <= roCompatSet; set++ {
		t := make(map[uint32]string)
		for name, bit := range libraryNames(set) {
			if r, ok := renamed[name]; ok {
				t[bit] = r
			} else {
				t[bit] = snakeCase(name)
			}
		}
		for bit, name := range younger[set] {
			t[bit] = name
		}
		tables[set] = t
	}
	return tables
})

// snakeCase turns HasJournal into has_journal.
func snakeCase(s string) string {
	var b strings.Builder
	for i, r := range s {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// namesOf names the set bits of one feature word, lowest first. A bit without a name
// gets the one dumpe2fs gives it (FEATURE_I27).
func namesOf(set featureSet, word uint32) []string {
	var names []string
	for ; word != 0; word &= word - 1 {
		n := bits.TrailingZeros32(word)
		name, ok := featureNames()[set][1<<n]
		if !ok {
			name = fmt.Sprintf("FEATURE_%c%d", "CIR"[set], n)
		}
		names = append(names, name)
	}
	return names
}

// FeatureNames names the set bits of the three feature words as dumpe2fs does.
func FeatureNames(compat, incompat, roCompat uint32) []string {
	names := namesOf(compatSet, compat)
	names = append(names, namesOf(incompatSet, incompat)...)
	return append(names, namesOf(roCompatSet, roCompat)...)
}

// HasCompat tells whether a bit of s_feature_compat is set.
func (sb *Superblock) HasCompat(bit uint32) bool { return sb.FeatureCompat&bit != 0 }

// HasIncompat tells whether a bit of s_feature_incompat is set.
func (sb *Superblock) HasIncompat(bit uint32) bool { return sb.FeatureIncompat&bit != 0 }

// HasROCompat tells whether a bit of s_feature_ro_compat is set.
func (sb *Superblock) HasROCompat(bit uint32) bool { return sb.FeatureROCompat&bit != 0 }
