package ext2

import (
	"slices"
	"sync"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// xattrBlocks knows attribute blocks that were written lately by the hash of their content, so that inodes with the same attributes share one. Its lock guards
// every change of an attribute block and its count of users.
type xattrBlocks struct {
	mu     sync.Mutex // below the file inode's lock, above the group's
	byHash map[uint32]uint32
	order  []uint32 // hashes, oldest first
}

const maxXattrBlocks = 1024

func (x *xattrBlocks) add(hash, block uint32) {
	if x.byHash == nil {
		x.byHash = make(map[uint32]uint32)
	}
	if _, there := x.byHash[hash]; !there {
		if len(x.order) == maxXattrBlocks {
			delete(x.byHash, x.order[0])
			x.order = x.order[1:]
		}
		x.order = append(x.order, hash)
	}
	x.byHash[hash] = block
}

// drop forgets a block whose content changes or that is freed.
func (x *xattrBlocks) drop(hash, block uint32) {
	if x.byHash[hash] == block {
		delete(x.byHash, hash)
		x.order = slices.DeleteFunc(x.order, func(h uint32) bool { return h == hash })
	}
}

// storeXattrBlockLocked makes the inode's attribute block hold the entries: none at
// all, one that others have, too, the inode's own changed in place, or a new one.
func (in *Inode) storeXattrBlockLocked(entries []disk.XattrEntry) error {
	x := &in.fs.xattrBlocks
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(entries) == 0 {
		return in.leaveXattrBlock()
	}
	slices.SortFunc(entries, disk.CompareXattr)
	hash := hashXattrs(entries)
	if done, err := in.joinXattrBlock(hash, entries); done || err != nil {
		return err
	}
	if done, err := in.rewriteXattrBlock(hash, entries); done || err != nil {
		return err
	}
	g, _ := in.fs.sb.InodeGroup(in.ino)
	if uint64(in.raw.Sectors)+uint64((*blockMap)(in).sectorsPerBlock()) > maxSectors {
		return ErrTooBig
	}
	block, _, err := in.fs.allocBlocks(blockRequest{owner: in.ino, want: 1, privileged: in.alloc.privileged,
		goal: in.fs.clampGoal(in.fs.sb.GroupFirstBlock(g))})
	if err != nil {
		return err
	}
	buf, err := in.fs.cache.Fresh(block, blockio.Xattr)
	if err != nil {
		in.fs.freeBlocks(block, 1)
		return err
	}
	modify(buf, func(b []byte) { err = disk.EncodeXattrBlock(b, 1, entries) })
	buf.Release()
	if err == nil {
		err = in.leaveXattrBlock()
	}
	if err != nil {
		in.fs.cache.Forget(block)
		in.fs.freeBlocks(block, 1)
		return err
	}
	x.add(hash, uint32(block))
	in.takeXattrBlock(uint32(block))
	return nil
}

// hashXattrs is the hash of a block with these entries.
func hashXattrs(entries []disk.XattrEntry) uint32 {
	for i := range entries {
		entries[i].Hash = disk.XattrEntryHash(entries[i].Name, entries[i].Value)
	}
	return disk.XattrBlockHash(entries)
}

func (in *Inode) takeXattrBlock(block uint32) {
	in.raw.FileACL = block
	in.raw.Sectors += (*blockMap)(in).sectorsPerBlock()
}

// joinXattrBlock makes the inode a user of a block that has just these entries.
func (in *Inode) joinXattrBlock(hash uint32, entries []disk.XattrEntry) (done bool, err error) {
	block := in.fs.xattrBlocks.byHash[hash]
	if hash == 0 || block == 0 {
		return false, nil
	}
	buf, header, have, err := in.xattrBlock(block)
	if err != nil {
		return false, err
	}
	defer buf.Release()
	same := slices.EqualFunc(have, entries, func(a, b disk.XattrEntry) bool {
		return a.Index == b.Index && a.Name == b.Name && string(a.Value) == string(b.Value)
	})
	if same && block == in.raw.FileACL {
		return true, nil // nothing changes
	}
	if !same || uint64(in.raw.Sectors)+uint64((*blockMap)(in).sectorsPerBlock()) > maxSectors || block == in.raw.FileACL || header.Refcount >= disk.XattrMaxRefcount {
		return false, nil
	}
	if err := in.leaveXattrBlock(); err != nil {
		return false, err
	}
	modify(buf, func(b []byte) { disk.SetXattrRefcount(b, header.Refcount+1) })
	in.takeXattrBlock(block)
	return true, nil
}

// rewriteXattrBlock changes the inode's block in place if it is the only user.
func (in *Inode) rewriteXattrBlock(hash uint32, entries []disk.XattrEntry) (done bool, err error) {
	if in.raw.FileACL == 0 {
		return false, nil
	}
	buf, header, _, err := in.xattrBlock(in.raw.FileACL)
	if err != nil {
		return false, err
	}
	defer buf.Release()
	if header.Refcount > 1 {
		return false, nil
	}
	in.fs.xattrBlocks.drop(header.Hash, in.raw.FileACL)
	modify(buf, func(b []byte) { err = disk.EncodeXattrBlock(b, 1, entries) })
	if err == nil {
		in.fs.xattrBlocks.add(hash, in.raw.FileACL)
	}
	return true, err
}

// leaveXattrBlock ends the inode's use of its attribute block, if it has one; the last
// user frees it.
func (in *Inode) leaveXattrBlock() error {
	block := in.raw.FileACL
	if block == 0 {
		return nil
	}
	buf, header, _, err := in.xattrBlock(block)
	if err != nil {
		return err
	}
	defer buf.Release()
	if header.Refcount > 1 {
		modify(buf, func(b []byte) { disk.SetXattrRefcount(b, header.Refcount-1) })
	} else {
		in.fs.xattrBlocks.drop(header.Hash, block)
		in.fs.cache.Forget(uint64(block))
		in.fs.freeBlocks(uint64(block), 1)
	}
	in.raw.FileACL = 0
	in.raw.Sectors -= min((*blockMap)(in).sectorsPerBlock(), in.raw.Sectors)
	return nil
}

// freeXattrBlockLocked is leaveXattrBlock for an inode that is deleted.
func (in *Inode) freeXattrBlockLocked() error {
	x := &in.fs.xattrBlocks
	x.mu.Lock()
	defer x.mu.Unlock()
	return in.leaveXattrBlock()
}

// xattrBlock pins and decodes an attribute block. The lock of fs.xattrBlocks is held.
func (in *Inode) xattrBlock(block uint32) (*cache.Buffer, disk.XattrHeader, []disk.XattrEntry, error) {
	buf, err := in.fs.cache.Get(uint64(block), blockio.Xattr)
	if err != nil {
		return nil, disk.XattrHeader{}, nil, in.fs.readError("attribute block", in.ino, uint64(block), err)
	}
	buf.RLock()
	entries, header, err := disk.DecodeXattrBlock(buf.Data())
	buf.RUnlock()
	if err != nil {
		buf.Release()
		return nil, header, nil, in.fs.damage(err, in.ino, uint64(block))
	}
	return buf, header, entries, nil
}
