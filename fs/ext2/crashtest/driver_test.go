//go:build linux

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/check"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

var quiet = slog.New(slog.DiscardHandler)

// op is an operation of a workload and where it stands in the device's log: what it did is
// in the events from begin on. What was done before a durable one is safe once the log has
// end events.
type op struct {
	name       string
	begin, end int
	durable    bool
	touched    *object // what an operation that may stop half-way changes; nil: it is all or nothing
	digest     uint64  // of the tree after it
}

// driver carries out a workload on a file system and on the model at once.
type driver struct {
	t    testing.TB
	rnd  *rand.Rand
	dev  *blockiotest.Recorder
	top  blockio.Device // what is mounted
	opts ext2.Options

	mu     sync.Mutex
	timers []*func()

	fs     *ext2.FS
	root   *object
	ops    []op
	ids    int
	writes int
	open   []*handle
	scale  int // of loops, see Workload
}

// handle is a file that is held open.
type handle struct {
	in  *ext2.Inode
	obj *object
}

// keepOpen is a device that outlives the file system on it.
type keepOpen struct{ blockio.Device }

func (k keepOpen) Close() error           { return nil }
func (k keepOpen) Unwrap() blockio.Device { return k.Device }

func newDriver(t testing.TB, s *setup) *driver {
	d := &driver{t: t, rnd: rand.New(rand.NewPCG(s.seed, 4)), dev: blockiotest.NewRecorder(s.begin(t)), scale: max(s.scale, 1)}
	d.top = keepOpen{d.dev}
	if s.device != nil {
		d.top = keepOpen{s.device(d.dev)}
	}
	hooks := s.hooks
	hooks.After = d.after
	hooks.Wrap = func(w cache.Writer) cache.Writer {
		if s.hooks.Wrap != nil {
			w = s.hooks.Wrap(w)
		}
		return promised{w, d}
	}
	d.opts = s.opts
	d.opts.Logger = quiet
	testhook.Set(&d.opts, hooks)
	if s.second {
		d.ids = 1000 // what the first life wrote is not to be taken for this one's
	}
	d.begin()
	return d
}

// after keeps timers for tick: they never come by themselves. Some are set by the goroutine
// that writes checkpoints.
func (d *driver) after(_ time.Duration, f func()) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timers = append(d.timers, &f)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.timers = slices.DeleteFunc(d.timers, func(t *func()) bool { return t == &f })
	}
}

func (d *driver) now() int { return len(d.ops) }

// begin has the model begin with what is on the image, and mounts it.
func (d *driver) begin() {
	f, err := replay(d.dev.Base())
	if err != nil {
		d.t.Fatal(err)
	}
	objects := map[uint32]*object{}
	for _, n := range f.byPath {
		d.ids++
		objects[n.Ino] = d.adopt(f, n)
	}
	for _, n := range f.byPath {
		for _, p := range n.Paths {
			if p != "/" {
				objects[f.byPath[path.Dir(p)].Ino].change(0, func(v *version) { v.setKid(path.Base(p), objects[n.Ino]) })
			}
		}
	}
	d.root = objects[disk.RootIno]
	d.ops = []op{{name: "start", durable: true, digest: d.root.treeAt(0).digest()}}
	if d.ops[0].digest != f.digest() {
		d.t.Fatal("the model does not begin with what is there")
	}
	d.mount()
}

// adopt makes an object of what was found, its content included.
func (d *driver) adopt(f *found, n *check.Node) *object {
	o, x, bs := &object{id: d.ids}, f.facts[n.Paths[0]], int64(f.Super.BlockSize())
	o.change(0, func(v *version) {
		v.mode, v.uid, v.size, v.target, v.xattrs = x.mode, x.uid, x.size, x.target, x.xattrs
		if !n.Inode.IsReg() {
			return
		}
		for _, m := range n.Content {
			at := int64(m.Logical) * bs
			if part := min(bs, v.size-at); part > 0 {
				v.put(f.image.View(int64(m.Block)*bs, bs)[:part], at, part)
			}
		}
	})
	return o
}

func (d *driver) mount() {
	d.do("mount", nil, func() (err error) {
		d.fs, err = ext2.New(ctx, d.top, d.opts)
		return err
	})
}

