package ext2

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// nameIndex says where in a directory each name stands: a hash table from the hash of
// a name to the byte offset of its entry in the directory file. It holds no names; a
// hit is confirmed by the entry itself, so a lookup costs one directory block, and a
// name that is not there costs none. It takes 8 bytes per slot and serves directories
// that have no htree to follow.
//
// The table is open-addressed with linear probing, and a slot keeps the whole hash.
// So an entry can be added or taken out (by moving back what follows) without reading
// the directory, and room for a new name is what its owner finds in the blocks the
// table points into.
//
// A nameIndex is guarded by the lock of its directory: shared for find, exclusive for
// changes. While it is built, only its builder has it.
type nameIndex struct {
	slots []nameSlot
	n     int // slots in use
	room  dirRoom
	// unread are the file blocks that could not be read; a name that is not found
	// may stand in them. damage, when set, is why the index can never be whole.
	unread []uint64
	damage error

	used atomic.Uint64 // clock of the last use; see nameState
}

// nameSlot is one entry of the directory. where is its byte offset in the directory
// file divided by 4, plus 1; 0 marks a free slot. Directories end before 4 GiB.
type nameSlot struct {
	hash  uint32
	where uint32
}

const (
	nameSlotBytes = 8
	minNameSlots  = 256
	maxUnread     = 64
)

// newNameIndex makes an index with room for about n names.
func newNameIndex(n int) *nameIndex {
	return &nameIndex{slots: make([]nameSlot, max(n+n/4, minNameSlots))}
}

// miss notes that file block n is not in the index because of err. With final, or
// after too many such blocks, there is no use in trying again.
func (x *nameIndex) miss(n uint64, err error, final bool) {
	switch {
	case final || len(x.unread) == maxUnread:
		if x.damage == nil {
			x.damage = err
		}
	default:
		x.unread = append(x.unread, n)
	}
}

// start is the slot where the search for a hash begins. It scales the hash to the
// size of the table, which so need not be a power of two.
func (x *nameIndex) start(hash uint32) int {
	hi, _ := bits.Mul32(hash, uint32(len(x.slots)))
	return int(hi)
}

// add enters an entry at byte offset off of the directory file.
func (x *nameIndex) add(hash uint32, off int64) {
	if x.n >= len(x.slots)/8*7 {
		x.grow()
	}
	x.put(nameSlot{hash, uint32(off>>2) + 1})
	x.n++
}

func (x *nameIndex) put(s nameSlot) {
	i := x.start(s.hash)
	for x.slots[i].where != 0 {
		if i++; i == len(x.slots) {
			i = 0
		}
	}
	x.slots[i] = s
}

func (x *nameIndex) grow() {
	old := x.slots
	x.slots = make([]nameSlot, max(len(old)+len(old)/2, minNameSlots))
	for _, s := range old {
		if s.where != 0 {
			x.put(s)
		}
	}
}

// find calls try with the offset of each entry whose name may have the hash, until
// try is true or there are no more.
func (x *nameIndex) find(hash uint32, try func(off int64) bool) {
	for i := x.start(hash); x.slots[i].where != 0; {
		if s := x.slots[i]; s.hash == hash && try(int64(s.where-1)<<2) {
			return
		}
		if i++; i == len(x.slots) {
			i = 0
		}
	}
}

func (x *nameIndex) bytes() int64 {
	return int64(len(x.slots))*nameSlotBytes + int64(len(x.unread))*8 + int64(len(x.room.blocks))*roomBlockBytes
}

// nameState is what the directory code keeps in a file system: the name indexes, the
// least recently used of which leave when they are more than maxBytes together, and
// the parts of directories that are being listed.
type nameState struct {
	seed     maphash.Seed // of the hashes in name indexes: no image can foresee them
	maxBytes int64
	check    func(block []byte) error // of directory blocks
	batches  [batchSlots]atomic.Pointer[dirBatch]

	// clock counts the indexes made. An index notes it when it is used, so use costs
	// a store only after another index was made.
	clock atomic.Uint64

	mu      sync.Mutex
	indexes map[*dirData]*nameIndex
	bytes   int64
}

// init is called at mount; maxBytes bounds the memory for name indexes.
func (n *nameState) init(fs *FS, maxBytes int64) {
	n.seed = maphash.MakeSeed()
	n.maxBytes = maxBytes
	n.indexes = make(map[*dirData]*nameIndex)
	n.check = func(block []byte) error { return disk.CheckDirBlock(block, fs.sb.InodesCount) }
}

// hash is the hash of a name in name indexes.
func (n *nameState) hash(name []byte) uint32 { return uint32(maphash.Bytes(n.seed, name)) }

func (n *nameState) touch(x *nameIndex) {
	if now := n.clock.Load(); x.used.Load() != now {
		x.used.Store(now)
	}
}

// keep gives a directory its index and makes room for it.
func (n *nameState) keep(d *dirData, x *nameIndex) {
	n.mu.Lock()
	defer n.mu.Unlock()
	x.used.Store(n.clock.Add(1))
	n.dropLocked(d)
	n.indexes[d] = x
	n.bytes += x.bytes()
	d.index.Store(x)
	n.evictLocked(d)
}

// grown notes that the index of a directory has become longer. One that has outgrown
// twice the bound goes: the directory is too large for it.
func (n *nameState) grown(d *dirData, x *nameIndex, more int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.indexes[d] != x {
		return
	}
	n.bytes += more
	if x.bytes() > 2*n.maxBytes {
		n.dropLocked(d)
		d.hopeless.Store(true)
		return
	}
	n.evictLocked(d)
}

// evictLocked drops the indexes unused for the longest until the bound is kept, but not d's.
func (n *nameState) evictLocked(d *dirData) {
	for n.bytes > n.maxBytes {
		var oldest *dirData
		for o, y := range n.indexes {
			if o != d && (oldest == nil || y.used.Load() < n.indexes[oldest].used.Load()) {
				oldest = o
			}
		}
		if oldest == nil {
			return
		}
		n.dropLocked(oldest)
	}
}

// drop takes the index from a directory. Who is using it may go on doing so.
func (n *nameState) drop(d *dirData) {
	n.mu.Lock()
	n.dropLocked(d)
	n.mu.Unlock()
}

func (n *nameState) dropLocked(d *dirData) {
	if x := n.indexes[d]; x != nil {
		delete(n.indexes, d)
		n.bytes -= x.bytes()
		d.index.Store(nil)
	}
}
