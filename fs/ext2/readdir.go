package ext2

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// DirEntry is one entry of a listing.
type DirEntry struct {
	Name []byte // valid until the function it was passed to returns
	Ino  uint32
	Type uint8  // disk.TypeReg, …; disk.TypeUnknown where the image does not say
	Next uint64 // cookie of what comes behind the entry
}

// ReadDir calls fn with the directory's entries, "." and ".." included, from cookie on:
// 0 for the start, or the Next of any entry ever given, also by another FS on the same
// image. It ends when fn is false; that entry does not count as taken, its predecessor's
// Next is where to go on. No lock is held while fn runs. When ctx ends it stops before the
// next block of the directory.
//
// An entry that is neither added nor removed during a listing comes exactly once.
//
// Blocks that are corrupt or cannot be read, and entries with impossible names, are left
// out. The rest is listed, and then the answer is an error, whatever calls the listing
// was divided into: it never looks complete when it is not.
func (in *Inode) ReadDir(ctx context.Context, cookie uint64, fn func(DirEntry) bool) error {
	if !in.IsDir() {
		return ErrNotDir
	}
	damaged := cookie&cookieDamaged != 0
	pos := cookie &^ cookieDamaged
	var bad error
	for pos < posEnd {
		if err := ctx.Err(); err != nil {
			return in.stopped(ctx, err, "listing")
		}
		b := in.batch(pos)
		if b.err != nil {
			damaged, bad = true, b.err
		}
		i, _ := slices.BinarySearchFunc(b.ents, pos, func(e batchEntry, pos uint64) int {
			return cmp.Compare(e.pos, pos)
		})
		for ; i < len(b.ents); i++ {
			e := &b.ents[i]
			next := e.pos + 1
			if damaged {
				next |= cookieDamaged
			}
			name := b.names[e.name : int(e.name)+int(e.nameLen)]
			if !fn(DirEntry{Name: name, Ino: e.ino, Type: e.fileType, Next: next}) {
				return nil
			}
		}
		pos = b.to
	}
	in.fs.names.dropBatch(in.ino)
	in.accessed()
	if damaged && bad == nil {
		// An earlier call met the damage, and it was logged then.
		bad = &disk.CorruptError{What: "directory", Inode: in.ino, Offset: -1, Detail: "its listing is not complete"}
	}
	return bad
}

// dirBatch is a part of a listing: all entries with positions from from to before to, in
// order. Once made it does not change. Some are kept, one per slot, since a listing is
// mostly divided into more calls than it has batches. Whoever changes the directory
// holds its lock and drops its batch.
type dirBatch struct {
	ino      uint32
	from, to uint64 // to is posEnd in the last
	ents     []batchEntry
	names    []byte
	err      error // why entries are missing; logged
}

type batchEntry struct {
	pos      uint64
	ino      uint32
	name     uint32 // offset in names
	nameLen  uint8
	fileType uint8
}

// batchSlots is how many directories can be listed at once without losing batches to
// each other.
const batchSlots = 16

func (n *nameState) dropBatch(ino uint32) {
	slot := &n.batches[ino%batchSlots]
	if b := slot.Load(); b != nil && b.ino == ino {
		slot.CompareAndSwap(b, nil)
	}
}

// batch makes or finds a batch that pos is in.
func (in *Inode) batch(pos uint64) *dirBatch {
	slot := &in.fs.names.batches[in.ino%batchSlots]
	if b := slot.Load(); b != nil && b.ino == in.ino && b.from <= pos && pos < b.to {
		return b
	}
	in.mu.RLock()
	defer in.mu.RUnlock()
	b := &dirBatch{ino: in.ino}
	b.fill(in, pos)
	if b.err == nil || isCorrupt(b.err) {
		slot.Store(b)
	}
	return b
}

