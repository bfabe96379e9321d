package cache

import (
	"fmt"
	"math"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Get returns the block, pinned and up to date. what is what it is read for. The error
// of a read wraps the device's; nothing is pinned then.
func (c *Cache) Get(block uint64, what blockio.Purpose) (*Buffer, error) {
	s := c.shardOf(block)
	for {
		s.mu.Lock()
		b := s.table[block]
		if b == nil {
			s.count.Misses++
			b = s.insert(block, what)
			s.mu.Unlock()
			return c.read(b, what)
		}
		s.count.Hits++
		s.pin(b)
		if b.purpose == blockio.Unknown {
			b.purpose = what
		}
		l := b.load
		if l == nil {
			s.mu.Unlock()
			return b, nil
		}
		s.count.Waits++
		s.mu.Unlock()
		<-l.done
		if l.err == nil {
			return b, nil
		}
		b.Release()
		if !l.again {
			return nil, l.err
		}
	}
}

// read loads a buffer that insert made.
func (c *Cache) read(b *Buffer, what blockio.Purpose) (*Buffer, error) {
	s := b.shard
	err := c.offsetErr(b.block)
	if err == nil {
		if b.data == nil {
			b.data = make([]byte, c.blockSize)
		}
		bio := blockio.Bio{Op: blockio.Read, For: what, Off: c.offset(b.block), Vecs: [][]byte{b.data}}
		c.dev.Submit(&bio)
		err = bio.Err
	}
	if err != nil {
		err = fmt.Errorf("block %d: %w", b.block, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Reads++
	if err != nil {
		s.count.ReadErrors++
	}
	s.finish(b, err, false)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// offset is where block begins on the device, in bytes.
func (c *Cache) offset(block uint64) int64 { return int64(block) * int64(c.blockSize) }

// offsetErr refuses blocks whose offset cannot be said; what lies past its end only
// the device knows for sure.
func (c *Cache) offsetErr(block uint64) error {
	if block >= math.MaxInt64/uint64(c.blockSize) {
		return blockio.ErrPastEnd
	}
	return nil
}

// GetChecked is Get for a block whose content must pass check before anybody relies on
// it. A check that passed is remembered, per purpose, as long as the block stays in
// memory, so for one purpose the check may depend on nothing but the bytes. When it
// fails, its error is returned as it is and the block is forgotten, so that the next
// one reads it anew, unless it was changed; those who wait meanwhile get the error of
// that one check.
func (c *Cache) GetChecked(block uint64, what blockio.Purpose, check func(data []byte) error) (*Buffer, error) {
	b, err := c.Get(block, what)
	if err != nil {
		return nil, err
	}
	bit := uint32(1) << (what & 31)
	if b.passed.Load()&bit != 0 {
		return b, nil
	}
	if err := b.validate(what, bit, check); err != nil {
		// What is not in its place on the device yet stays: the device has an older version.
		b.contents.RLock()
		inPlace := !b.ckpt.dirty && b.ckpt.frozen == nil
		b.contents.RUnlock()
		s := b.shard
		s.mu.Lock()
		if inPlace && !b.forgotten {
			s.forget(b)
		}
		s.unpin(b)
		s.mu.Unlock()
		return nil, err
	}
	return b, nil
}

// firstFurther is the bit of Buffer.passed where those of Checked begin; below it are
// those of the purposes.
const firstFurther = 24

// Checked runs a further check on a pinned buffer unless that passed before, which is
// remembered as GetChecked does. n, below 8, tells such checks apart. A failure is not
// remembered. Who makes the block into something else sees to it that it would pass.
func (b *Buffer) Checked(n uint8, check func() error) error {
	bit := uint32(1) << (firstFurther + n&7)
	if b.passed.Load()&bit != 0 {
		return nil
	}
	if err := check(); err != nil {
		return err
	}
	b.passed.Or(bit)
	return nil
}

// validate runs the check unless somebody else did meanwhile.
func (b *Buffer) validate(what blockio.Purpose, bit uint32, check func([]byte) error) error {
	b.checking.Lock()
	defer b.checking.Unlock()
	if b.passed.Load()&bit != 0 {
		return nil
	}
	if b.failure.err != nil && b.failure.what == what {
		return b.failure.err
	}
	b.contents.RLock()
	err := check(b.data)
	b.contents.RUnlock()
	if err != nil {
		b.failure.what, b.failure.err = what, err
		return err
	}
	b.passed.Or(bit)
	return nil
}
