//go:build linux && !386 && !arm && !mips && !mipsle

package modeltest

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// One maker per operation, in the order of the Kind constants.

func (g *Generator) creat() Op {
	return Op{Kind: Creat, Path: g.path(), Mode: g.mode(), Slot: g.slot()}
}

func (g *Generator) open() Op {
	f := []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR, unix.O_RDWR | unix.O_APPEND,
		unix.O_RDWR | unix.O_NOFOLLOW, unix.O_RDWR | unix.O_SYNC, unix.O_RDWR | unix.O_CREAT | unix.O_EXCL}[g.r.IntN(8)]
	return Op{Kind: Open, Path: g.path(), Flags: f, Slot: g.slot(), Mode: 0o644}
}
func (g *Generator) close() Op { return Op{Kind: Close, Slot: g.slot()} }
func (g *Generator) pwrite() Op {
	return Op{Kind: PWrite, Slot: g.slot(), Off: g.off(), Len: g.len(), Seed: g.seed()}
}
func (g *Generator) append() Op {
	return Op{Kind: Append, Slot: g.slot(), Len: g.len(), Seed: g.seed()}
}
func (g *Generator) pread() Op { return Op{Kind: PRead, Slot: g.slot(), Off: g.off(), Len: g.len()} }
func (g *Generator) ftruncate() Op {
	return Op{Kind: FTruncate, Slot: g.slot(), Off: g.off()}
}
func (g *Generator) truncate() Op {
	o := Op{Kind: Truncate, Path: g.path(), Off: g.off()}
	if g.r.IntN(20) == 0 {
		o.Off = 1 << 60 // EFBIG
	}
	return o
}

func (g *Generator) fallocate() Op {
	// Not KEEP_SIZE alone: the kernel's driver allocates nothing for block-mapped
	// files, and past the end of a file that cannot be had in another way.
	modes := []uint32{0, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE}
	return Op{Kind: Fallocate, Slot: g.slot(), Mode: modes[g.r.IntN(len(modes))], Off: g.off(), Len: g.len()}
}

func (g *Generator) seek() Op {
	return Op{Kind: SeekHole, Slot: g.slot(), Off: g.off(), Mode: []uint32{unix.SEEK_DATA, unix.SEEK_HOLE}[g.r.IntN(2)]}
}

func (g *Generator) copyRange() Op {
	return Op{Kind: CopyRange, Slot: g.slot(), Slot2: g.slot(), Off: g.off(), Off2: g.off(), Len: g.len()}
}

func (g *Generator) mmapWrite() Op {
	return Op{Kind: MmapWrite, Slot: g.slot(), Off: g.off(), Len: g.len(), Seed: g.seed()}
}
func (g *Generator) fsync() Op { return Op{Kind: Fsync, Slot: g.slot()} }
func (g *Generator) fstat() Op { return Op{Kind: FStat, Slot: g.slot()} }

func (g *Generator) mkdir() Op {
	p := g.path()
	if g.r.IntN(2) == 0 {
		p = join(g.dir(), fmt.Sprintf("d%d", g.r.IntN(4)))
	}
	return Op{Kind: Mkdir, Path: p, Mode: g.mode() | 0o700}
}

func (g *Generator) rmdir() Op {
	return Op{Kind: Rmdir, Path: join(g.dir(), fmt.Sprintf("d%d", g.r.IntN(4)))}
}
func (g *Generator) unlink() Op { return Op{Kind: Unlink, Path: g.path()} }
func (g *Generator) link() Op   { return Op{Kind: Link, Path: g.path(), Path2: g.path()} }

func (g *Generator) symlink() Op {
	n := []int{1, 20, 59, 60, 61, 500, int(g.p.BlockSize) - 1, 4095}[g.r.IntN(8)]
	return Op{Kind: Symlink, Path: g.path(), Name: strings.Repeat("s", min(n, 4095))}
}
func (g *Generator) readlink() Op { return Op{Kind: Readlink, Path: g.path()} }

func (g *Generator) rename() Op {
	f := []int{0, 0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_WHITEOUT}[g.r.IntN(7)]
	return Op{Kind: Rename, Path: g.path(), Path2: g.path(), Flags: f}
}

func (g *Generator) mknod() Op {
	t := []uint32{unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFREG}[g.r.IntN(5)]
	dev := []int64{0, 0x103, 0x1234_0567}[g.r.IntN(3)]
	return Op{Kind: Mknod, Path: g.path(), Mode: t | g.mode()&0o777, Off: dev}
}
func (g *Generator) chmod() Op { return Op{Kind: Chmod, Path: g.path(), Mode: g.mode()} }

