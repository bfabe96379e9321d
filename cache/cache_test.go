package cache_test

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
)

func TestGetReadsOnce(t *testing.T) {
	dev, _ := newDevice(1024, 100)
	c := cache.New(dev, 1024, 64<<10)
	a, b := get(t, c, 7), get(t, c, 7)
	if a != b {
		t.Error("two buffers for one block")
	}
	a.Release()
	b.Release()
	get(t, c, 7).Release()
	if got := dev.take(); got != "[indirect:7+1]" {
		t.Errorf("the device received %v", got)
	}
	if s := c.Stats(); s.Hits != 2 || s.Misses != 1 || s.Reads != 1 || s.Pinned != 0 || s.Buffers != 1 || s.Bytes != 1024 || s.Limit != 64<<10 {
		t.Errorf("%+v", s)
	}
}

// The one that was released longest ago goes first; a pinned one never.
func TestEvictionOrder(t *testing.T) {
	dev, _ := newDevice(1024, 100)
	c := cache.New(dev, 1024, 4<<10)
	pinned := get(t, c, 1)
	for _, n := range []uint64{2, 3, 4} {
		get(t, c, n).Release()
	}
	get(t, c, 2).Release()
	get(t, c, 5).Release() // in the place of 3
	for n, want := range map[uint64]bool{1: true, 2: true, 3: false, 4: true, 5: true} {
		if c.Cached(n) != want {
			t.Errorf("block %d cached: %v", n, !want)
		}
	}
	for n := range uint64(50) {
		get(t, c, 10+n).Release()
	}
	if !c.Cached(1) {
		t.Error("a pinned buffer was evicted")
	}
	verify(t, pinned)
	pinned.Release()
	if s := c.Stats(); s.Bytes > s.Limit || s.Evictions != 51 {
		t.Errorf("%+v", s)
	}
}

// With everything pinned the bound gives way, and holds again as pins go.
func TestAllPinned(t *testing.T) {
	dev, _ := newDevice(65536, 40)
	for _, limit := range []int64{1, 65536, 3*65536 + 5} {
		c := cache.New(dev, 65536, limit)
		var list []*cache.Buffer
		for n := range uint64(20) {
			list = append(list, get(t, c, n))
		}
		if s := c.Stats(); s.Pinned != 20 || s.Bytes != 20*65536 {
			t.Errorf("%+v", s)
		}
		if data, _ := c.Ride(30); data != nil {
			t.Error("Ride exceeds the bound")
		}
		dev.take()
		c.Prefetch([]uint64{31, 32}, blockio.Indirect)
		if got := dev.take(); got != "[]" {
			t.Errorf("Prefetch exceeds the bound: %v", got)
		}
		for _, b := range list {
			verify(t, b)
			b.Release()
		}
		if s := c.Stats(); s.Pinned != 0 || s.Bytes > max(limit, 65536) {
			t.Errorf("bound %d: %+v", limit, s)
		}
	}
}

func TestFailedRead(t *testing.T) {
	dev, fault := newDevice(1024, 100)
	c := cache.New(dev, 1024, 64<<10)
	fault.Fail(badBlock(1024, 7))
	for range 2 { // not cached: each one tries
		if _, err := c.Get(7, blockio.Indirect); !errors.Is(err, syscall.EIO) {
			t.Errorf("error %v", err)
		}
	}
	if got := dev.take(); got != "[indirect:7+1 indirect:7+1]" {
		t.Errorf("the device received %v", got)
	}
	if s := c.Stats(); s.Buffers != 0 || s.Pinned != 0 || s.ReadErrors != 2 {
		t.Errorf("%+v", s)
	}
	fault.Heal()
	get(t, c, 7).Release()
	for _, far := range []uint64{100, 1 << 54, math.MaxInt64 / 1024, 1 << 60, math.MaxUint64} {
		if _, err := c.Get(far, blockio.Indirect); !errors.Is(err, blockio.ErrPastEnd) {
			t.Errorf("block %d: error %v", far, err)
		}
		if far > 1<<53 {
			if data, _ := c.Ride(far); data != nil {
				t.Errorf("block %d rides", far)
			}
		}
	}
	if s := c.Stats(); s.Buffers != 1 || s.Pinned != 0 {
		t.Errorf("%+v", s)
	}
}

