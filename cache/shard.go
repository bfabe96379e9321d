package cache

import "github.com/ext2fuse/ext2fuse/blockio"

// The methods of shard need its mutex held.

// insert puts a new buffer for block into the table, loading and pinned once. Its
// memory is that of an evicted buffer, or still nil: the loader allocates it, outside
// the lock.
func (s *shard) insert(block uint64, what blockio.Purpose) *Buffer {
	b := &Buffer{shard: s, block: block, purpose: what, load: &load{done: make(chan struct{})}}
	for s.held >= s.limit && s.idle.prev != &s.idle {
		victim := s.idle.prev
		s.forget(victim)
		s.count.Evictions++
		b.data, victim.data = victim.data, nil
	}
	s.table[block] = b
	s.cache.present.add(block, 1)
	s.held++
	s.pinned++
	b.pins = 1
	return b
}

// room tells whether insert would stay within the bound.
func (s *shard) room() bool { return s.held < s.limit || s.idle.prev != &s.idle }

// pin adds a pin.
func (s *shard) pin(b *Buffer) {
	if b.pins == 0 {
		s.unlink(b)
		s.pinned++
	}
	b.pins++
}

// unpin drops a pin; with the last one the buffer becomes idle, or goes, if it was
// forgotten or the shard is over its share.
func (s *shard) unpin(b *Buffer) {
	if b.pins <= 0 {
		panic("cache: buffer released more often than it was got")
	}
	b.pins--
	if b.pins > 0 {
		return
	}
	s.pinned--
	switch {
	case b.forgotten:
		s.held--
	case s.held > s.limit:
		s.remove(b)
		s.held--
		s.count.Evictions++
	default:
		b.next, b.prev = s.idle.next, &s.idle
		b.next.prev, b.prev.next = b, b
	}
}

// forget takes a buffer that is in the table out of it.
func (s *shard) forget(b *Buffer) {
	s.remove(b)
	if b.pins == 0 {
		s.unlink(b)
		s.held--
	}
}

// remove takes a buffer out of the table and nowhere else.
func (s *shard) remove(b *Buffer) {
	delete(s.table, b.block)
	s.cache.present.add(b.block, -1)
	b.forgotten = true
}

// unlink takes a buffer off the idle list.
func (s *shard) unlink(b *Buffer) {
	b.prev.next, b.next.prev = b.next, b.prev
	b.prev, b.next = nil, nil
}

// finish ends the load of b and drops the loader's pin if it failed. With again,
// those who wait read for themselves instead of taking over the error.
func (s *shard) finish(b *Buffer, err error, again bool) {
	l := b.load
	l.err, l.again = err, again
	if err == nil {
		b.load = nil
	} else {
		if !b.forgotten {
			s.forget(b)
		}
		s.unpin(b)
	}
	close(l.done)
}
