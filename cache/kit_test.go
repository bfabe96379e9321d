package cache_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
)

// recorder keeps which blocks the device below was asked for.
type recorder struct {
	blockio.Device
	bs   int64
	gate chan struct{} // if not nil, a request waits for one value
	come chan struct{} // told of each request that waits; may be nil

	mu   sync.Mutex
	list []string
}

func (d *recorder) Submit(bios ...*blockio.Bio) {
	d.mu.Lock()
	for _, b := range bios {
		first, n := b.Off/d.bs, b.Bytes()/d.bs
		d.list = append(d.list, fmt.Sprintf("%v:%d+%d", b.For, first, n))
	}
	d.mu.Unlock()
	if d.come != nil {
		d.come <- struct{}{}
	}
	if d.gate != nil {
		<-d.gate
	}
	d.Device.Submit(bios...)
}

func (d *recorder) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := fmt.Sprint(d.list)
	d.list = nil
	return s
}

// newDevice is a device whose blocks say what they are, and can be made to fail.
func newDevice(bs, blocks int64) (*recorder, *blockiotest.Fault) {
	image := make([]byte, bs*blocks)
	for b := range blocks {
		for i := int64(0); i < bs; i += 8 {
			binary.LittleEndian.PutUint64(image[b*bs+i:], uint64(b)<<20|uint64(i))
		}
	}
	fault := blockiotest.NewFault(blockiotest.MemOf(image))
	return &recorder{Device: fault, bs: bs}, fault
}

// badBlock is a rule that lets reads of a block fail.
func badBlock(bs, block int64) blockiotest.Rule {
	return blockiotest.Rule{Op: blockio.Read, Match: func(b *blockio.Bio) bool {
		return b.Off <= block*bs && block*bs < b.Off+b.Bytes()
	}}
}

// verify checks that the buffer has its block's content.
func verify(t testing.TB, b *cache.Buffer) {
	t.Helper()
	b.RLock()
	defer b.RUnlock()
	data := b.Data()
	for _, i := range []int{0, len(data)/2 - 8, len(data) - 8} {
		if got, want := binary.LittleEndian.Uint64(data[i:]), b.Block()<<20|uint64(i); got != want {
			t.Errorf("block %d at %d: %#x, want %#x", b.Block(), i, got, want)
		}
	}
}

func get(t testing.TB, c *cache.Cache, block uint64) *cache.Buffer {
	t.Helper()
	b, err := c.Get(block, blockio.Indirect)
	if err != nil {
		t.Fatalf("block %d: %v", block, err)
	}
	if b.Block() != block {
		t.Fatalf("asked for block %d, got %d", block, b.Block())
	}
	verify(t, b)
	return b
}

// until waits for other goroutines to bring about what cond tells.
func until(t testing.TB, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
		runtime.Gosched()
	}
}
