package ext2

import (
	"math"
	"sync"
	"unsafe"
)

// inodeTable holds the inodes in memory: those referenced, and the idle ones used last, as
// many as its share of the memory allows. It is divided by inode number into shards, so
// that requests for different inodes rarely meet.
type inodeTable struct {
	maxIdle int        // idle inodes in memory, per shard
	away    keptCounts // of inodes that left memory, where not 0
	shards  [inodeShards]inodeShard
}

const inodeShards = 64

type inodeShard struct {
	mu     sync.Mutex
	loaded sync.Cond // an inode left state loading
	inodes map[uint32]*Inode
	idle   Inode // list head: idle.next was used last, idle.prev is the next to go
	nIdle  int
	// parents is dirData.parent of directories that left memory and that somebody keeps.
	parents map[uint32]uint32
	_       [64]byte // keeps neighbours' locks out of each other's cache line
}

// loadState says how far reading an inode has come.
type loadState uint8

const (
	loading loadState = iota
	loadDone
	loadFailed
)

// inodeBytes is about what an inode costs in memory, its place in the map included.
const inodeBytes = int64(unsafe.Sizeof(Inode{})) + 48

func (t *inodeTable) init(maxBytes int64) {
	t.maxIdle = int(max(maxBytes/inodeBytes/inodeShards, 4))
	for i := range t.shards {
		sh := &t.shards[i]
		sh.loaded.L = &sh.mu
		sh.inodes, sh.parents = make(map[uint32]*Inode), make(map[uint32]uint32)
		sh.idle.prev, sh.idle.next = &sh.idle, &sh.idle
	}
}

func (t *inodeTable) shard(ino uint32) *inodeShard { return &t.shards[ino%inodeShards] }

// get finds or reads an inode and takes a reference. However many ask for an inode at
// once, it is read once.
func (t *inodeTable) get(fs *FS, ino uint32) (*Inode, error) {
	sh := t.shard(ino)
	sh.mu.Lock()
	if in := sh.inodes[ino]; in != nil {
		sh.unidle(in)
		in.refs++
		for in.state == loading {
			sh.loaded.Wait()
		}
		state, err := in.state, in.err
		sh.mu.Unlock()
		if state == loadFailed {
			return nil, err
		}
		return in, nil
	}
	in := &Inode{fs: fs, ino: ino, refs: 1, kept: uint64(t.away.get(ino))}
	if parent, ok := sh.parents[ino]; ok {
		in.dir.data(fs).parent.Store(parent)
		delete(sh.parents, ino)
	}
	sh.inodes[ino] = in
	t.away.set(ino, 0)
	sh.mu.Unlock()

	err := in.load()

	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.loaded.Broadcast()
	if err != nil {
		in.state, in.err = loadFailed, err
		t.drop(sh, in)
		return nil, err
	}
	in.state = loadDone
	return in, nil
}

// keep is Inode.Keep.
func (t *inodeTable) keep(in *Inode) {
	sh := t.shard(in.ino)
	sh.mu.Lock()
	in.kept++
	sh.mu.Unlock()
	t.put(in)
}

// release is FS.Forget.
func (t *inodeTable) release(ino uint32, n uint64) {
	sh := t.shard(ino)
	sh.mu.Lock()
	in := sh.inodes[ino]
	if in == nil {
		kept := uint32(max(uint64(t.away.get(ino)), n) - n)
		if t.away.set(ino, kept); kept == 0 {
			delete(sh.parents, ino)
		}
		sh.mu.Unlock()
		return
	}
	sh.unidle(in)
	in.refs++
	in.kept -= min(n, in.kept)
	sh.mu.Unlock()
	t.put(in)
}

func (t *inodeTable) ref(in *Inode) {
	sh := t.shard(in.ino)
	sh.mu.Lock()
	in.refs++
	sh.mu.Unlock()
}

// insert puts a new inode into the table, with a reference: its number was free. It is
// false when the number is in use all the same: the bitmap is wrong.
func (t *inodeTable) insert(in *Inode) bool {
	sh := t.shard(in.ino)
	in.refs, in.state = 1, loadDone
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if t.away.get(in.ino) > 0 {
		return false
	}
	if old := sh.inodes[in.ino]; old != nil {
		if old.refs+old.kept > 0 && old.state != loadFailed {
			return false
		}
		sh.unidle(old)
	}
	sh.inodes[in.ino] = in
	return true
}

// forget takes an inode that came to nothing out of the table.
func (t *inodeTable) forget(in *Inode) {
	sh := t.shard(in.ino)
	sh.mu.Lock()
	if sh.inodes[in.ino] == in {
		delete(sh.inodes, in.ino)
	}
	sh.mu.Unlock()
}

// find is the inode if it is in memory, referenced or not; no reference is taken.
func (t *inodeTable) find(ino uint32) *Inode {
	sh := t.shard(ino)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if in := sh.inodes[ino]; in != nil && in.state == loadDone {
		return in
	}
	return nil
}

// put drops a reference. With the last one, of those kept, too, an inode without names is
// deleted.
func (t *inodeTable) put(in *Inode) {
	sh := t.shard(in.ino)
	sh.mu.Lock()
	if in.refs == 1 && in.kept == 0 && in.nameless.Load() && !in.fs.readOnly.Load() {
		in.state, in.err = loadFailed, ErrStale // nobody gets it any more
		sh.mu.Unlock()
		in.fs.reap(in)
		sh.mu.Lock()
		if sh.inodes[in.ino] == in {
			delete(sh.inodes, in.ino)
		}
		sh.mu.Unlock()
		in.dir.evicted()
		return
	}
	in.refs--
	var out *Inode
	if in.refs == 0 && in.mayLeave() && sh.inodes[in.ino] == in { // else it came to nothing
		out = t.makeIdle(sh, in)
	}
	sh.mu.Unlock()
	if out != nil {
		out.dir.evicted()
	}
}

// mayLeave tells whether there is nothing to an unreferenced inode but what the image has, or
// else what drop remembers. What is on its way to be deleted stands on the list of orphans.
func (in *Inode) mayLeave() bool {
	return in.kept == 0 || in.kept <= math.MaxUint32 && !in.nameless.Load() && !in.orphan.Load()
}

// drop takes an inode out of memory. The shard is locked.
func (t *inodeTable) drop(sh *inodeShard, in *Inode) {
	delete(sh.inodes, in.ino)
	if in.kept == 0 {
		return
	}
	t.away.set(in.ino, uint32(in.kept))
	if d := in.dir.p.Load(); d != nil && d.parent.Load() != 0 {
		sh.parents[in.ino] = d.parent.Load()
	}
}

// makeIdle puts an unreferenced inode on the list and returns the one that has to
// leave memory for it, if any. The shard is locked.
func (t *inodeTable) makeIdle(sh *inodeShard, in *Inode) *Inode {
	in.prev, in.next = &sh.idle, sh.idle.next
	in.prev.next, in.next.prev = in, in
	sh.nIdle++
	if sh.nIdle <= t.maxIdle {
		return nil
	}
	out := sh.idle.prev
	sh.unidle(out)
	t.drop(sh, out)
	return out
}

// unidle takes an inode off the list if it is on it. The shard is locked.
func (sh *inodeShard) unidle(in *Inode) {
	if in.next == nil {
		return
	}
	in.prev.next, in.next.prev = in.next, in.prev
	in.prev, in.next = nil, nil
	sh.nIdle--
}
