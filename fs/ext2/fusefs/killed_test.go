//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// allocated is the environment variable that has the test program allocate the file that it
// names, and nothing else.
const allocated = "EXT2FUSE_TEST_ALLOCATE"

// allocateBytes is how much it allocates.
const allocateBytes = 3 << 30

func TestMain(m *testing.M) {
	path := os.Getenv(allocated)
	if path == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	signal.Notify(make(chan os.Signal, 1), unix.SIGUSR1) // a signal that ends nothing
	f, err := os.Create(path)
	if err == nil {
		fmt.Println(unix.Gettid())
		err = unix.Fallocate(int(f.Fd()), 0, 0, allocateBytes)
	}
	fmt.Println(err)
}

// stepDisk is a device on which file content is written when it is told so only, and then not
// really: it would be zeros in place of the zeros of a sparse file.
type stepDisk struct {
	blockio.Device
	step chan struct{}
}

func (d stepDisk) Submit(bios ...*blockio.Bio) {
	for _, b := range bios {
		if b.For == blockio.Data && b.Op == blockio.Write {
			<-d.step
			b.Complete(b.Bytes(), nil)
		} else {
			d.Device.Submit(b)
		}
	}
}

// TestKilledUnseen: a thread whose state cannot be read is there all the same; one that has
// ended is gone.
func TestKilledUnseen(t *testing.T) {
	child := exec.Command("cat")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(child.Process.Pid)
	// No more files can be opened.
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, unseen := os.Open("/proc/self/status")
	there := !fusefs.Killed(pid)
	in.Close()
	waited := child.Wait()
	gone := fusefs.Killed(pid)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if unseen == nil || waited != nil || !there || !gone {
		t.Errorf("/proc: %v, child: %v; there: %v, gone afterwards: %v", unseen, waited, there, gone)
	}
}

// TestKilled: allocating a large file goes on when who asked for it gets a signal, and ends
// when he is killed. The file is as long as was allocated, and the file system whole.
func TestKilled(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Size: 4 << 30, BlockSize: 4096})
	step := make(chan struct{})
	var fs *ext2.FS
	var size int64
	t.Run("mounted", func(t *testing.T) {
		m := mountWith(t, img, func(o ext2.Options) (_ *ext2.FS, err error) {
			dev, err := blockio.Open(context.Background(), img, blockio.OpenOptions{})
			if err == nil {
				fs, err = ext2.New(context.Background(), stepDisk{dev, step}, o)
			}
			return fs, err
		}, func(o *ext2.Options, _ *fusefs.Options) { o.ReadOnly = false })

		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), allocated+"="+m.path("large"))
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		defer func() { // also when the test failed: the unmount waits for it
			_ = child.Process.Kill()
			for {
				select {
				case step <- struct{}{}:
				case <-ended:
					_ = child.Wait()
					return
				}
			}
		}()
		lines := bufio.NewScanner(out)
		lines.Scan()
		tid := 0
		if _, err := fmt.Sscan(lines.Text(), &tid); err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		last := make(chan string, 1)
		go func() { // what the child says when the allocation is over; empty when it was killed
			lines.Scan()
			last <- lines.Text()
			close(ended)
		}()
		advance := func(n int) {
			t.Helper()
			late := time.After(time.Minute)
			for range n {
				select {
				case step <- struct{}{}:
				case <-ended:
					t.Fatalf("the allocation is over: %s", <-last)
				case <-late:
					t.Fatal("nothing is written any more")
				}
			}
		}
		advance(10)
		if err := unix.Tgkill(child.Process.Pid, tid, unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		m.messages.await(t, "INTERRUPT")
		advance(300)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		slow := time.NewTicker(time.Millisecond) // it has time to notice
		defer slow.Stop()
		for steps := 0; ; {
			select {
			case <-slow.C:
				select {
				case step <- struct{}{}:
					steps++
				case <-ended:
				}
				continue
			case <-ended:
			}
			if text := <-last; text != "" {
				t.Errorf("the child was killed, and says %q", text)
			}
			t.Logf("%d writes after the kill", steps)
			break
		}
		in, err := fs.InodeByPath("large", false)
		if err != nil {
			t.Fatal(err)
		}
		size = in.Attr().Size
		in.Put()
	})
	if size == 0 || size >= allocateBytes {
		t.Errorf("the file has %d bytes, want some of the %d, not all", size, int64(allocateBytes))
	}
	ext2test.Fsck(t, img)
}

// await waits for a message of a kind.
func (c *counter) await(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		n := c.n[name]
		c.mu.Unlock()
		if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s came", name)
		}
	}
}