// fill chooses the order of the listing and makes the batch.
func (b *dirBatch) fill(in *Inode, pos uint64) {
	d := in.dir.data(in.fs)
	r := in.openDirLocked()
	oneBlock := in.fs.sb.HasCompat(disk.CompatDirIndex) && r.total == 1
	if pos&cookieHash == 0 {
		if pos == 0 && (oneBlock || in.indexedLocked(d) && r.usableTree(d)) {
			b.fill(in, posDot)
			b.from = 0
			return
		}
		b.fillBytes(&r, pos)
		return
	}
	if in.indexedLocked(d) {
		if b.fillTree(d, &r, pos) {
			return
		}
		*b = dirBatch{ino: in.ino}
	}
	b.fillHashed(&r, pos)
	if !oneBlock && b.err == nil {
		b.err = in.fs.damage(badDx("the index became unusable while the directory was being listed"), in.ino, 0)
	}
}

// usableTree tells whether the htree can be followed everywhere.
func (r *dirReader) usableTree(d *dirData) bool {
	var t dxTree
	if t.open(d, r) != nil {
		return false
	}
	defer t.close()
	return t.verify(d) == nil
}

// fillBytes makes the batch of one block in byte order.
func (b *dirBatch) fillBytes(r *dirReader, pos uint64) {
	bits := r.in.fs.blockBits
	n := pos >> bits
	if n >= r.total {
		b.from, b.to = pos, posEnd
		return
	}
	b.from, b.to = n<<bits, (n+1)<<bits
	r.ahead(n, dirWindow)
	buf, err := r.read(n)
	if err != nil {
		b.err = err
		b.to = (n + r.skip(n)) << bits
	} else {
		dirEntries(buf.Data(), func(e disk.Dirent) bool {
			if b.listable(r, buf.Data(), n, e) {
				b.add(r, n<<bits+uint64(e.Off), e)
			}
			return true
		})
		buf.Release()
	}
	if b.to >= r.total<<bits {
		b.to = posEnd
	}
}

// listable tells whether an entry of file block n can be shown. A name that could not be
// looked up would make the kernel refuse the whole listing.
func (b *dirBatch) listable(r *dirReader, block []byte, n uint64, e disk.Dirent) bool {
	why := ""
	switch {
	case len(e.Name) == 0:
		why = "an empty name"
	case bytes.IndexByte(e.Name, '/') >= 0 || bytes.IndexByte(e.Name, 0) >= 0:
		why = fmt.Sprintf("the impossible name %q", e.Name)
	case isDots(e.Name) && !ownDots(block, n, e):
		why = fmt.Sprintf("another %q", e.Name)
	default:
		return true
	}
	at, _ := r.in.bmapLocked(n)
	b.err = r.in.fs.corrupt(&disk.CorruptError{What: "directory entry", Inode: r.in.ino, Block: at, Offset: e.Off,
		Detail: fmt.Sprintf("it has %s; it leads to inode %d", why, e.Inode)})
	return false
}

// ownDots tells whether an entry of file block n is the directory's "." or "..": the first
// and the second of block 0.
func ownDots(block []byte, n uint64, e disk.Dirent) bool {
	if n != 0 || e.Off == 0 {
		return n == 0 && string(e.Name) == "."
	}
	_, second, _ := disk.NextDirent(block, 0)
	return e.Off == second && string(e.Name) == ".."
}

func isDots(name []byte) bool { return string(name) == "." || string(name) == ".." }

// add appends an entry to the batch.
func (b *dirBatch) add(r *dirReader, pos uint64, e disk.Dirent) {
	t := e.FileType
	if t > disk.TypeSymlink || !r.in.fs.sb.HasIncompat(disk.IncompatFiletype) {
		t = disk.TypeUnknown
	}
	if b.ents == nil { // most names have 5 bytes or more
		b.ents = make([]batchEntry, 0, r.in.fs.blockSize/16)
		b.names = make([]byte, 0, r.in.fs.blockSize)
	}
	b.ents = append(b.ents, batchEntry{pos: pos, ino: e.Inode, name: uint32(len(b.names)), nameLen: uint8(len(e.Name)), fileType: t})
	b.names = append(b.names, e.Name...)
}
