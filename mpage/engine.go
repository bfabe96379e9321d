package mpage

import (
	"errors"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Engine reads the pages of files that live on one device.
type Engine struct {
	dev       blockio.Device
	blockSize int
	buffers   Buffers
}

// Option adjusts an Engine.
type Option func(*Engine)

// New makes an engine for a device whose file system has blocks of blockSize bytes.
func New(dev blockio.Device, blockSize int, buffers Buffers, opts ...Option) *Engine {
	e := &Engine{dev: dev, blockSize: blockSize, buffers: buffers}
	for _, o := range opts {
		o(e)
	}
	return e
}

// Read fills dst from file offset off (bytes) of a file of size bytes.
func (e *Engine) Read(m Mapper, dst []byte, off, size int64) (n int, cold bool, err error) {
	return 0, false, errors.ErrUnsupported
}

// Prefetch tells the host which blocks the n bytes from off on will need. It returns
// the file offset up to which it got.
func (e *Engine) Prefetch(m Mapper, off, n, size int64) int64 { return off }
