package cache_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
)

var seedFlag = flag.Uint64("cache.seed", 0, "seed of the random tests; 0 picks one")

func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -cache.seed=%d", s)
	return s
}

// model is what a cache of one shard must hold: an LRU list by the book.
type model struct {
	limit int
	pins  map[uint64]int // of blocks in the table
	idle  []uint64       // longest idle first
	cut   int            // pinned buffers that were dropped
}

func (m *model) held() int { return len(m.pins) + m.cut }

func (m *model) room() bool { return m.held() < m.limit || len(m.idle) > 0 }

func (m *model) insert(block uint64) {
	for m.held() >= m.limit && len(m.idle) > 0 {
		delete(m.pins, m.idle[0])
		m.idle = m.idle[1:]
	}
	m.pins[block] = 0
}

func (m *model) pin(block uint64) {
	if _, ok := m.pins[block]; !ok {
		m.insert(block)
	}
	m.unidle(block)
	m.pins[block]++
}

func (m *model) unidle(block uint64) {
	for i, b := range m.idle {
		if b == block {
			m.idle = append(m.idle[:i:i], m.idle[i+1:]...)
			return
		}
	}
}

func (m *model) release(block uint64) {
	m.pins[block]--
	if m.pins[block] > 0 {
		return
	}
	if m.held() > m.limit {
		delete(m.pins, block)
		return
	}
	m.idle = append(m.idle, block)
}

func (m *model) drop(block uint64) {
	if m.pins[block] > 0 {
		m.cut++
	}
	delete(m.pins, block)
	m.unidle(block)
}

// Random operations: at each step the cache holds what the book says, and every buffer
// its block.
func TestModel(t *testing.T) {
	s := seed(t)
	for round := range uint64(30) {
		rng := rand.New(rand.NewPCG(s, round))
		const blocks = 24
		dev, fault := newDevice(1024, blocks)
		limit := 1 + rng.IntN(12)
		c := cache.New(dev, 1024, int64(limit)*1024)
		m := &model{limit: limit, pins: map[uint64]int{}}
		type held struct {
			b   *cache.Buffer
			cut bool
		}
		var pins []held
		for step := range 400 {
			block := rng.Uint64N(blocks)
			_, cached := m.pins[block]
			switch op := rng.IntN(10); {
			case op < 4:
				if !cached && rng.IntN(8) == 0 {
					fault.Fail(badBlock(1024, int64(block)))
					if _, err := c.Get(block, blockio.Indirect); err == nil {
						t.Fatal("a failed read gives no error")
					}
					fault.Heal()
					m.insert(block) // it made room all the same
					delete(m.pins, block)
					break
				}
				pins = append(pins, held{b: get(t, c, block)})
				m.pin(block)
			case op < 7 && len(pins) > 0:
				i := rng.IntN(len(pins))
				h := pins[i]
				pins = append(pins[:i], pins[i+1:]...)
				verify(t, h.b)
				h.b.Release()
				if !h.cut {
					m.release(h.b.Block())
					break
				}
				last := true // pin on this buffer
				for _, o := range pins {
					last = last && o.b != h.b
				}
				if last {
					m.cut--
				}
			case op < 8:
				n := 1 + rng.Uint64N(3)
				if rng.IntN(8) == 0 {
					n = 1 + rng.Uint64N(40)
				}
				c.Drop(block, n)
				for b := block; b < block+n; b++ {
					m.drop(b)
				}
				for i := range pins {
					if b := pins[i].b.Block(); b >= block && b < block+n {
						pins[i].cut = true
					}
				}
			case op < 9:
				data, done := c.Ride(block)
				if want := !cached && m.room(); (data != nil) != want {
					t.Fatalf("seed %d round %d step %d: a rider: %v, want %v", s, round, step, data != nil, want)
				}
				if data != nil {
					dev.Device.ReadvAt([][]byte{data}, int64(block)*1024)
					done(nil)
					m.pin(block)
					m.release(block)
				}
			default:
				room := m.room()
				c.Prefetch([]uint64{block}, blockio.Indirect)
				if !cached && room {
					m.pin(block)
					m.release(block)
				}
			}
			for b := range uint64(blocks) {
				if _, want := m.pins[b]; c.Cached(b) != want {
					t.Fatalf("seed %d round %d step %d: block %d cached: %v, want %v", s, round, step, b, !want, want)
				}
			}
			if got := c.Present(); got != len(m.pins) {
				t.Fatalf("seed %d round %d step %d: %d blocks counted present, %d are", s, round, step, got, len(m.pins))
			}
			if st := c.Stats(); st.Buffers != int64(m.held()) || st.Bytes > st.Limit && len(m.idle) > 0 {
				t.Fatalf("seed %d round %d step %d: %+v, the model holds %d", s, round, step, st, m.held())
			}
		}
	}
}

