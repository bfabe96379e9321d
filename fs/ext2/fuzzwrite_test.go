//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test/hostile"
	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

// FuzzWrite opens a damaged image, does all kinds of things in it, and closes it: no
// panic, no hang, nothing leaked, only errors that this package knows, and no write to
// where it does not belong.
func FuzzWrite(f *testing.F) {
	seeds := seedImages(f)
	addPrograms(f, seeds)
	f.Fuzz(func(t *testing.T, seed byte, program []byte) {
		writeDamaged(t, seeds[int(seed)%len(seeds)], program)
	})
}

var hostileImages = flag.Int("hostile", 15, "how many damaged images TestHostile makes of each seed image")

// TestHostile is FuzzWrite for programs that are the same each time.
func TestHostile(t *testing.T) {
	for _, im := range seedImages(t) {
		t.Run(im.Name, func(t *testing.T) {
			t.Parallel() // most of the time it waits for room that somebody may free
			mounted, images := 0, *hostileImages
			if raceEnabled {
				images = min(images, 5)
			}
			for round := range images {
				rnd := rand.New(rand.NewPCG(uint64(round), 2026))
				program := hostile.Program(rnd, 1+round%8)
				if writeDamaged(t, im, program) {
					mounted++
				}
				if t.Failed() {
					t.Fatalf("program %d: %#v", round, program)
				}
			}
			if t.Logf("%d of %d could be mounted", mounted, images); mounted < images/2 {
				t.Error("too few could be mounted")
			}
		})
	}
}

// beyond is how much device lies behind the file system, in bytes.
const beyond = 128 << 10

// maxLooks is how often blocks of metadata may be looked at in one run. These images need
// 6,000 looks at most; what makes for many more is an image made to keep somebody busy.
const maxLooks = 50_000

// hangs ends the test program, with all stacks, when a test of a damaged image does not
// end. The returned function calls it off.
func hangs(what string) (ended func() bool) {
	return time.AfterFunc(5*time.Minute, func() {
		buf := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "%s hangs:\n%s\n", what, buf[:runtime.Stack(buf, true)])
		os.Exit(3)
	}).Stop
}

// writeDamaged damages a copy of the image, opens it if that can be done, uses it, and
// closes it. The time is one of its own: who waits for room that somebody may free waits no
// moment, and a goroutine that is left over fails the test.
func writeDamaged(t *testing.T, im *hostile.Image, program []byte) (mounted bool) {
	defer hangs(fmt.Sprintf("%s, program %v", im.Name, program))()
	synctest.Test(t, func(t *testing.T) { mounted = damagedInTime(t, im, program) })
	return mounted
}

func damagedInTime(t *testing.T, im *hostile.Image, program []byte) bool {
	dev := im.Device()
	dev.Grow(beyond)
	im.Mutate(dev, program)
	mutated := dev.Stats()
	mutations := mutated.Total(blockio.Write).Requests
	g := &guard{t: t, boot: dev.Bytes(0, disk.SuperblockOffset)}
	fault := blockiotest.NewFault(dev)
	fault.Fail(blockiotest.Rule{AnyOp: true, Match: g.look})
	var log bytes.Buffer
	o := Options{Logger: testLogger(&log), CacheBytes: 1 << 20, Errors: ErrorsContinue, testing: testhook.Hooks{Wrap: g.wrap}}
	if len(program)%3 == 1 {
		o.Errors = ErrorsRemountRO
	}
	recovers := superOf(t, dev).HasIncompat(disk.IncompatRecover)
	fs, err := New(ctx, fault, o)
	if err != nil {
		if strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("New: an error of several lines: %v", err)
		}
		if stats := dev.Stats(); stats.Total(blockio.Write).Requests > mutations && !recovers {
			t.Errorf("the mount was refused (%v) after writes", err)
		}
		return false
	}
	g.mounted(fs)
	use(t, fs, uint64(len(program)))
	err = errors.Join(fs.Sync(ctx), fs.Close())
	if err != nil && !isCorrupt(err) && !errors.Is(err, ErrReadOnly) {
		t.Errorf("closing: %v", err)
	}
	g.unmounted(dev)
	if all, idle := inodesInMemory(fs); all != idle {
		t.Errorf("%d references leaked", all-idle)
	}
	if n := fs.CacheStats().Pinned; n != 0 {
		t.Errorf("%d buffers are still pinned", n)
	}
	if st := fs.CacheStats(); st.Hits+st.Misses > maxLooks {
		t.Errorf("metadata was looked at %d times", st.Hits+st.Misses)
	}
	if n := strings.Count(log.String(), "\n"); n > 3*maxFaults {
		t.Errorf("%d lines of log:\n%.3000s", n, log.String())
	}
	if strings.Contains(log.String(), "panic") {
		t.Errorf("the log says:\n%.3000s", log.String())
	}
	return true
}

