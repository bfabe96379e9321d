package jbd2

import (
	"errors"
	"fmt"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// readAhead is how much of the log is read at once, in bytes.
const readAhead = 256 << 10

// logReader reads blocks of the log, one after the other as a rule.
type logReader struct {
	j     *Journal
	buf   []byte
	first uint32 // journal block that buf begins with
	n     uint32 // blocks in buf
}

func (j *Journal) reader() *logReader {
	return &logReader{j: j, buf: make([]byte, max(j.readAhead, j.blockSize))}
}

// block returns journal block i. The bytes are valid until the next call.
func (r *logReader) block(i uint32) ([]byte, error) {
	size := r.j.blockSize
	if i < r.first || i-r.first >= r.n {
		home, n := r.j.blocks.run(i)
		n = min(n, uint32(len(r.buf)/size), r.j.sb.MaxLen-i)
		err := r.read(home, n)
		if err != nil && n > 1 {
			n = 1 // what is behind may not be wanted at all
			err = r.read(home, n)
		}
		if err != nil {
			r.n = 0
			return nil, fmt.Errorf("the journal's block %d (block %d) cannot be read: %w", i, home, err)
		}
		r.first, r.n = i, n
	}
	at := int(i-r.first) * size
	return r.buf[at : at+size], nil
}

func (r *logReader) read(home uint64, n uint32) error {
	size := int64(r.j.blockSize)
	bio := blockio.Bio{Op: blockio.Read, For: blockio.Journal, Off: int64(home) * size, Vecs: [][]byte{r.buf[:int64(n)*size]}}
	r.j.dev.Submit(&bio)
	return bio.Err
}

// faultAt tells where in the journal a fault is.
func (j *Journal) faultAt(err error, i uint32) error {
	home, _ := j.blocks.run(i)
	return inBlock(err, home)
}

// inBlock notes the device block of a fault that knows none.
func inBlock(err error, home uint64) error {
	var c *disk.CorruptError
	if errors.As(err, &c) && c.Block == 0 {
		c.Block = home
	}
	return err
}
