//go:build linux && !386 && !arm && !mips && !mipsle

package modeltest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/sys/unix"
)

// Profile bounds what a generator makes.
type Profile struct {
	BlockSize int64 // offsets and lengths crowd around its multiples
	MaxOff    int64 // largest file offset, bytes
	Slots     int   // open files
	Root      string
	Times32   bool // no times that 32 bits do not hold
	Small     bool // the image is to fill up: larger writes, fewer other things
}

// Generator makes operations from a seed.
type Generator struct {
	r *rand.Rand
	p Profile
}

// NewGenerator returns a generator whose sequence depends on seed and p alone.
func NewGenerator(seed uint64, p Profile) *Generator {
	if p.Slots == 0 {
		p.Slots = 6
	}
	if p.MaxOff == 0 {
		p.MaxOff = 8 << 20
	}
	return &Generator{r: rand.New(rand.NewPCG(seed, 0x65787432)), p: p}
}

// Next makes the next operation. Names come from a small universe, so that most
// operations meet something.
func (g *Generator) Next() Op {
	if g.p.Small && g.r.IntN(3) == 0 {
		return g.fill()
	}
	w := weights[g.r.IntN(len(weights))]
	return w(g)
}

// weights lists the makers; one that stands twice is made twice as often.
var weights = []func(*Generator) Op{
	(*Generator).creat, (*Generator).creat, (*Generator).open, (*Generator).close,
	(*Generator).pwrite, (*Generator).pwrite, (*Generator).pwrite, (*Generator).pwrite,
	(*Generator).append, (*Generator).pread, (*Generator).pread,
	(*Generator).ftruncate, (*Generator).truncate, (*Generator).fallocate, (*Generator).fallocate,
	(*Generator).seek, (*Generator).copyRange, (*Generator).mmapWrite, (*Generator).fsync, (*Generator).fstat,
	(*Generator).mkdir, (*Generator).mkdir, (*Generator).rmdir, (*Generator).unlink, (*Generator).unlink,
	(*Generator).link, (*Generator).symlink, (*Generator).readlink, (*Generator).rename, (*Generator).rename, (*Generator).rename,
	(*Generator).mknod, (*Generator).chmod, (*Generator).chown, (*Generator).utimens, (*Generator).utimens, (*Generator).stat,
	(*Generator).stat, (*Generator).readdir, (*Generator).setXattr, (*Generator).setXattr, (*Generator).getXattr,
	(*Generator).listXattr, (*Generator).delXattr, (*Generator).setACL, (*Generator).setFlags, (*Generator).getFlags,
	(*Generator).tmpfile, (*Generator).linkFd, (*Generator).openTrunc, (*Generator).accessAs,
	(*Generator).creatAs, (*Generator).unlinkAs, (*Generator).writeAs, (*Generator).chmodAs,
}

func (g *Generator) dir() string {
	switch g.r.IntN(8) {
	case 0, 1, 2:
		return g.p.Root
	case 3, 4, 5:
		return join(g.p.Root, fmt.Sprintf("d%d", g.r.IntN(4)))
	case 6:
		return join(g.p.Root, fmt.Sprintf("d%d/d%d", g.r.IntN(4), g.r.IntN(3)))
	}
	return join(g.p.Root, fmt.Sprintf("d%d/d%d/d%d", g.r.IntN(3), g.r.IntN(3), g.r.IntN(2)))
}

func (g *Generator) base() string {
	switch g.r.IntN(24) {
	case 0:
		return strings.Repeat("n", 255)
	case 1:
		return strings.Repeat("m", 256) // too long
	case 2:
		return fmt.Sprintf("long-%s-%d", strings.Repeat("x", 100), g.r.IntN(6))
	case 3:
		return "\xff\xfeodd name\n"
	case 4, 5, 6:
		return fmt.Sprintf("d%d", g.r.IntN(4))
	}
	return fmt.Sprintf("f%d", g.r.IntN(12))
}

func (g *Generator) path() string { return join(g.dir(), g.base()) }
func (g *Generator) slot() int    { return g.r.IntN(g.p.Slots) }
func (g *Generator) uid() int64   { return int64([]int{0, 1001, 1002}[g.r.IntN(3)]) }

// off crowds around block and indirect-table borders and now and then goes far out.
func (g *Generator) off() int64 {
	bs := g.p.BlockSize
	var base int64
	switch g.r.IntN(8) {
	case 0:
		base = 0
	case 1, 2, 3:
		base = int64(g.r.IntN(16)) * bs
	case 4:
		base = 12 * bs
	case 5:
		base = (12 + bs/4) * bs
	default:
		base = g.r.Int64N(g.p.MaxOff)
	}
	if g.r.IntN(2) == 0 {
		base += int64(g.r.IntN(7)) - 3
	}
	return min(max(base, 0), g.p.MaxOff)
}

func (g *Generator) len() int64 {
	switch g.r.IntN(6) {
	case 0:
		return int64(g.r.IntN(10))
	case 1:
		return g.p.BlockSize
	case 2:
		return g.p.BlockSize * int64(1+g.r.IntN(20))
	case 3:
		return int64(g.r.IntN(int(g.p.BlockSize * 3)))
	}
	return int64(g.r.IntN(100_000))
}

func (g *Generator) mode() uint32 {
	m := uint32(g.r.IntN(0o1000))
	switch g.r.IntN(8) {
	case 0:
		m |= unix.S_ISUID
	case 1:
		m |= unix.S_ISGID
	case 2:
		m |= unix.S_ISVTX
	case 3:
		m |= unix.S_ISUID | unix.S_ISGID
	}
	return m
}

func (g *Generator) seed() uint64 { return g.r.Uint64() | 1 }

func join(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}