// use walks the file system, changes what it finds, and does random operations.
func use(t *testing.T, fs *FS, seed uint64) {
	root, err := fs.Root()
	if err != nil {
		return
	}
	defer root.Put()
	w := &walker{t: t, fs: fs, seen: map[uint32]bool{}}
	w.inode(root, 0)
	m := newMixer(t, fs, seed)
	m.damaged = true
	v := &vandal{mixer: m, seen: map[uint32]bool{}}
	v.directory(root, 0)
	for range 60 {
		m.step()
	}
	m.close()
	_ = fs.Sync(ctx) // Close says it again
	for range 20 {
		v := newMixer(t, fs, seed+1)
		v.damaged = true
		v.step()
		v.close()
	}
}

// vandal changes everything that the names of an image lead to.
type vandal struct {
	*mixer
	seen map[uint32]bool
}

func (v *vandal) directory(dir *Inode, depth int) {
	if v.seen[dir.Ino()] || depth > 20 {
		return
	}
	v.seen[dir.Ino()] = true
	var names []string
	_ = dir.ReadDir(ctx, 0, func(e DirEntry) bool {
		names = append(names, string(e.Name))
		return len(names) < 300
	})
	for i, name := range names {
		in, err := dir.Lookup(name)
		if err != nil || name == "." || name == ".." {
			if err == nil {
				in.Put()
			}
			continue
		}
		if in.IsDir() {
			v.directory(in, depth+1)
		}
		v.change(dir, in, name, i)
		in.Put()
	}
}

// change does one or two things to an inode that was found under a name.
func (v *vandal) change(dir, in *Inode, name string, i int) {
	try := func(what string, err error) { v.check(what, err) }
	size := in.Attr().Size
	switch v.rnd.IntN(12) {
	case 0, 1:
		if in.IsReg() {
			_, err := in.Write(ctx, content(in, 30_000), min(size, 1<<30), WriteOptions{})
			try("write at the end", err)
		}
	case 2, 3:
		if in.IsReg() {
			_, err := in.Write(ctx, content(in, 30_000), 0, WriteOptions{})
			try("write at the start", err)
		}
	case 4:
		n := size / 2
		try("truncate", in.SetAttr(ctx, SetAttr{Size: &n}))
	case 5, 6:
		if in.IsDir() {
			try("rmdir", dir.Rmdir(ctx, name))
		} else {
			try("unlink", dir.Unlink(ctx, name))
		}
	case 7:
		try("rename", dir.Rename(ctx, name, v.root, fmt.Sprint("moved-", i), 0, Root))
	case 8:
		try("link", dir.Link(ctx, fmt.Sprint("linked-", i), in, Root))
	case 9:
		try("setxattr", in.Setxattr(ctx, "user.new", bytes.Repeat([]byte("v"), 300), 0, Root))
	case 10:
		names, err := in.Listxattr()
		try("listxattr", err)
		for _, name := range names {
			try("removexattr", in.Removexattr(ctx, name, Root))
		}
	case 11:
		if in.IsReg() {
			try("punch", in.Fallocate(ctx, FallocPunchHole|FallocKeepSize, size/3, size/3+1, WriteOptions{}))
			try("allocate", in.Fallocate(ctx, 0, size/3, 50_000, WriteOptions{}))
		} else if in.IsDir() {
			child, err := in.Create(ctx, strings.Repeat("n", 200), CreateOptions{Mode: disk.ModeDir | 0o755})
			if err == nil {
				child.Put()
			}
			try("mkdir", err)
		}
	}
}

// guard looks at every request that a file system of a damaged image makes.
type guard struct {
	t    testing.TB
	boot []byte
	fs   atomic.Pointer[FS] // once it is mounted
}

