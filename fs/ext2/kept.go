package ext2

import "sync"

// keptCounts holds Inode.kept of the inodes that left memory. The kernel may know millions
// of them, whose numbers lie close together, so each costs little more than a byte.
//
// Its locks are leaves; the shard of the inode's number is locked around them.
type keptCounts struct {
	stripes [16]struct {
		mu    sync.Mutex
		pages map[uint32]*keptPage // by inode number / keptPageInodes
		many  map[uint32]uint32    // counts that a page has no room for
	}
}

// keptPage has the counts of inodes with consecutive numbers.
type keptPage struct {
	counts [keptPageInodes]uint8
	used   uint8 // of them that are not 0
}

const (
	keptPageInodes = 64
	keptMany       = 255 // in a page: the count stands in many
)

// get is the count of an inode.
func (k *keptCounts) get(ino uint32) uint32 {
	s := &k.stripes[ino/keptPageInodes%uint32(len(k.stripes))]
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pages[ino/keptPageInodes]
	if p == nil {
		return 0
	}
	if n := p.counts[ino%keptPageInodes]; n != keptMany {
		return uint32(n)
	}
	return s.many[ino]
}

// set changes the count of an inode.
func (k *keptCounts) set(ino, n uint32) {
	s := &k.stripes[ino/keptPageInodes%uint32(len(k.stripes))]
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pages[ino/keptPageInodes]
	if p == nil {
		if n == 0 {
			return
		}
		if s.pages == nil {
			s.pages, s.many = make(map[uint32]*keptPage), make(map[uint32]uint32)
		}
		p = new(keptPage)
		s.pages[ino/keptPageInodes] = p
	}
	c := &p.counts[ino%keptPageInodes]
	switch was := *c; {
	case was == 0 && n != 0:
		p.used++
	case was != 0 && n == 0:
		p.used--
	}
	if *c == keptMany {
		delete(s.many, ino)
	}
	*c = uint8(min(n, keptMany))
	if *c == keptMany {
		s.many[ino] = n
	}
	if p.used == 0 {
		delete(s.pages, ino/keptPageInodes)
	}
}
