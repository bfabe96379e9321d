package ext2

import "github.com/ext2fuse/ext2fuse/fs/ext2/disk"

// dirRoom knows where a directory without an htree has room for a name, so that adding
// one costs the same however large the directory is: for each block the longest record
// that fits, and for each length a ring of the blocks where that is the longest.
type dirRoom struct {
	blocks []roomBlock
	first  [roomClasses]uint32 // block + 1 at which a ring begins; 0: none
}

type roomBlock struct {
	class      uint32 // longest record that fits, in units of 4 bytes; 0: none
	next, prev uint32 // in the ring
}

const roomBlockBytes = 12

// roomClasses: a record takes at most 263 bytes, so longer gaps need not be told apart.
const roomClasses = (8+disk.MaxNameLen+3)/4 + 1

// set notes the longest record, in bytes, that fits into a block.
func (r *dirRoom) set(block uint64, gap int) {
	for uint64(len(r.blocks)) <= block {
		r.blocks = append(r.blocks, roomBlock{})
	}
	b := uint32(block)
	class := uint32(min(gap/4, roomClasses-1))
	if r.blocks[b].class == class {
		return
	}
	r.unlink(b)
	r.blocks[b].class = class
	if class == 0 {
		return
	}
	if f := r.first[class]; f == 0 {
		r.blocks[b].next, r.blocks[b].prev = b, b
	} else {
		next := f - 1
		prev := r.blocks[next].prev
		r.blocks[b].next, r.blocks[b].prev = next, prev
		r.blocks[prev].next, r.blocks[next].prev = b, b
	}
	r.first[class] = b + 1
}

func (r *dirRoom) unlink(b uint32) {
	e := r.blocks[b]
	if e.class == 0 {
		return
	}
	switch {
	case e.next == b:
		r.first[e.class] = 0
	case r.first[e.class] == b+1:
		r.first[e.class] = e.next + 1
	}
	r.blocks[e.prev].next, r.blocks[e.next].prev = e.next, e.prev
}

// find is a block that has room for a record of need bytes. Whoever changes it says
// with set what is left.
func (r *dirRoom) find(need int) (block uint64, ok bool) {
	for class := (need + 3) / 4; class < roomClasses; class++ {
		if f := r.first[class]; f != 0 {
			return uint64(f - 1), true
		}
	}
	return 0, false
}

// added notes a new entry at byte off of file block n, whose content block now is. The
// directory's lock is held, exclusively.
func (x *nameIndex) added(d *dirData, n uint64, off int, name, block []byte) {
	names := &d.fs.names
	before := x.bytes()
	x.add(names.hash(name), int64(n)<<d.fs.blockBits+int64(off))
	x.room.set(n, dirGap(block))
	if more := x.bytes() - before; more != 0 {
		names.grown(d, x, more)
	}
}

// remove takes the entry at byte offset off of the directory file out of the table, and
// moves back what was put behind it for want of its place.
func (x *nameIndex) remove(hash uint32, off int64) {
	where := uint32(off>>2) + 1
	i := x.start(hash)
	for x.slots[i].where != where {
		if x.slots[i].where == 0 {
			return
		}
		i = x.after(i)
	}
	x.n--
	for j := x.after(i); x.slots[j].where != 0; j = x.after(j) {
		// An entry may move back to i unless its search begins behind i.
		home := x.start(x.slots[j].hash)
		if i < j && (home <= i || home > j) || i > j && home <= i && home > j {
			x.slots[i] = x.slots[j]
			i = j
		}
	}
	x.slots[i] = nameSlot{}
}

func (x *nameIndex) after(i int) int {
	if i++; i == len(x.slots) {
		return 0
	}
	return i
}