func (g *guard) mounted(fs *FS) {
	g.fs.Store(fs)
}

// look tells that a request is none to fail, and complains if it is none to make.
func (g *guard) look(b *blockio.Bio) bool {
	if b.Op == blockio.Read || b.Op == blockio.Sync || g.fs.Load() == nil {
		return false
	}
	bs := int64(g.fs.Load().blockSize)
	if end := int64(g.fs.Load().sb.BlocksCount) * bs; b.Off < 0 || b.Off+b.Bytes() > end {
		g.t.Errorf("%v for %v at %d, %d bytes: the file system ends at %d", b.Op, b.For, b.Off, b.Bytes(), end)
		return true
	}
	if b.Op == blockio.Write && b.For != blockio.Data && b.For != blockio.Journal {
		return false // see wrap
	}
	for block := b.Off / bs; block*bs < b.Off+b.Bytes(); block++ {
		if zone := g.zone(uint64(block)); (b.For == blockio.Journal) != (zone == "journal") || b.For != blockio.Journal && zone != "" {
			g.t.Errorf("%v for %v of block %d: it is %s", b.Op, b.For, block, zone)
			return true
		}
	}
	return false
}

// zone is which of the file system's own structures a block is; empty for the rest.
func (g *guard) zone(block uint64) string {
	fs := g.fs.Load()
	sb := fs.sb
	if block <= uint64(sb.FirstDataBlock) {
		return "super"
	}
	for _, e := range fs.journal.zone {
		if block >= e.Start && block < e.Start+uint64(e.Blocks) {
			return "journal"
		}
	}
	group := fs.groupOf(block)
	gr := &fs.groups[group]
	switch first := sb.GroupFirstBlock(group); {
	case block == first && sb.HasSuper(group):
		return "super"
	case block < first+uint64(gr.base):
		return "descriptors"
	case block == uint64(gr.blockBitmap), block == uint64(gr.inodeBitmap):
		return "bitmap"
	case block >= uint64(gr.inodeTable) && block < uint64(gr.inodeTable)+uint64(sb.InodeTableBlocks()):
		return "inode table"
	}
	return ""
}

// belongs tells whether a block of the purpose may lie in the zone.
func belongs(p blockio.Purpose, zone string) bool {
	switch p {
	case blockio.InodeTable:
		return zone == "inode table"
	case blockio.Super, blockio.GroupDesc:
		return zone == "super" || zone == "descriptors"
	case blockio.BlockBitmap, blockio.InodeBitmap:
		return zone == "bitmap"
	}
	return zone == ""
}

// wrap looks at the blocks of each snapshot: on their way to the device neighbours of
// several purposes are merged.
func (g *guard) wrap(w cache.Writer) cache.Writer { return guardedWriter{w, g} }

type guardedWriter struct {
	cache.Writer
	g *guard
}

func (w guardedWriter) Write(s *cache.Snapshot) error {
	if w.g.fs.Load() != nil {
		for _, b := range s.Blocks {
			if zone := w.g.zone(b.Block); !belongs(b.For, zone) {
				w.g.t.Errorf("block %d is written as %v: it is %q", b.Block, b.For, zone)
			}
		}
	}
	return w.Writer.Write(s)
}

// unmounted checks what no run may change: what lies before and behind the file system,
// and where its structures are.
func (g *guard) unmounted(dev *blockiotest.Mem) {
	fs := g.fs.Load()
	if !bytes.Equal(dev.Bytes(0, disk.SuperblockOffset), g.boot) {
		g.t.Error("the boot block was written")
	}
	for i, gr := range fs.groups {
		at := int64(fs.descBlock(uint32(i)/fs.sb.DescPerBlock()))*int64(fs.blockSize) + int64(uint32(i)%fs.sb.DescPerBlock())*disk.GroupDescSize
		d := disk.DecodeGroupDesc(dev.Bytes(at, disk.GroupDescSize))
		if d.BlockBitmap != gr.blockBitmap || d.InodeBitmap != gr.inodeBitmap || d.InodeTable != gr.inodeTable {
			g.t.Errorf("the descriptor of group %d was changed to %+v", i, d)
		}
	}
}