// Many goroutines, small caches: right bytes, pinned buffers untouched, the bound kept as
// soon as nobody holds anything, and within what the pins add while they do.
func TestParallel(t *testing.T) {
	s := seed(t)
	for _, tc := range []struct{ bs, blocks, limit int64 }{
		{1024, 500, 16 << 10}, {1024, 5000, 256 << 10}, {4096, 300, 64 << 20}, {65536, 40, 1}, {65536, 40, 256 << 10},
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			dev, fault := newDevice(tc.bs, tc.blocks)
			fault.Fail(badBlock(tc.bs, 3))
			c := cache.New(dev, int(tc.bs), tc.limit)
			const workers, most, rounds = 8, 4, 800 // most is pins each
			var wg sync.WaitGroup
			for w := range uint64(workers) {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(s, w))
					var pins []*cache.Buffer
					for range rounds {
						block := rng.Uint64N(uint64(tc.blocks))
						switch rng.IntN(12) {
						case 0:
							c.Drop(block, 1)
						case 1:
							c.Prefetch([]uint64{block, block + 1, block + 2}, blockio.Indirect)
						case 2:
							if data, done := c.Ride(block); data != nil {
								_, err := dev.Device.ReadvAt([][]byte{data}, int64(block)*tc.bs)
								done(err)
							}
						default:
							b, err := c.GetChecked(block, blockio.Indirect, func(data []byte) error {
								if int64(len(data)) != tc.bs {
									return errBad
								}
								return nil
							})
							if (err != nil) != (block == 3) {
								t.Errorf("block %d: %v", block, err)
							}
							if err == nil {
								verify(t, b)
								pins = append(pins, b)
							}
						}
						if len(pins) > most-1 {
							i := rng.IntN(len(pins))
							verify(t, pins[i])
							pins[i].Release()
							pins = append(pins[:i], pins[i+1:]...)
						}
						if st := c.Stats(); st.Bytes > st.Limit+workers*(most+3)*tc.bs {
							t.Errorf("%+v", st)
							break
						}
					}
					for _, b := range pins {
						b.Release()
					}
				})
			}
			wg.Wait()
			if st := c.Stats(); st.Pinned != 0 || st.Bytes > st.Limit {
				t.Errorf("%+v", st)
			}
		})
	}
}

// Writers and readers of one buffer's content are kept apart by its lock.
func TestContentsLock(t *testing.T) {
	dev, _ := newDevice(1024, 10)
	c := cache.New(dev, 1024, 64<<10)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 200 {
				b, err := c.Get(5, blockio.Indirect)
				if err != nil {
					t.Error(err)
					return
				}
				if i%4 == 0 {
					b.Lock()
					for j := range b.Data() {
						b.Data()[j] = byte(w)
					}
					b.Unlock()
				} else {
					b.RLock()
					if d := b.Data(); i > 0 && !bytes.Equal(d, bytes.Repeat(d[:1], len(d))) {
						t.Error("a half-written block")
					}
					b.RUnlock()
				}
				b.Release()
			}
		})
	}
	wg.Wait()
}

func BenchmarkGetHit(b *testing.B) {
	dev, _ := newDevice(4096, 1000)
	c := cache.New(dev, 4096, 64<<20)
	for n := range uint64(1000) {
		get(b, c, n).Release()
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		n := uint64(0)
		for b.Loop() {
			buf, _ := c.Get(n%1000, blockio.Indirect)
			buf.Release()
			n += 7
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for n := uint64(0); pb.Next(); n += 7 {
				buf, _ := c.Get(n%1000, blockio.Indirect)
				buf.Release()
			}
		})
	})
}

func TestHitAllocatesNothing(t *testing.T) {
	dev, _ := newDevice(4096, 10)
	c := cache.New(dev, 4096, 64<<20)
	check := func([]byte) error { return nil }
	if got := testing.AllocsPerRun(100, func() {
		b, _ := c.GetChecked(5, blockio.Directory, check)
		b.Release()
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// Eviction costs the same however much is cached.
func BenchmarkMiss(b *testing.B) {
	for _, blocks := range []int{1 << 10, 1 << 16} {
		b.Run(fmt.Sprint(blocks), func(b *testing.B) {
			dev, _ := newDevice(1024, 1<<17)
			c := cache.New(dev.Device, 1024, int64(blocks)<<10)
			for n := range uint64(blocks) {
				get(b, c, n).Release()
			}
			n := uint64(blocks)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ := c.Get(n%(1<<17), blockio.Indirect)
				buf.Release()
				n++
			}
		})
	}
}