// However many wait, the block is read once, and all have its content or its error.
func TestSingleFlight(t *testing.T) {
	for _, fail := range []bool{false, true} {
		t.Run(fmt.Sprint("fail=", fail), func(t *testing.T) {
			dev, fault := newDevice(1024, 100)
			if fail {
				fault.Fail(badBlock(1024, 7))
			}
			dev.gate, dev.come = make(chan struct{}), make(chan struct{}, 1)
			c := cache.New(dev, 1024, 64<<10)
			const n = 16
			var wg sync.WaitGroup
			var failed atomic.Int64
			one := func() {
				b, err := c.Get(7, blockio.Indirect)
				if err != nil {
					failed.Add(1)
					return
				}
				verify(t, b)
				b.Release()
			}
			wg.Go(one)
			<-dev.come // the read is under way
			if c.Cached(7) {
				t.Error("cached before it arrived")
			}
			for range n - 1 {
				wg.Go(one)
			}
			until(t, func() bool { return c.Stats().Waits >= n-1 })
			dev.gate <- struct{}{}
			wg.Wait()
			if got := dev.take(); got != "[indirect:7+1]" {
				t.Errorf("the device received %v", got)
			}
			if want := map[bool]int64{false: 0, true: n}[fail]; failed.Load() != want {
				t.Errorf("%d in error, want %d", failed.Load(), want)
			}
			if s := c.Stats(); s.Pinned != 0 || s.Waits != n-1 || s.Buffers != map[bool]int64{false: 1, true: 0}[fail] {
				t.Errorf("%+v", s)
			}
		})
	}
}

var errBad = errors.New("bad content")

func TestGetChecked(t *testing.T) {
	dev, _ := newDevice(1024, 100)
	c := cache.New(dev, 1024, 64<<10)
	checks := 0
	check := func(data []byte) error {
		checks++
		if len(data) != 1024 {
			t.Errorf("check of %d bytes", len(data))
		}
		return nil
	}
	for range 3 {
		b, err := c.GetChecked(7, blockio.Directory, check)
		if err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	if checks != 1 {
		t.Errorf("%d checks of one load", checks)
	}
	// What passed as a directory has not passed as anything else.
	bad := func([]byte) error { checks++; return errBad }
	if _, err := c.GetChecked(7, blockio.Xattr, bad); err != errBad || checks != 2 {
		t.Errorf("%v after %d checks", err, checks)
	}
	if c.Cached(7) {
		t.Error("a block that failed its check is cached as good")
	}
	dev.take()
	if b, err := c.GetChecked(7, blockio.Directory, check); err != nil || checks != 3 {
		t.Errorf("%v after %d checks", err, checks)
	} else {
		b.Release()
	}
	if got := dev.take(); got != "[directory:7+1]" {
		t.Errorf("the device received %v", got)
	}
	// A block that came in by other ways is checked, too.
	c.Prefetch([]uint64{8}, blockio.Directory)
	if _, err := c.GetChecked(8, blockio.Directory, bad); err != errBad {
		t.Error("no check after a prefetch")
	}
	if s := c.Stats(); s.Pinned != 0 {
		t.Errorf("%+v", s)
	}
}

// Many at once: one read, one check, everybody has its outcome.
func TestGetCheckedOnce(t *testing.T) {
	for _, result := range []error{nil, errBad} {
		dev, _ := newDevice(1024, 100)
		dev.gate, dev.come = make(chan struct{}), make(chan struct{}, 1)
		c := cache.New(dev, 1024, 64<<10)
		var checks, failed atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				b, err := c.GetChecked(7, blockio.Directory, func([]byte) error { checks.Add(1); return result })
				if err != nil {
					failed.Add(1)
					return
				}
				b.Release()
			})
		}
		until(t, func() bool { return c.Stats().Waits >= 15 })
		dev.gate <- struct{}{}
		wg.Wait()
		if want := map[error]int64{nil: 0, errBad: 16}[result]; checks.Load() != 1 || failed.Load() != want {
			t.Errorf("%v: %d checks, %d in error", result, checks.Load(), failed.Load())
		}
		if s := c.Stats(); s.Pinned != 0 || s.Reads != 1 {
			t.Errorf("%+v", s)
		}
	}
}