// unmount ends the use of the file system: everything is in its place afterwards.
func (d *driver) unmount() {
	for len(d.open) > 0 {
		d.release(0)
	}
	d.sync("unmount", func() error {
		err := d.fs.Close()
		d.fs, d.timers = nil, nil
		return err
	})
}

func (d *driver) remount() { d.unmount(); d.mount() }

// do runs an operation. f changes the file system and then the model, unless it fails.
func (d *driver) do(name string, touched *object, f func() error) bool {
	o := op{name: name, begin: len(d.dev.Log()), touched: touched}
	err := f()
	if err != nil {
		o.name += ": " + err.Error()
		if !expected(err) {
			d.t.Fatalf("%s: unexpected", o.name)
		}
	}
	if d.fs != nil {
		testhook.Quiesce(d.fs)
	}
	o.end = len(d.dev.Log())
	o.digest = d.root.treeAt(d.now()).digest()
	d.ops = append(d.ops, o)
	return err == nil
}

// sync is do for an operation behind which all that came before is durable.
func (d *driver) sync(name string, f func() error) {
	if !d.do(name, nil, f) {
		d.t.Fatalf("%s failed", name)
	}
	d.ops[len(d.ops)-1].durable = true
}

// expected are the errors that operations of a workload may meet.
func expected(err error) bool {
	for _, e := range []error{ext2.ErrExist, ext2.ErrNotExist, ext2.ErrNoSpace, ext2.ErrNotDir, ext2.ErrIsDir, ext2.ErrNotEmpty,
		ext2.ErrInvalid, ext2.ErrNoAttr, ext2.ErrTooManyLinks, ext2.ErrPerm} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// tick lets the time come of something that the background has to do, and waits for its
// end: a checkpoint, a durable one, or that blocks leave the journal for their places.
func (d *driver) tick() {
	d.mu.Lock()
	if len(d.timers) == 0 {
		d.mu.Unlock()
		return
	}
	i := d.rnd.IntN(len(d.timers))
	f := d.timers[i]
	d.timers = slices.Delete(d.timers, i, i+1)
	d.mu.Unlock()
	d.do("tick", nil, func() error { (*f)(); return nil })
}

// lookup is the object of a path in the model, and nil when there is none.
func (d *driver) lookup(p string) *object {
	o := d.root
	for _, name := range strings.Split(strings.Trim(p, "/"), "/") {
		if name == "" {
			continue
		}
		if o = o.now().kids[name]; o == nil {
			return nil
		}
	}
	return o
}

// with runs f on the inode of a path.
func (d *driver) with(p string, f func(in *ext2.Inode) error) error {
	in, err := d.fs.Root()
	if err != nil {
		return err
	}
	for _, name := range strings.Split(strings.Trim(p, "/"), "/") {
		if name == "" {
			continue
		}
		next, err := in.Lookup(name)
		in.Put()
		if err != nil {
			return err
		}
		in = next
	}
	defer in.Put()
	return f(in)
}

// inDir runs f on the directory of a path, and tells the model's.
func (d *driver) inDir(p string, f func(dir *ext2.Inode, obj *object, name string) error) error {
	obj := d.lookup(path.Dir(p))
	return d.with(path.Dir(p), func(dir *ext2.Inode) error { return f(dir, obj, path.Base(p)) })
}

// noteAttr takes over what the file system says of the object's attributes, its size
// excepted: that they are right is for other tests to see.
func (d *driver) noteAttr(o *object, in *ext2.Inode) {
	a := in.Attr()
	o.change(d.now(), func(v *version) {
		v.mode, v.uid, v.xattrs = a.Mode, a.UID, nil
		if in.IsSymlink() {
			v.size = a.Size
			v.target, _ = in.Readlink()
		}
		names, _ := in.Listxattr()
		for _, name := range names {
			if value, err := in.Getxattr(name); err == nil {
				if v.xattrs == nil {
					v.xattrs = map[string]string{}
				}
				v.xattrs[name] = string(value)
			}
		}
	})
}

// create makes an object of any type.
func (d *driver) create(p string, mode uint32, target string) bool {
	return d.do(fmt.Sprintf("create %s %o", p, mode), nil, func() error {
		return d.inDir(p, func(dir *ext2.Inode, parent *object, name string) error {
			in, err := dir.Create(ctx, name, ext2.CreateOptions{Mode: mode, Target: target, Major: 8, Minor: 1})
			if err != nil {
				return err
			}
			defer in.Put()
			d.ids++
			o := &object{id: d.ids}
			d.noteAttr(o, in)
			parent.change(d.now(), func(v *version) { v.setKid(name, o) })
			return nil
		})
	})
}

func (d *driver) file(p string) bool  { return d.create(p, disk.ModeReg|0o644, "") }
func (d *driver) mkdir(p string) bool { return d.create(p, disk.ModeDir|0o755, "") }

// writeTo writes n bytes that nobody wrote before.
func (d *driver) writeTo(o *object, off, n int64, write func(p []byte, off int64) (int, error)) bool {
	d.writes++
	p := content(o.id, d.writes, off, n)
	return d.do(fmt.Sprintf("write %d+%d to object %d", off, n, o.id), o, func() error {
		n, err := write(p, off)
		if n > 0 {
			o.change(d.now(), func(v *version) {
				v.put(p[:n], off, int64(n))
				v.size = max(v.size, off+int64(n))
			})
		}
		return err
	})
}

func (d *driver) write(p string, off, n int64) bool {
	o := d.lookup(p)
	if o == nil {
		return false
	}
	return d.writeTo(o, off, n, func(b []byte, off int64) (n int, err error) {
		err = d.with(p, func(in *ext2.Inode) error {
			n, err = in.Write(ctx, b, off, ext2.WriteOptions{})
			return err
		})
		return n, err
	})
}

func (d *driver) truncate(p string, size int64) bool {
	o := d.lookup(p)
	if o == nil {
		return false
	}
	return d.do(fmt.Sprintf("truncate %s (object %d) to %d", p, o.id, size), o, func() error {
		err := d.with(p, func(in *ext2.Inode) error { return in.SetAttr(ctx, ext2.SetAttr{Size: &size}) })
		if err == nil {
			o.change(d.now(), func(v *version) { v.resize(size) })
		}
		return err
	})
}

// fallocate fills, zeroes or punches; size is only changed by the first two.
func (d *driver) fallocate(p string, mode uint32, off, n int64) bool {
	o := d.lookup(p)
	if o == nil {
		return false
	}
	return d.do(fmt.Sprintf("fallocate %x %s (object %d) %d+%d", mode, p, o.id, off, n), o, func() error {
		return d.with(p, func(in *ext2.Inode) error {
			err := in.Fallocate(ctx, mode, off, n, ext2.WriteOptions{})
			size := in.Attr().Size
			o.change(d.now(), func(v *version) {
				if end := min(off+n, max(v.size, size)); mode&(ext2.FallocPunchHole|ext2.FallocZeroRange) != 0 && end > off && (err == nil || errors.Is(err, ext2.ErrNoSpace)) {
					v.put(nil, off, end-off)
				}
				v.size = size
			})
			return err
		})
	})
}

func (d *driver) rename(from, to string, flags uint32) bool {
	return d.do(fmt.Sprintf("rename %s %s %d", from, to, flags), nil, func() error {
		return d.inDir(from, func(dir *ext2.Inode, a *object, oldName string) error {
			return d.inDir(to, func(newDir *ext2.Inode, b *object, newName string) error {
				if err := dir.Rename(ctx, oldName, newDir, newName, flags, ext2.Root); err != nil {
					return err
				}
				moved, there := a.now().kids[oldName], b.now().kids[newName]
				if moved == there {
					return nil // two names of one file: nothing changes
				}
				if flags&ext2.RenameExchange == 0 {
					there = nil
				}
				a.change(d.now(), func(v *version) { v.setKid(oldName, there) })
				b.change(d.now(), func(v *version) { v.setKid(newName, moved) })
				return nil
			})
		})
	})
}

func (d *driver) link(old, p string) bool {
	o := d.lookup(old)
	return d.do(fmt.Sprintf("link %s %s", old, p), nil, func() error {
		return d.with(old, func(in *ext2.Inode) error { return d.linkTo(in, o, p) })
	})
}

func (d *driver) linkTo(in *ext2.Inode, o *object, p string) error {
	return d.inDir(p, func(dir *ext2.Inode, parent *object, name string) error {
		err := dir.Link(ctx, name, in, ext2.Root)
		if err == nil {
			parent.change(d.now(), func(v *version) { v.setKid(name, o) })
		}
		return err
	})
}

func (d *driver) remove(what, p string, f func(dir *ext2.Inode, ctx context.Context, name string) error) bool {
	return d.do(what+" "+p, nil, func() error {
		return d.inDir(p, func(dir *ext2.Inode, parent *object, name string) error {
			err := f(dir, ctx, name)
			if err == nil {
				parent.change(d.now(), func(v *version) { v.setKid(name, nil) })
			}
			return err
		})
	})
}

func (d *driver) unlink(p string) bool { return d.remove("unlink", p, (*ext2.Inode).Unlink) }
func (d *driver) rmdir(p string) bool  { return d.remove("rmdir", p, (*ext2.Inode).Rmdir) }

// attr changes attributes of what stands under a path.
func (d *driver) attr(what, p string, f func(in *ext2.Inode) error) bool {
	o := d.lookup(p)
	return d.do(what+" "+p, nil, func() error {
		return d.with(p, func(in *ext2.Inode) error {
			err := f(in)
			if err == nil {
				d.noteAttr(o, in)
			}
			return err
		})
	})
}

func (d *driver) setxattr(p, name, value string) bool {
	return d.attr(fmt.Sprintf("setxattr %s (%d)", name, len(value)), p, func(in *ext2.Inode) error {
		return in.Setxattr(ctx, name, []byte(value), 0, ext2.Root)
	})
}

func (d *driver) removexattr(p, name string) bool {
	return d.attr("removexattr "+name, p, func(in *ext2.Inode) error { return in.Removexattr(ctx, name, ext2.Root) })
}

func (d *driver) chmod(p string, mode uint32) bool {
	return d.attr(fmt.Sprintf("chmod %o", mode), p, func(in *ext2.Inode) error { return in.SetAttr(ctx, ext2.SetAttr{Mode: &mode}) })
}

// fsync makes a file durable; what was done before to others follows from it here, as it
// does in ext3.
func (d *driver) fsync(p string) {
	if d.lookup(p) == nil {
		return
	}
	d.sync("fsync "+p, func() error { return d.with(p, func(in *ext2.Inode) error { return in.Fsync(ctx) }) })
}

func (d *driver) syncAll() { d.sync("sync", func() error { return d.fs.Sync(ctx) }) }

// hold opens the file under a path.
func (d *driver) hold(p string) *handle {
	o := d.lookup(p)
	var h *handle
	d.do("open "+p, nil, func() error {
		return d.with(p, func(in *ext2.Inode) error {
			in.Ref()
			h = &handle{in, o}
			d.open = append(d.open, h)
			return nil
		})
	})
	return h
}

// tmpfile makes a file without a name.
func (d *driver) tmpfile(dir string) *handle {
	var h *handle
	d.do("tmpfile", nil, func() error {
		return d.with(dir, func(in *ext2.Inode) error {
			f, err := in.Tmpfile(ctx, ext2.CreateOptions{Mode: disk.ModeReg | 0o600})
			if err != nil {
				return err
			}
			d.ids++
			h = &handle{f, &object{id: d.ids}}
			d.open = append(d.open, h)
			d.noteAttr(h.obj, f)
			return nil
		})
	})
	return h
}

func (d *driver) writeHandle(h *handle, off, n int64) bool {
	return d.writeTo(h.obj, off, n, func(p []byte, off int64) (int, error) { return h.in.Write(ctx, p, off, ext2.WriteOptions{}) })
}

func (d *driver) linkHandle(h *handle, p string) bool {
	return d.do("link an open file to "+p, nil, func() error { return d.linkTo(h.in, h.obj, p) })
}

// release closes the i-th open file.
func (d *driver) release(i int) {
	h := d.open[i]
	d.open = slices.Delete(d.open, i, i+1)
	d.do(fmt.Sprint("close object ", h.obj.id), nil, func() error { h.in.Put(); return nil })
}
