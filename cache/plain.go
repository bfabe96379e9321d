package cache

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// PlainWriter writes snapshots in place, in the order whose interruption e2fsck
// repairs by itself as far as that can be had without a journal: what nothing points
// to yet, then names, then inodes, then counts. A name whose inode is still unused is
// cleared by `e2fsck -p`; an inode without a name would need a person.
//
// The order holds for a daemon that dies. When the host dies it holds only as far as
// the host keeps the order of its own writes, for there is one barrier, at the end.
type PlainWriter struct {
	Dev       blockio.Device
	BlockSize int
	// NoBarrier leaves out all syncs but the one at the end (Close).
	NoBarrier bool

	unsynced bool // something was written since the last sync
}

// MaxBlocks is 0: in place there is always room.
func (w *PlainWriter) MaxBlocks() int { return 0 }

// Close syncs the device.
func (w *PlainWriter) Close() error {
	if !w.unsynced {
		return nil
	}
	w.unsynced = false
	return w.Dev.Sync()
}

// stage is a block's place in the order.
func stage(d *DirtyBlock) int {
	switch d.For {
	case blockio.Directory:
		if d.Fresh {
			return 0
		}
		return 1
	case blockio.InodeTable:
		return 2
	case blockio.GroupDesc, blockio.Super:
		return 3
	}
	return 0 // bitmaps, indirect and attribute blocks
}

// Write carries a snapshot out, stage by stage, each sorted and merged into few
// vectored writes.
func (w *PlainWriter) Write(s *Snapshot) error {
	w.unsynced = w.unsynced || len(s.Blocks) > 0 || s.HasContent()
	blocks := slices.Clone(s.Blocks)
	slices.SortFunc(blocks, func(a, b DirtyBlock) int {
		return cmp.Or(cmp.Compare(stage(&a), stage(&b)), cmp.Compare(a.Block, b.Block))
	})
	for len(blocks) > 0 {
		n := 1
		for n < len(blocks) && stage(&blocks[n]) == stage(&blocks[0]) {
			n++
		}
		if err := WriteBlocks(w.Dev, w.BlockSize, blocks[:n]); err != nil {
			return err
		}
		blocks = blocks[n:]
	}
	// A sync of everything, though it be for the superblock alone: the first of a mount has the
	// image itself durable, which somebody may just have written.
	if s.Durable && !w.NoBarrier {
		if err := w.Dev.Sync(); err != nil {
			return err
		}
		w.unsynced = false
	}
	s.Settle()
	return nil
}

// WriteBlocks writes blocks, which are sorted by number, to their places with one
// vectored write for each run of adjacent ones.
func WriteBlocks(dev blockio.Device, blockSize int, blocks []DirtyBlock) error {
	const batch = 256
	bios := make([]*blockio.Bio, 0, batch)
	flush := func() error {
		dev.Submit(bios...)
		for _, b := range bios {
			if b.Err != nil {
				return fmt.Errorf("block %d: %w", b.Off/int64(blockSize), b.Err)
			}
		}
		bios = bios[:0]
		return nil
	}
	for i := 0; i < len(blocks); {
		bio := &blockio.Bio{Op: blockio.Write, For: blocks[i].For, Off: int64(blocks[i].Block) * int64(blockSize)}
		first := blocks[i].Block
		for ; i < len(blocks) && blocks[i].Block == first+uint64(len(bio.Vecs)); i++ {
			bio.Vecs = append(bio.Vecs, blocks[i].Data)
			if blocks[i].For != bio.For {
				bio.For = blockio.Mixed
			}
		}
		if bios = append(bios, bio); len(bios) == batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
