package ext2

import (
	"fmt"
	"math/rand/v2"

	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// allocInode takes a free inode for a new object below parent and returns its number.
// Directories are placed the way of Orlov: those at the top far apart, the others near
// their parents while there is room; all else goes to its directory's group.
func (fs *FS) allocInode(parent *Inode, dir bool) (uint32, error) {
	sp := &fs.space
	if sp.freeInodes.Load()-sp.pendingIno.Load() <= 0 {
		if sp.pendingIno.Load() > 0 {
			return 0, errRetry
		}
		return 0, ErrNoSpace
	}
	home, _ := fs.sb.InodeGroup(parent.ino)
	var first uint32
	switch {
	case !dir:
		first = fs.fileGroup(home, parent.ino)
	case fs.opts.OldAlloc:
		first = fs.roomiestGroup(home)
	case parent.ino == RootIno || parent.raw.Flags&disk.InodeTopDir != 0:
		first = fs.topDirGroup(home)
	default:
		first = fs.dirGroup(home)
	}
	for g := range sp.roomy.inodes.from(first) {
		ino, err := fs.takeInode(g, dir)
		if ino != 0 || err != nil {
			return ino, err
		}
	}
	if sp.pendingIno.Load() > 0 {
		return 0, errRetry
	}
	return 0, ErrNoSpace
}

// hasRoom is how many inodes of group g may be taken, and how many of its blocks are
// free, at this moment.
func (fs *FS) hasRoom(g uint32) (inodes, blocks uint32) {
	st := &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.freeInodes - min(st.freeInodes, st.inodes.pending), st.freeBlocks
}

// fileGroup is where to look first for a file's inode: the directory's own group, then
// groups at a quadratic distance from a place that the directory decides, so that files
// of one directory stay together when they overflow.
func (fs *FS) fileGroup(home, parent uint32) uint32 {
	if i, b := fs.hasRoom(home); i > 0 && b > 0 {
		return home
	}
	count := uint32(len(fs.space.groups))
	g := (home + parent) % count
	for step := uint32(1); step < count; step <<= 1 {
		g = (g + step) % count
		if i, b := fs.hasRoom(g); i > 0 && b > 0 {
			return g
		}
	}
	return home
}

// averages are what a group has on the average.
func (fs *FS) averages() (inodes, blocks, dirs uint32) {
	n := int64(len(fs.space.groups))
	return uint32(fs.space.freeInodes.Load() / n), uint32(fs.space.freeBlocks.Load() / n), uint32(fs.space.dirs.Load() / n)
}

// topDirGroup spreads the directories at the top: of the groups with at least average
// free inodes and blocks, the one with the fewest directories, from a random one on.
func (fs *FS) topDirGroup(home uint32) uint32 {
	avgI, avgB, _ := fs.averages()
	start, best, fewest := rand.Uint32N(uint32(len(fs.space.groups))), home, ^uint32(0)
	for g := range fs.space.roomy.inodes.from(start) {
		st := &fs.space.groups[g]
		st.mu.Lock()
		if st.freeInodes > 0 && st.freeInodes >= avgI && st.freeBlocks >= avgB && st.dirs < fewest {
			best, fewest = g, st.dirs
		}
		st.mu.Unlock()
		if fewest == 0 {
			break
		}
	}
	return best
}

// roomiestGroup is the group with most free blocks among those with at least average free
// inodes: where directories went before Orlov.
func (fs *FS) roomiestGroup(home uint32) uint32 {
	avgI, _, _ := fs.averages()
	best, most := home, uint32(0)
	for g := range uint32(len(fs.space.groups)) {
		if i, b := fs.hasRoom(g); i > 0 && i >= avgI && b > most {
			best, most = g, b
		}
	}
	return best
}

// dirGroup keeps a directory near its parent: in the first group, from the parent's on,
// that has not many more directories and not much less room than the average.
func (fs *FS) dirGroup(home uint32) uint32 {
	avgI, avgB, avgD := fs.averages()
	perGroup, blocks := fs.sb.InodesPerGroup, fs.sb.BlocksPerGroup
	maxDirs := avgD + perGroup/16
	minInodes := max(avgI, perGroup/4) - perGroup/4
	minBlocks := max(avgB, blocks/4) - blocks/4
	for g := range fs.space.roomy.inodes.from(home) {
		st := &fs.space.groups[g]
		st.mu.Lock()
		fits := st.freeInodes > st.inodes.pending && st.dirs < maxDirs && st.freeInodes >= minInodes && st.freeBlocks >= minBlocks
		st.mu.Unlock()
		if fits {
			return g
		}
	}
	return home
}

// takeInode marks the first free inode of group g used; 0 says that it has none.
func (fs *FS) takeInode(g uint32, dir bool) (uint32, error) {
	st := &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.freeInodes <= st.inodes.pending {
		return 0, nil
	}
	buf, err := fs.inodeBitmap(g)
	if err != nil {
		return 0, err
	}
	defer buf.Release()
	from := 0
	if g == 0 {
		from = int(fs.sb.FirstIno()) - 1
	}
	size := int(fs.sb.InodesPerGroup)
	bit := st.inodes.view(buf).NextClear(from, size)
	if bit == size { // the next group, then
		_ = fs.corrupt(&disk.CorruptError{What: "group descriptor", Offset: -1,
			Detail: fmt.Sprintf("group %d has %d free inodes, its bitmap none", g, st.freeInodes)})
		return 0, nil
	}
	desc, err := fs.descriptor(g)
	if err != nil {
		return 0, err
	}
	defer desc.Release()
	setBit(buf, bit)
	st.inodes.take(bit, 1)
	st.freeInodes--
	fs.space.freeInodes.Add(-1)
	if dir {
		st.dirs++
		fs.space.dirs.Add(1)
	}
	fs.writeDescLocked(desc, g, st)
	return g*fs.sb.InodesPerGroup + uint32(bit) + 1, nil
}

// inodeUsed tells whether the bitmap has an inode in use.
func (fs *FS) inodeUsed(ino uint32) (bool, error) {
	g, index := fs.sb.InodeGroup(ino)
	st := &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	buf, err := fs.inodeBitmap(g)
	if err != nil {
		return false, err
	}
	defer buf.Release()
	return disk.Bitmap(buf.Data()).Test(int(index)), nil
}

// freeInode gives an inode back. It is the last step of deleting it.
func (fs *FS) freeInode(ino uint32, dir bool) error {
	g, index := fs.sb.InodeGroup(ino)
	st := &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	buf, err := fs.inodeBitmap(g)
	if err != nil {
		return err
	}
	defer buf.Release()
	desc, err := fs.descriptor(g)
	if err != nil {
		return err
	}
	defer desc.Release()
	buf.Lock()
	defer buf.Unlock()
	if !disk.Bitmap(buf.Data()).Test(int(index)) {
		return fs.corrupt(&disk.CorruptError{What: "inode bitmap", Inode: ino, Block: buf.Block(), Offset: int(index / 8),
			Detail: "the inode is to be freed and is free already"})
	}
	data := disk.Bitmap(buf.Modify())
	st.inodes.hold(data, 1)
	data.Clear(int(index))
	if st.freeInodes < fs.sb.InodesPerGroup {
		st.freeInodes++
		fs.space.freeInodes.Add(1)
	}
	if dir && st.dirs > 0 {
		st.dirs--
		fs.space.dirs.Add(-1)
	}
	fs.space.hold(release{fs.ckpt.Epoch(), g, index, 1, true})
	fs.writeDescLocked(desc, g, st)
	return nil
}

func setBit(buf *cache.Buffer, bit int) {
	buf.Lock()
	disk.Bitmap(buf.Modify()).Set(bit)
	buf.Unlock()
}
