//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// slowDisk is a device whose reads of file content wait until it is released.
type slowDisk struct {
	*blockiotest.Mem
	tell    atomic.Pointer[func()]
	slow    atomic.Bool
	waiting atomic.Int64
	release chan struct{}
}

func (d *slowDisk) Submit(bios ...*blockio.Bio) {
	for _, b := range bios {
		if b.For == blockio.Data && d.slow.Load() {
			if tell := d.tell.Load(); tell != nil {
				(*tell)()
			}
			d.waiting.Add(1)
			<-d.release
		}
		d.Mem.Submit(b)
	}
}

// tellingDisk is a slowDisk that tells before it waits.
type tellingDisk struct{ *slowDisk }

func (d tellingDisk) OnWait(tell func()) { d.tell.Store(&tell) }

// While some requests wait for the disk, others are answered, whether the disk tells
// that it waits or not.
func TestSlowDisk(t *testing.T) {
	image, err := os.ReadFile(fileTree(t, 20))
	if err != nil {
		t.Fatal(err)
	}
	for _, telling := range []bool{true, false} {
		disk := &slowDisk{Mem: blockiotest.MemOf(image), release: make(chan struct{})}
		m := mountWith(t, "slow", func(o ext2.Options) (*ext2.FS, error) {
			if telling {
				return ext2.New(context.Background(), tellingDisk{disk}, o)
			}
			return ext2.New(context.Background(), disk, o)
		})
		disk.slow.Store(true)
		const readers = 5
		results := make(chan error, readers)
		big := ext2test.Content(1, 1<<20)
		for i := range readers {
			go func() {
				fd, err := unix.Open(m.path("big"), unix.O_RDONLY, 0)
				if err != nil {
					results <- err
					return
				}
				buf := make([]byte, 100)
				if _, err = unix.Pread(fd, buf, int64(i)*200<<10); err == nil && string(buf) != string(big[i*200<<10:][:100]) {
					err = unix.EBADMSG
				}
				unix.Close(fd) // before the test ends and unmounts
				results <- err
			}()
		}
		deadline := time.Now().Add(20 * time.Second)
		for disk.waiting.Load() < readers { // each of them is on its own
			if time.Now().After(deadline) {
				t.Fatalf("telling %v: %d requests wait for the disk, want %d", telling, disk.waiting.Load(), readers)
			}
			time.Sleep(time.Millisecond)
		}
		answered := make(chan error, 1)
		go func() {
			names, err := os.ReadDir(m.path("dir"))
			if err == nil && len(names) != 20 {
				err = unix.EBADMSG
			}
			answered <- err
		}()
		select {
		case err := <-answered:
			if err != nil {
				t.Errorf("telling %v: listing: %v", telling, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("telling %v: a listing waits for reads of other files", telling)
		}
		disk.slow.Store(false)
		close(disk.release)
		for range readers {
			if err := <-results; err != nil {
				t.Errorf("telling %v: read: %v", telling, err)
			}
		}
	}
}
