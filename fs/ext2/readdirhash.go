package ext2

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// maxBatch is about how many entries a batch in hash order has at most. A 64 KiB block
// holds fewer; only directories without a usable htree, or with one made to harm, have
// more to sort, and are then gone through again for each batch.
const maxBatch = 8192

// hashBatch gathers the entries of a batch in hash order: those with positions from
// from to before limit, which sinks when there are too many.
type hashBatch struct {
	*dirBatch
	r           *dirReader
	h           dirHasher
	from, limit uint64
	lo          uint32 // lowest major hash that may occur
	stray       bool   // a lower one did
}

// fillHashed makes a batch in hash order by reading all blocks.
func (b *dirBatch) fillHashed(r *dirReader, pos uint64) {
	g := hashBatch{dirBatch: b, r: r, h: r.in.fs.hasher(), from: posGroup(pos), limit: posEnd}
	g.dots(pos)
	for n := uint64(0); n < r.total; n++ {
		r.ahead(n, dirWholeWindow)
		if !g.block(n) {
			n += r.skip(n) - 1
		}
	}
	g.finish()
}

// fillTree makes a batch in hash order of the leaf that pos is in, and those behind it
// that share a hash with it. It is false when the htree cannot be followed.
func (b *dirBatch) fillTree(d *dirData, r *dirReader, pos uint64) bool {
	var t dxTree
	if t.open(d, r) != nil {
		return false
	}
	defer t.close()
	if t.seek(d, posMajor(pos)) != nil {
		return false
	}
	lo := t.hash()
	g := hashBatch{dirBatch: b, r: r, h: dirHasher{t.version, r.in.fs.sb.HashSeed}, lo: lo &^ 1, limit: posEnd}
	g.from = majorPos(lo)
	if lo&1 != 0 {
		g.from = majorPos(lo + 1) // the hash before is the leaf before's
	}
	if pos <= posDotDot {
		g.from = posDot
		g.dots(pos)
	}
	for {
		n, err := t.leaf(d)
		if err != nil {
			return false
		}
		t.ahead(n, pos)
		g.block(n)
		after, ok := t.peek()
		if !ok {
			break
		}
		if after&1 == 0 {
			return g.finishTree(d, majorPos(after), pos)
		}
		if t.next(d) != nil {
			return false
		}
	}
	if r.total > r.full {
		_, b.err = r.read(r.full)
	}
	return g.finishTree(d, posEnd, pos)
}

// ahead reads what a listing will want next, if leaf n is not in memory: at its start
// the beginning of the directory file, which may be all of it, later the next leaves.
func (t *dxTree) ahead(n, pos uint64) {
	r := &t.r
	fs := r.in.fs
	if block, err := r.in.bmapLocked(n); err != nil || block == 0 || fs.cache.Cached(block) {
		return
	}
	if pos <= posDotDot {
		r.prefetch(0, dirWholeWindow)
		return
	}
	l := &t.levels[t.depth-1]
	var blocks []uint64
	for i := l.i; i < min(l.node.Count, l.i+dirWindow>>fs.blockBits); i++ {
		n := uint64(l.node.At(i).Block)
		if n >= r.full {
			continue
		}
		if block, err := r.in.bmapLocked(n); err == nil && block != 0 {
			blocks = append(blocks, block)
		}
	}
	fs.cache.Prefetch(blocks, blockio.Directory)
}

// dots adds "." and "..", which stand at the start of block 0.
func (g *hashBatch) dots(pos uint64) {
	if pos > posDotDot {
		return
	}
	buf, err := g.r.read(0)
	if err != nil {
		g.err = err
		return
	}
	dirEntries(buf.Data(), func(e disk.Dirent) bool {
		own := ownDots(buf.Data(), 0, e)
		if own {
			g.add(g.r, posDot+uint64(len(e.Name))-1, e)
		}
		return own && len(e.Name) == 1
	})
	buf.Release()
}

// block adds the entries of file block n, "." and ".." excepted. It is false when the
// block cannot be had.
func (g *hashBatch) block(n uint64) bool {
	buf, err := g.r.read(n)
	if err != nil {
		g.err = err
		return false
	}
	dirEntries(buf.Data(), func(e disk.Dirent) bool {
		if isDots(e.Name) && ownDots(buf.Data(), n, e) || !g.listable(g.r, buf.Data(), n, e) {
			return true
		}
		pos, major := g.h.pos(e.Name)
		g.stray = g.stray || major < g.lo
		if pos >= g.from && pos < g.limit {
			g.add(g.r, pos, e)
			if len(g.ents) == 2*maxBatch {
				g.cut()
			}
		}
		return true
	})
	buf.Release()
	return true
}

// sort puts the entries in order; those with the same position stay in the order they
// were found in.
func (g *hashBatch) sort() {
	slices.SortFunc(g.ents, func(a, b batchEntry) int {
		return cmp.Or(cmp.Compare(a.pos, b.pos), cmp.Compare(a.name, b.name))
	})
}

// cut keeps about the first maxBatch entries, whole groups of equal positions as long
// as they can be numbered.
func (g *hashBatch) cut() {
	g.sort()
	g.number()
	if len(g.ents) > maxBatch {
		k := maxBatch
		for posGroup(g.ents[k-1].pos) == posGroup(g.ents[k].pos) {
			k--
		}
		g.limit = posGroup(g.ents[k].pos)
		g.ents = g.ents[:k]
	}
	names := make([]byte, 0, len(g.names)/2)
	for i := range g.ents {
		e := &g.ents[i]
		name := g.names[e.name : int(e.name)+int(e.nameLen)]
		e.pos, e.name = posGroup(e.pos), uint32(len(names))
		names = append(names, name...)
	}
	g.names = names
}

// number gives the entries of each group their ordinals. What cannot be numbered is
// dropped: it takes a directory made for it, or one with the same name many times.
func (g *hashBatch) number() {
	kept := g.ents[:0]
	group, ordinal := uint64(0), uint64(0)
	for _, e := range g.ents {
		if e.pos != group || len(kept) == 0 {
			group, ordinal = e.pos, 0
		}
		if ordinal > maxOrdinal {
			g.err = g.r.in.fs.corrupt(&disk.CorruptError{What: "directory", Inode: g.r.in.ino, Offset: -1,
				Detail: fmt.Sprintf("more than %d entries have equal hashes, one is %q",
					maxOrdinal+1, g.names[e.name:int(e.name)+int(e.nameLen)])})
			continue
		}
		if e.pos >= posKeys {
			e.pos += ordinal
			ordinal++
		}
		kept = append(kept, e)
	}
	g.ents = kept
}

func (g *hashBatch) finish() {
	g.sort()
	g.number()
	g.dirBatch.from, g.to = g.from, g.limit
}

// finishTree is finish for leaves that the htree says hold the positions before end. It
// is false when they do not: an entry outside would be listed at the wrong time, or not
// at all.
func (g *hashBatch) finishTree(d *dirData, end, pos uint64) bool {
	g.finish()
	if end <= pos {
		g.r.badIndex(d, 0, badDx("its hashes are not in order"))
		return false
	}
	if n := len(g.ents); g.stray || n > 0 && g.ents[n-1].pos >= end {
		g.r.badIndex(d, 0, badDx("a leaf holds names of another leaf's hashes"))
		return false
	}
	g.to = min(end, g.limit)
	return true
}