func TestPurpose(t *testing.T) {
	dev, _ := newDevice(1024, 100)
	c := cache.New(dev, 1024, 64<<10)
	data, done := c.Ride(7)
	copy(data, make([]byte, 1024))
	done(nil)
	for _, what := range []blockio.Purpose{blockio.Unknown, blockio.Indirect, blockio.Xattr} {
		b, err := c.Get(7, what)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(what, blockio.Indirect); b.Purpose() != want {
			t.Errorf("asked for with %v: %v", what, b.Purpose())
		}
		b.Release()
	}
}

func TestRide(t *testing.T) {
	dev, _ := newDevice(1024, 100)
	c := cache.New(dev, 1024, 64<<10)
	data, done := c.Ride(7)
	if len(data) != 1024 {
		t.Fatalf("%d bytes", len(data))
	}
	if again, _ := c.Ride(7); again != nil || c.Cached(7) {
		t.Error("the block is on its way, but not there")
	}
	got := make(chan *cache.Buffer)
	go func() {
		b, err := c.Get(7, blockio.Indirect)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	until(t, func() bool { return c.Stats().Waits > 0 })
	if _, err := dev.Device.ReadvAt([][]byte{data}, 7*1024); err != nil {
		t.Fatal(err)
	}
	done(nil)
	b := <-got
	verify(t, b)
	b.Release()
	if again, _ := c.Ride(7); again != nil || !c.Cached(7) {
		t.Error("the block is there")
	}
	if got := dev.take(); got != "[]" {
		t.Errorf("the device received %v", got)
	}
	if s := c.Stats(); s.Rides != 1 || s.Pinned != 0 {
		t.Errorf("%+v", s)
	}
}

// A rider that fails says nothing about its block: who waits reads it.
func TestRideFails(t *testing.T) {
	dev, _ := newDevice(1024, 100)
	c := cache.New(dev, 1024, 64<<10)
	_, done := c.Ride(7)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { get(t, c, 7).Release() })
	}
	until(t, func() bool { return c.Stats().Waits >= 4 })
	done(errBad)
	wg.Wait()
	if got := dev.take(); got != "[indirect:7+1]" {
		t.Errorf("the device received %v", got)
	}
	if s := c.Stats(); s.Pinned != 0 || s.Buffers != 1 || s.Rides != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPrefetch(t *testing.T) {
	dev, fault := newDevice(1024, 100)
	c := cache.New(dev, 1024, 32<<10)
	get(t, c, 12).Release()
	dev.take()
	c.Prefetch([]uint64{30, 11, 10, 13, 12, 11, 99, 100, 1 << 60}, blockio.InodeTable)
	if got := dev.take(); got != "[inodetable:10+2 inodetable:13+1 inodetable:30+1 inodetable:99+1]" {
		t.Errorf("the device received %v", got)
	}
	for _, n := range []uint64{10, 11, 12, 13, 30, 99} {
		get(t, c, n).Release()
	}
	if got := dev.take(); got != "[]" {
		t.Errorf("the device received %v", got)
	}
	if s := c.Stats(); s.Prefetched != 5 || s.Pinned != 0 {
		t.Errorf("%+v", s)
	}
	c.Prefetch(nil, blockio.InodeTable)
	// At most half of the cache, whatever is asked for.
	var many []uint64
	for n := range uint64(60) {
		many = append(many, 35+n)
	}
	c.Prefetch(many, blockio.InodeTable)
	if got := dev.take(); got != "[inodetable:35+16]" {
		t.Errorf("the device received %v", got)
	}
	// A bad block takes nothing along for good.
	fault.Fail(badBlock(1024, 62))
	c.Prefetch([]uint64{60, 61, 62, 63}, blockio.InodeTable)
	dev.take()
	for _, n := range []uint64{60, 61, 63} {
		get(t, c, n).Release()
	}
	if _, err := c.Get(62, blockio.InodeTable); !errors.Is(err, syscall.EIO) {
		t.Errorf("error %v", err)
	}
	if s := c.Stats(); s.Pinned != 0 {
		t.Errorf("%+v", s)
	}
}

