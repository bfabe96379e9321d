//go:build linux

package ext2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

// endsAt is a context that ends at the n-th look at it, so that every place where an
// operation can end is met once.
type endsAt struct {
	context.Context
	mu   sync.Mutex
	left int
	done chan struct{}
}

func newEndsAt(n int) *endsAt {
	return &endsAt{Context: context.Background(), left: n, done: make(chan struct{})}
}

func (c *endsAt) Done() <-chan struct{} { return c.done }

func (c *endsAt) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	if c.left == -1 {
		close(c.done)
	}
	if c.left < 0 {
		return context.Canceled
	}
	return nil
}

// wantEnd ends the test unless err is the end of a context, with what was under way.
func wantEnd(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), ": context canceled") || Errno(err) != 4 {
		t.Fatalf("%s: %v (errno %d), want what was under way and EINTR", what, err, Errno(err))
	}
}

// cancelled is an image with what the operations below need.
func cancelled(t *testing.T) *blockiotest.Mem {
	t.Helper()
	m := loadImage(t, ext2test.Options{Size: 12 << 20, BlockSize: 1024, Inodes: 512, InodeSize: 256})
	fs, root := openMem(t, m)
	frag := mustCreate(t, root, "frag", disk.ModeReg)
	for i := range int64(200) { // every second block: freeing it takes several operations
		if _, err := frag.Write(ctx, make([]byte, 1024), i*2048, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	frag.Put()
	dir := mustCreate(t, root, "dir", disk.ModeDir)
	for i := range 100 {
		mustCreate(t, dir, name(i), disk.ModeReg).Put()
	}
	dir.Put()
	big := mustCreate(t, root, "big", disk.ModeReg)
	mustWrite(t, big, 5<<20)
	big.Put()
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	return m.Clone()
}

func openMem(t *testing.T, m *blockiotest.Mem) (*FS, *Inode) {
	t.Helper()
	var timers handTimers
	o := Options{Logger: quiet}
	o.testing.After = timers.after
	fs, err := New(ctx, m, o)
	if err != nil {
		t.Fatal(err)
	}
	return fs, must(fs.Root())(t)
}

// wantWhole ends the test unless e2fsck finds nothing wrong with an image.
func wantWhole(t *testing.T, what string, m *blockiotest.Mem) {
	t.Helper()
	if code, out := fsck(t, m, "-f", "-n"); code != 0 {
		t.Fatalf("%s: e2fsck: %d\n%s", what, code, out)
	}
}

// TestCancel ends operations wherever they look at their context. Each then says so, the
// file system goes on, and is whole.
func TestCancel(t *testing.T) {
	base := cancelled(t)
	size := func(n int64) SetAttr { return SetAttr{Size: &n} }
	mode := uint32(0o600)
	file := CreateOptions{Mode: disk.ModeReg | 0o644}
	for _, op := range []struct {
		name, path string
		least      int // looks at the context
		reads      bool
		run        func(ctx context.Context, in *Inode) error
	}{
		{"read", "big", 2, true, func(ctx context.Context, in *Inode) error {
			_, err := in.Read(ctx, make([]byte, 5<<20), 0)
			return err
		}},
		{"ReaderAt", "big", 1, true, func(ctx context.Context, in *Inode) error {
			_, err := io.Copy(io.Discard, io.NewSectionReader(in.ReaderAt(ctx), 0, 1<<20))
			return err
		}},
		{"write", "frag", 3, false, func(ctx context.Context, in *Inode) error {
			want := ext2test.Content(1, 3<<20)
			n, err := in.Write(ctx, want, 0, WriteOptions{})
			got := make([]byte, n)
			if _, rerr := in.Read(context.Background(), got, 0); rerr != nil || !bytes.Equal(got, want[:n]) {
				t.Errorf("the %d bytes that were written read back otherwise, %v", n, rerr)
			}
			return err
		}},
		{"allocate", "frag", 3, false, func(ctx context.Context, in *Inode) error {
			return in.Fallocate(ctx, 0, 0, 1<<20, WriteOptions{})
		}},
		{"punch", "frag", 3, false, func(ctx context.Context, in *Inode) error {
			return in.Fallocate(ctx, FallocPunchHole|FallocKeepSize, 0, 4<<20, WriteOptions{})
		}},
		{"truncate", "frag", 3, false, func(ctx context.Context, in *Inode) error { return in.SetAttr(ctx, size(0)) }},
		{"chmod", "big", 1, false, func(ctx context.Context, in *Inode) error { return in.SetAttr(ctx, SetAttr{Mode: &mode}) }},
		{"extents", "big", 3, true, func(ctx context.Context, in *Inode) error { _, err := in.Extents(ctx); return err }},
		{"hole", "big", 3, true, func(ctx context.Context, in *Inode) error { _, err := in.SeekHole(ctx, 0); return err }},
		{"data", "frag", 1, true, func(ctx context.Context, in *Inode) error { _, err := in.SeekData(ctx, 30<<10); return err }},
		{"list", "dir", 2, true, func(ctx context.Context, in *Inode) error {
			return in.ReadDir(ctx, 0, func(DirEntry) bool { return true })
		}},
		{"create", "dir", 1, false, func(ctx context.Context, in *Inode) error {
			made, err := in.Create(ctx, "new", file)
			if err == nil {
				made.Put()
			}
			return err
		}},
		{"tmpfile", "dir", 1, false, func(ctx context.Context, in *Inode) error {
			made, err := in.Tmpfile(ctx, file)
			if err == nil {
				made.Put()
			}
			return err
		}},
		{"link", "dir", 1, false, func(ctx context.Context, in *Inode) error {
			big := must(in.fs.InodeByPath("big", true))(t)
			defer big.Put()
			return in.Link(ctx, "again", big, Root)
		}},
		{"unlink", "dir", 1, false, func(ctx context.Context, in *Inode) error { return in.Unlink(ctx, name(3)) }},
		{"rmdir", ".", 1, false, func(ctx context.Context, in *Inode) error {
			if err := in.Rmdir(ctx, "lost+found"); err != nil {
				return err
			}
			made, err := in.Create(context.Background(), "lost+found", CreateOptions{Mode: disk.ModeDir | 0o700})
			if err == nil {
				made.Put()
			}
			return err
		}},
		{"rename", "dir", 1, false, func(ctx context.Context, in *Inode) error {
			return in.Rename(ctx, name(3), in, "moved", 0, Root)
		}},
		{"setxattr", "big", 1, false, func(ctx context.Context, in *Inode) error { return in.Setxattr(ctx, "user.a", []byte("b"), 0, Root) }},
		{"removexattr", "big", 1, false, func(ctx context.Context, in *Inode) error {
			if err := in.Setxattr(context.Background(), "user.a", []byte("b"), 0, Root); err != nil {
				return err
			}
			return in.Removexattr(ctx, "user.a", Root)
		}},
		{"flags", "big", 1, false, func(ctx context.Context, in *Inode) error { return in.SetFlags(ctx, disk.InodeNoDump, Root) }},
		{"generation", "big", 1, false, func(ctx context.Context, in *Inode) error { return in.SetGeneration(ctx, 7) }},
		{"label", "big", 1, false, func(ctx context.Context, in *Inode) error { return in.fs.SetLabel(ctx, "label") }},
		{"fsync", "big", 1, false, func(ctx context.Context, in *Inode) error { return in.Fsync(ctx) }},
		{"sync", "big", 1, false, func(ctx context.Context, in *Inode) error { return in.fs.Sync(ctx) }},
		{"trim", "big", 3, false, func(ctx context.Context, in *Inode) error { _, err := in.fs.Trim(ctx, 0, 12<<20, 0); return err }},
		{"free runs", "big", 2, true, func(ctx context.Context, in *Inode) error {
			return in.fs.FreeRuns(ctx, func(uint64, uint64) bool { return true })
		}},
		{"io/fs: walk", "big", 4, true, func(ctx context.Context, in *Inode) error {
			return iofs.WalkDir(in.fs.FS(ctx), ".", func(_ string, _ iofs.DirEntry, err error) error { return err })
		}},
		{"io/fs: read", "big", 2, true, func(ctx context.Context, in *Inode) error { _, err := iofs.ReadFile(in.fs.FS(ctx), "big"); return err }},
	} {
		t.Run(op.name, func(t *testing.T) {
			for n, err := 0, error(context.Canceled); err != nil; n++ {
				m := base.Clone()
				fs, root := openMem(t, m)
				in := must(fs.InodeByPath(op.path, true))(t)
				mustCreate(t, root, "before", disk.ModeReg).Put()
				what := fmt.Sprintf("ended at look %d", n)
				err = op.run(newEndsAt(n), in)
				for ; op.reads && err != nil; n++ { // nothing changes by that
					wantEnd(t, what, err)
					what = fmt.Sprintf("ended at look %d", n+1)
					err = op.run(newEndsAt(n+1), in)
				}
				if err != nil {
					wantEnd(t, what, err)
				} else if n < op.least {
					t.Errorf("it looks %d times, want %d at least", n, op.least)
				}
				after := mustCreate(t, root, "after", disk.ModeReg)
				mustWrite(t, after, 100)
				after.Put()
				if in.IsReg() { // it can be changed still
					if n, err := in.Write(ctx, []byte("x"), 9<<20, WriteOptions{}); n != 1 || err != nil {
						t.Fatalf("%s, then writing: %d, %v", what, n, err)
					}
				}
				in.Put()
				root.Put()
				if err := fs.Close(); err != nil {
					t.Fatalf("%s, then closing: %v", what, err)
				}
				wantWhole(t, what, m.Clone())
			}
		})
	}
}

// TestCancelOpen ends the opening of an image that has a journal to be replayed and a file to
// be deleted. The next one does the rest, and so does e2fsck.
func TestCancelOpen(t *testing.T) {
	m := cancelled(t)
	fs, root := openMem(t, m)
	gone := must(root.Lookup("frag"))(t)
	if err := errors.Join(root.Unlink(ctx, "frag"), fs.Sync(ctx)); err != nil {
		t.Fatal(err)
	}
	crashed := m.Clone()
	gone.Put()
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for n, end := 0, false; !end; n++ {
		m, what := crashed.Clone(), fmt.Sprintf("ended at look %d", n)
		fs, err := New(newEndsAt(n), m, Options{Logger: quiet})
		if end = err == nil; end {
			if err := fs.Close(); err != nil {
				t.Fatal(err)
			}
			wantWhole(t, what, m.Clone())
			break
		}
		wantEnd(t, what, err)
		said[strings.Split(err.Error(), " inode")[0]] = true
		if strings.Contains(err.Error(), "finishing") { // as complete as a clean unmount leaves it
			sb, err := ReadSuperblock(m, 0)
			if err != nil || sb.HasIncompat(disk.IncompatRecover) || sb.HasCompat(disk.CompatHasJournal) || sb.State&disk.StateValid == 0 {
				t.Errorf("%s: %v, features %#x %#x, state %#x", what, err, sb.FeatureCompat, sb.FeatureIncompat, sb.State)
			}
		}
		if code, out := fsckInPlace(t, m.Clone(), "-p"); code > 1 {
			t.Fatalf("%s: e2fsck -p: %d\n%s", what, code, out)
		}
		fs, root := openMem(t, m)
		if _, err := root.Lookup("frag"); !errors.Is(err, ErrNotExist) {
			t.Errorf("%s: the deleted file: %v", what, err)
		}
		root.Put()
		if err := fs.Close(); err != nil {
			t.Fatal(err)
		}
		wantWhole(t, what, m.Clone())
	}
	for _, want := range []string{"opening the file system: replaying the journal: context canceled",
		"opening the file system: finishing the deletion or truncation of"} {
		if !said[want] {
			t.Errorf("it never ended with %q, but with %v", want, said)
		}
	}
}

// heldWriter holds up what is written until it may go on.
type heldWriter struct {
	cache.Writer
	hold  chan struct{}
	begun chan struct{}
}

func (w heldWriter) Write(s *cache.Snapshot) error {
	select {
	case w.begun <- struct{}{}:
	default:
	}
	<-w.hold
	return w.Writer.Write(s)
}

// TestCancelWait: who waits for the disk, or for room in the running epoch, gives up when his
// context ends. What he waited for comes all the same.
func TestCancelWait(t *testing.T) {
	m := loadImage(t, small)
	w := heldWriter{hold: make(chan struct{}), begun: make(chan struct{}, 1)}
	var timers handTimers
	o := Options{Logger: quiet}
	o.testing = testhook.Hooks{After: timers.after, MaxDirty: nameCredits + 4}
	held := false
	o.testing.Wrap = func(to cache.Writer) cache.Writer { w.Writer = to; return &gateWriter{w: &w, on: &held, Writer: to} }
	fs, err := New(ctx, m, o)
	if err != nil {
		t.Fatal(err)
	}
	root := must(fs.Root())(t)
	file := mustCreate(t, root, "file", disk.ModeReg)
	held = true // no write is under way: nobody asked for one

	end, cancel := context.WithCancel(ctx)
	result := make(chan error)
	go func() { result <- file.Fsync(end) }()
	<-w.begun
	cancel()
	wantEnd(t, "fsync", <-result)

	// The next epoch fills up while the one before cannot be written.
	end, cancel = context.WithCancel(ctx)
	waits := make(chan struct{}, 1)
	fs.OnWait(func() {
		select {
		case waits <- struct{}{}:
		default:
		}
	})
	go func() {
		for i := 0; ; i++ {
			in, err := root.Create(end, name(i), CreateOptions{Mode: disk.ModeReg | 0o644})
			if err != nil {
				result <- err
				return
			}
			in.Put()
		}
	}()
	select {
	case <-waits:
	case err := <-result:
		t.Fatalf("creating never waited: %v", err)
	}
	cancel()
	wantEnd(t, "create", <-result)

	close(w.hold)
	if err := file.Fsync(ctx); err != nil {
		t.Fatal(err)
	}
	file.Put()
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, "after all", m.Clone())
}

// gateWriter is a Writer that is held up as soon as it is told.
type gateWriter struct {
	cache.Writer
	w  *heldWriter
	on *bool
}

func (g *gateWriter) Write(s *cache.Snapshot) error {
	if *g.on {
		return g.w.Write(s)
	}
	return g.Writer.Write(s)
}

// TestContextCostsNothing: reads and overwrites of a block allocate no memory for the sake of
// their context, be it one that can end or not.
func TestContextCostsNothing(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 4 << 20, BlockSize: 4096}, Options{Atime: NoAtime})
	defer w.close()
	f := w.create("f", disk.ModeReg|0o644)
	defer f.Put()
	p := make([]byte, 4096)
	w.write(f, p, 0)
	ending, cancel := context.WithCancel(ctx)
	defer cancel()
	most := 0.0
	if raceEnabled {
		most = 3 // sync.Pool then forgets what it was given now and then
	}
	for _, ctx := range []context.Context{ctx, ending} {
		read := testing.AllocsPerRun(100, func() { _, _ = f.Read(ctx, p, 0) })
		write := testing.AllocsPerRun(100, func() { _, _ = f.Write(ctx, p, 0, WriteOptions{}) })
		if read > most || write > most {
			t.Errorf("%v: %v allocations for a read, %v for a write", ctx, read, write)
		}
	}
}
