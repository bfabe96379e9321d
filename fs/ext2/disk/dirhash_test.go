//go:build linux

package disk

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// TestDirHash compares all six hashes with debugfs dx_hash, over random names of all
// lengths and all bytes its command line can carry, with and without a seed.
func TestDirHash(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	const seed = 4
	r := rand.New(rand.NewPCG(seed, 0))
	type question struct {
		version uint8
		seed    [4]uint32
		name    []byte
	}
	var asked []question
	var commands []string
	for i := range 3000 {
		q := question{version: uint8(i % 6), name: make([]byte, 1+i/6%MaxNameLen)}
		for k := range q.name {
			for c := byte(0); c == 0 || c == '\n' || c == '\r' || c == '"' || k == 0 && c == '-'; {
				c = byte(r.Uint32())
				q.name[k] = c
			}
		}
		var uuid [16]byte
		if i%7 > 0 {
			for k := range q.seed {
				q.seed[k] = r.Uint32()
				binary.LittleEndian.PutUint32(uuid[4*k:], q.seed[k])
			}
		}
		asked = append(asked, q)
		// Versions by number: the unsigned ones have no names there.
		commands = append(commands, fmt.Sprintf("dx_hash -h %s -s %x-%x-%x-%x-%x \"%s\"",
			[]string{"legacy", "half_md4", "tea", "3", "4", "5"}[q.version], uuid[:4], uuid[4:6], uuid[6:8], uuid[8:10], uuid[10:], q.name))
	}
	answers := strings.Split(ext2test.Debugfs(t, img, commands...), "\nHash of ")[1:]
	if len(answers) != len(asked) {
		t.Fatalf("debugfs gave %d answers to %d questions", len(answers), len(asked))
	}
	for i, q := range asked {
		line := answers[i][len(q.name):]
		var major, minor uint32
		if _, err := fmt.Sscanf(line, " is 0x%x (minor 0x%x)", &major, &minor); err != nil || answers[i][:len(q.name)] != string(q.name) {
			t.Fatalf("debugfs answered %q: %v", answers[i], err)
		}
		if a, b := DirHash(q.version, q.seed, q.name); a != major || b != minor {
			t.Errorf("seed %d: version %d, seed %x, name %q: we say 0x%x (minor 0x%x), debugfs%s", seed, q.version, q.seed, q.name, a, b, line)
		}
	}
}

func TestDirHashUnknown(t *testing.T) {
	if major, minor := DirHash(6, [4]uint32{1}, []byte("name")); major != 0 || minor != 0 {
		t.Errorf("a version that does not exist gave 0x%x, 0x%x", major, minor)
	}
}

func TestHashVersion(t *testing.T) {
	for _, c := range []struct {
		flags        uint32
		onDisk, want uint8
		known        bool
	}{
		{0, HashHalfMD4, HashHalfMD4, false},
		{FlagSignedHash, HashTEA, HashTEA, true},
		{FlagUnsignedHash, HashLegacy, HashLegacyUnsigned, true},
		{FlagUnsignedHash, HashHalfMD4, HashHalfMD4Unsigned, true},
		{FlagUnsignedHash, HashTEA, HashTEAUnsigned, true},
		{FlagUnsignedHash, HashTEAUnsigned, HashTEAUnsigned, true},
	} {
		sb := Superblock{Flags: c.flags}
		if got := sb.HashVersion(c.onDisk); got != c.want || sb.HashSignKnown() != c.known {
			t.Errorf("flags %d, version %d: got %d, known %t", c.flags, c.onDisk, got, sb.HashSignKnown())
		}
	}
}
