package ext2

import (
	"context"
	"errors"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// loanPins are the blocks that giving a loan back changes or goes by, kept in memory: once the
// superblock says that there is no journal, no read is needed that might fail.
type loanPins struct {
	fs      *FS
	buffers map[uint64]*cache.Buffer
}

func (p *loanPins) release() {
	for _, b := range p.buffers {
		b.Release()
	}
}

func (p *loanPins) pin(block uint64, what blockio.Purpose, name string) error {
	if p.buffers[block] != nil {
		return nil
	}
	buf, err := p.fs.cache.Get(block, what)
	if err != nil {
		return p.fs.readError(name, disk.JournalIno, block, err)
	}
	p.buffers[block] = buf
	return nil
}

// all pins everything and gives the journal's inode.
func (p *loanPins) all() (*Inode, error) {
	fs := p.fs
	table, _ := fs.inodeBlock(disk.JournalIno)
	if err := p.pin(table, blockio.InodeTable, "inode table block"); err != nil {
		return nil, err
	}
	in, err := fs.journalInode()
	if err != nil {
		return nil, err
	}
	list, err := in.Extents(context.Background())
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		// Nothing has looked at what lies behind the end of the journal.
		if good, why := fs.dataBlocks(e.Block, e.Count); good < e.Count {
			return nil, (*blockMap)(in).badPointer("block pointer", e.File+good, e.Block+good, why)
		}
		if e.Level > 0 {
			err = p.pin(e.Block, blockio.Indirect, "indirect block")
		}
		for g := fs.groupOf(e.Block); err == nil && g <= fs.groupOf(e.Block+e.Count-1); g++ {
			err = errors.Join(p.pin(uint64(fs.groups[g].blockBitmap), blockio.BlockBitmap, "block bitmap"),
				p.pin(fs.descBlock(g/fs.sb.DescPerBlock()), blockio.GroupDesc, "group descriptors"))
		}
		if err != nil {
			return nil, err
		}
	}
	return in, nil
}