func (g *Generator) chown() Op {
	id := func() int64 { return []int64{-1, 0, 1001, 70000}[g.r.IntN(4)] }
	return Op{Kind: Chown, Path: g.path(), Off: id(), Off2: id()}
}

func (g *Generator) utimens() Op {
	times := []int64{-1_000_000, 0, 1_000_000_000, 1 << 31, 5_000_000_000}
	if g.p.Times32 {
		times = times[:3]
	}
	t := func() int64 { return times[g.r.IntN(len(times))] }
	return Op{Kind: Utimens, Path: g.path(), Off: t(), Off2: t(), Len: int64(g.r.IntN(1_000_000_000))}
}
func (g *Generator) stat() Op { return Op{Kind: Stat, Path: g.path()} }

func (g *Generator) readdir() Op { return Op{Kind: ReadDir, Path: g.dir()} }

func (g *Generator) xattrName() string {
	switch g.r.IntN(16) {
	case 0:
		return "trusted.t"
	case 1:
		return "security.s"
	case 2:
		return "user." + strings.Repeat("l", 250)
	case 3:
		return "nonsense.x"
	}
	return fmt.Sprintf("user.u%d", g.r.IntN(5))
}

func (g *Generator) setXattr() Op {
	f := []int{0, 0, 0, unix.XATTR_CREATE, unix.XATTR_REPLACE}[g.r.IntN(5)]
	n := []int64{0, 1, 8, 60, 200, 900, 3000, 5000}[g.r.IntN(8)]
	return Op{Kind: SetXattr, Path: g.path(), Name: g.xattrName(), Len: n, Seed: g.seed(), Flags: f}
}
func (g *Generator) getXattr() Op  { return Op{Kind: GetXattr, Path: g.path(), Name: g.xattrName()} }
func (g *Generator) listXattr() Op { return Op{Kind: ListXattr, Path: g.path()} }
func (g *Generator) delXattr() Op  { return Op{Kind: DelXattr, Path: g.path(), Name: g.xattrName()} }

func (g *Generator) setACL() Op {
	return Op{Kind: SetACL, Path: g.path(), Name: []string{"access", "default"}[g.r.IntN(2)], Seed: g.seed()}
}

func (g *Generator) setFlags() Op {
	f := []int{0, 0, unix.STATX_ATTR_NODUMP, flagAppend, flagImmutable, flagNoatime, flagSync, flagDirsync}[g.r.IntN(8)]
	return Op{Kind: SetFlags, Path: g.path(), Flags: f}
}
func (g *Generator) getFlags() Op { return Op{Kind: GetFlags, Path: g.path()} }
func (g *Generator) tmpfile() Op {
	return Op{Kind: Tmpfile, Path: g.dir(), Mode: g.mode() & 0o777, Slot: g.slot()}
}
func (g *Generator) linkFd() Op    { return Op{Kind: LinkFd, Slot: g.slot(), Path: g.path()} }
func (g *Generator) openTrunc() Op { return Op{Kind: OpenTrunc, Path: g.path()} }
func (g *Generator) accessAs() Op {
	return Op{Kind: AccessAs, Path: g.path(), Mode: uint32(g.r.IntN(8)), Off: g.uid()}
}
func (g *Generator) creatAs() Op {
	return Op{Kind: CreatAs, Path: g.path(), Mode: g.mode(), Off: g.uid()}
}
func (g *Generator) unlinkAs() Op { return Op{Kind: UnlinkAs, Path: g.path(), Off: g.uid()} }
func (g *Generator) writeAs() Op {
	return Op{Kind: WriteAs, Path: g.path(), Off: g.uid(), Len: 1 + g.len(), Seed: g.seed()}
}
func (g *Generator) chmodAs() Op {
	return Op{Kind: ChmodAs, Path: g.path(), Mode: g.mode(), Off: g.uid()}
}

// fill makes operations that eat the image up and give some of it back.
func (g *Generator) fill() Op {
	switch g.r.IntN(6) {
	case 0:
		return g.unlink()
	case 1:
		return g.creat()
	case 2:
		return Op{Kind: Fallocate, Slot: g.slot(), Off: g.off(), Len: g.len() * 20}
	}
	return Op{Kind: PWrite, Slot: g.slot(), Off: g.off(), Len: 200_000 + int64(g.r.IntN(800_000)), Seed: g.seed()}
}
