package ext2

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// dirReader reads the blocks of one directory. The directory's lock, which guards
// their contents, is held (shared is enough) as long as the reader or a buffer it
// gave is in use.
type dirReader struct {
	in *Inode
	// full is how many blocks the directory has; total is one more when its size
	// cannot be right, and reading that block tells so.
	full, total uint64
	again       bool // block full is one that stands in it before

	at  uint64 // file block the run begins at
	run mpage.Run
}

// openDirLocked prepares to read the directory's blocks.
func (in *Inode) openDirLocked() dirReader {
	fs := in.fs
	full := min(in.raw.Size>>fs.blockBits, uint64(fs.sb.BlocksCount))
	r := dirReader{in: in, full: full, total: full}
	if full > manyBlocks {
		r.full = min(full, in.repeatLocked(full))
		r.again = r.full < full
	}
	if in.raw.Size != r.full<<fs.blockBits {
		r.total = r.full + 1
	}
	return r
}

// locateAhead is the longest run, in blocks, that locate looks for.
const locateAhead = 16

// locate is the run of file blocks that begins with n, n < full.
func (r *dirReader) locate(n uint64) (mpage.Run, error) {
	if d := n - r.at; n >= r.at && d < r.run.Count {
		run := r.run
		run.Block += d
		run.Count -= d
		return run, nil
	}
	// A lookup wants one block: what a run is looked at for further on would be in vain.
	m := (*blockMap)(r.in)
	run, err := m.GetBlock(n, min(r.full-n, locateAhead), false)
	if err == nil && run.Flags&mpage.Mapped == 0 {
		run, err = m.GetBlock(n, r.full-n, false) // a hole is passed over as a whole
	}
	if err != nil {
		return mpage.Run{Count: 1}, err
	}
	r.at, r.run = n, run
	return run, nil
}

// read pins file block n. What comes back passed disk.CheckDirBlock; a block that does
// not, a hole and a block that cannot be read are errors, which are logged.
func (r *dirReader) read(n uint64) (*cache.Buffer, error) {
	fs, ino := r.in.fs, r.in.ino
	switch {
	case n >= r.full && r.again:
		return nil, fs.corrupt(&disk.CorruptError{What: "directory", Inode: ino, Offset: -1, Detail: fmt.Sprintf(
			"the block stands in it twice, once as file block %d", r.full)})
	case n >= r.full:
		return nil, fs.corrupt(&disk.CorruptError{What: "directory size", Inode: ino, Offset: -1, Detail: fmt.Sprintf(
			"i_size is %d, neither more blocks than the file system has nor part of a block was expected", r.in.raw.Size)})
	}
	run, err := r.locate(n)
	if err != nil {
		return nil, err
	}
	if run.Flags&mpage.Mapped == 0 {
		return nil, fs.corrupt(&disk.CorruptError{What: "directory", Inode: ino, Offset: -1, Detail: fmt.Sprintf(
			"file block %d is a hole", n)})
	}
	buf, err := fs.cache.GetChecked(run.Block, blockio.Directory, fs.names.check)
	if err != nil {
		return nil, fs.readError("directory block", ino, run.Block, err)
	}
	return buf, nil
}

// hole is how many blocks from n on are one hole, 0 if n is none.
func (r *dirReader) hole(n uint64) uint64 {
	if n >= r.full {
		return 0
	}
	run, err := r.locate(n)
	if err != nil || run.Flags&mpage.Mapped != 0 {
		return 0
	}
	return run.Count
}

// skip is how many blocks from n on, which cannot be read, nobody need try: one hole, or what
// one table should lead to.
func (r *dirReader) skip(n uint64) uint64 {
	if n >= r.full {
		return 1
	}
	return max(r.hole(n), (*blockMap)(r.in).lost(n))
}

// How much of a directory is read at once when its next block is not in memory: by
// whoever may stop soon, and by whoever reads it all.
const (
	dirWindow      = 256 << 10
	dirWholeWindow = 1 << 20
)

// ahead is called before block n is read by someone who will want the next ones: if n
// is not in memory, the blocks of the window (bytes) from n on are read together.
func (r *dirReader) ahead(n uint64, window int) {
	if n >= r.full {
		return
	}
	run, err := r.locate(n)
	if err != nil || run.Flags&mpage.Mapped == 0 || r.in.fs.cache.Cached(run.Block) {
		return
	}
	r.prefetch(n, window)
}

// prefetch reads the blocks of the window (bytes) from block n on.
func (r *dirReader) prefetch(n uint64, window int) {
	end := min(n+uint64(max(window>>r.in.fs.blockBits, 4)), r.full)
	blocks := make([]uint64, 0, end-n)
	for n < end {
		run, err := r.locate(n)
		if err != nil {
			break
		}
		count := min(run.Count, end-n)
		for i := uint64(0); i < count && run.Flags&mpage.Mapped != 0; i++ {
			blocks = append(blocks, run.Block+i)
		}
		n += count
	}
	r.in.fs.cache.Prefetch(blocks, blockio.Directory)
}

// dirEntries calls fn with each entry in use of a checked directory block, until fn is
// false. The names alias the block.
func dirEntries(block []byte, fn func(d disk.Dirent) bool) {
	for off := 0; off < len(block); {
		d, next, ok := disk.NextDirent(block, off)
		if !ok || next <= off || d.Inode != 0 && !fn(d) {
			return
		}
		off = next
	}
}

// checkName refuses what cannot be the name of an entry.
func checkName(name string) error {
	switch {
	case len(name) > disk.MaxNameLen:
		return ErrNameTooLong
	case name == "" || strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return ErrNotExist
	}
	return nil
}

// isCorrupt tells whether an error says that the image is damaged, as opposed to a
// failure to read it, which may pass.
func isCorrupt(err error) bool {
	var c *disk.CorruptError
	return errors.As(err, &c)
}
