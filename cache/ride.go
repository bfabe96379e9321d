package cache

// Ride offers memory for a block that somebody's bio passes over. data is one block
// that the caller owns until it calls done, exactly once, with the outcome; from Ride
// to done, a Get of the block waits, so the caller must not call anything in between
// that may want it. data is nil when the block is in the cache or on its way there, or
// when there is no room for it.
func (c *Cache) Ride(block uint64) (data []byte, done func(err error)) {
	if c.offsetErr(block) != nil {
		return nil, nil
	}
	s := c.shardOf(block)
	s.mu.Lock()
	if s.table[block] != nil || !s.room() {
		s.mu.Unlock()
		return nil, nil
	}
	b := s.insert(block, 0)
	s.mu.Unlock()
	if b.data == nil {
		b.data = make([]byte, c.blockSize)
	}
	return b.data, func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.finish(b, err, true)
		if err == nil {
			s.count.Rides++
			s.unpin(b)
		}
	}
}

// Cached tells whether the block is in the cache and up to date. The answer may be out
// of date as soon as it is given.
func (c *Cache) Cached(block uint64) bool {
	s := c.shardOf(block)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.table[block]
	return b != nil && b.load == nil
}