// One bio has no more vectors than the host takes in one request.
func TestPrefetchMany(t *testing.T) {
	dev, _ := newDevice(1024, 3000)
	c := cache.New(dev, 1024, 64<<20)
	var all []uint64
	for n := range uint64(3000) {
		all = append(all, n)
	}
	c.Prefetch(all, blockio.Indirect)
	if got := dev.take(); got != "[indirect:0+1024 indirect:1024+1024 indirect:2048+952]" {
		t.Errorf("the device received %v", got)
	}
	if s := c.Stats(); s.Prefetched != 3000 || s.Reads != 3 {
		t.Errorf("%+v", s)
	}
}

// Who needs a block that is being prefetched waits for it; if that fails, it reads.
func TestPrefetchAndGet(t *testing.T) {
	for _, fail := range []bool{false, true} {
		dev, fault := newDevice(1024, 100)
		if fail {
			fault.Fail(badBlock(1024, 11)) // not the one waited for
		}
		dev.gate, dev.come = make(chan struct{}), make(chan struct{}, 2)
		c := cache.New(dev, 1024, 32<<10)
		var wg sync.WaitGroup
		wg.Go(func() { c.Prefetch([]uint64{10, 11}, blockio.Directory) })
		<-dev.come
		wg.Go(func() { get(t, c, 10).Release() })
		until(t, func() bool { return c.Stats().Waits > 0 })
		close(dev.gate)
		wg.Wait()
		want := "[directory:10+2]"
		if fail {
			want = "[directory:10+2 indirect:10+1]"
		}
		if got := dev.take(); got != want {
			t.Errorf("the device received %v, want %v", got, want)
		}
	}
}

func TestDrop(t *testing.T) {
	dev, _ := newDevice(1024, 100)
	c := cache.New(dev, 1024, 64<<10)
	c.Drop(7, 1) // not there: nothing to do
	get(t, c, 7).Release()
	c.Drop(7, 1)
	if s := c.Stats(); c.Cached(7) || s.Buffers != 0 {
		t.Errorf("still there: %+v", s)
	}
	// A holder keeps its buffer; others get a new one.
	old := get(t, c, 7)
	c.Drop(7, 1)
	young := get(t, c, 7)
	if old == young {
		t.Error("the dropped buffer was handed out")
	}
	old.Release()
	verify(t, young)
	young.Release()
	if s := c.Stats(); s.Reads != 3 || s.Buffers != 1 || s.Pinned != 0 || !c.Cached(7) {
		t.Errorf("%+v", s)
	}
	// While it is on its way: who waits gets it, the cache does not.
	data, done := c.Ride(9)
	_ = data
	c.Drop(9, 1)
	done(nil)
	if s := c.Stats(); c.Cached(9) || s.Pinned != 0 || s.Buffers != 1 {
		t.Errorf("%+v", s)
	}
}

func TestReleaseTooOften(t *testing.T) {
	dev, _ := newDevice(1024, 100)
	b := get(t, cache.New(dev, 1024, 64<<10), 7)
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("nobody noticed")
		}
	}()
	b.Release()
}
