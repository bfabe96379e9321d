//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/check"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test/hostile"
	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

// faultUser works in a file system whose device fails, and takes note of what it is told.
type faultUser struct {
	fs      *FS
	root    *Inode
	errs    []error           // all it was told
	wrong   []string          // what no failure is an excuse for
	promise map[string]uint64 // content of the files that fsync called durable, by path
}

func (u *faultUser) told(what string, err error) bool {
	if err != nil {
		u.errs = append(u.errs, fmt.Errorf("%s: %w", what, err))
	}
	return err == nil
}

// with calls f with the inode of a path.
func (u *faultUser) with(path string, f func(in *Inode)) {
	in, err := u.fs.InodeByPath(path, false)
	if u.told(path, err) {
		f(in)
		in.Put()
	}
}

// file makes a file of n bytes and makes it durable.
func (u *faultUser) file(dir *Inode, where, name string, n int) {
	in, err := dir.Create(ctx, name, CreateOptions{Mode: disk.ModeReg | 0o644})
	if !u.told("create", err) {
		return
	}
	defer in.Put()
	p := bytes.Repeat([]byte(name+" "), n)[:n]
	_, err = in.Write(ctx, p, 0, WriteOptions{})
	written := u.told("write", err)
	if u.told("fsync", in.Fsync(ctx)) && written {
		u.promise[where+name] = sum(p)
	}
}

func sum(p []byte) uint64 {
	h := fnv.New64a()
	h.Write(p)
	return h.Sum64()
}

// faultWork are the workloads; each begins with a mount and ends with an unmount.
var faultWork = []struct {
	name string
	do   func(u *faultUser)
}{
	{"create", func(u *faultUser) {
		dir, err := u.root.Create(ctx, "dir", CreateOptions{Mode: disk.ModeDir | 0o755})
		if !u.told("mkdir", err) {
			return
		}
		defer dir.Put()
		for i := range 4 {
			u.file(dir, "dir/", fmt.Sprint("file-", i), 900*i)
		}
	}},
	{"large", func(u *faultUser) {
		in, err := u.root.Create(ctx, "large", CreateOptions{Mode: disk.ModeReg | 0o644})
		if !u.told("create", err) {
			return
		}
		defer in.Put()
		p := bytes.Repeat([]byte("large"), 6_000)
		for i := range 6 {
			_, err := in.Write(ctx, p, int64(i*len(p)), WriteOptions{})
			u.told("write", err)
		}
		u.told("fsync", in.Fsync(ctx))
		_, err = in.Write(ctx, p[:3000], 100_001, WriteOptions{})
		u.told("overwrite", err)
		u.told("fsync", in.Fsync(ctx))
	}},
	{"delete", func(u *faultUser) {
		u.with("indexed", func(dir *Inode) {
			for i := range 60 {
				u.told("unlink", dir.Unlink(ctx, fmt.Sprint("a-name-of-some-length-", i+1)))
			}
		})
		u.told("rmdir", u.root.Rmdir(ctx, "indexed"))
		u.with("a", func(dir *Inode) { u.told("unlink", dir.Unlink(ctx, "plain")) })
		u.told("sync", u.fs.Sync(ctx))
	}},
	{"rename", func(u *faultUser) {
		u.file(u.root, "", "new", 2000)
		u.with("a", func(dir *Inode) {
			u.told("rename", u.root.Rename(ctx, "new", dir, "plain", 0, Root))
			delete(u.promise, "new")
			u.told("rename", dir.Rename(ctx, "hello", u.root, "out", 0, Root))
		})
		u.told("sync", u.fs.Sync(ctx))
		u.told("rename", u.root.Rename(ctx, "indexed", u.root, "renamed", 0, Root))
	}},
	{"truncate", func(u *faultUser) {
		u.with("a/plain", func(in *Inode) {
			for _, size := range []int64{30_001, 500, 100_000, 0} {
				u.told("truncate", in.SetAttr(ctx, SetAttr{Size: &size}))
			}
			u.told("fsync", in.Fsync(ctx))
			u.told("fallocate", in.Fallocate(ctx, 0, 0, 50_000, WriteOptions{}))
			u.told("punch", in.Fallocate(ctx, FallocPunchHole|FallocKeepSize, 3000, 20_000, WriteOptions{}))
		})
	}},
	{"attributes", func(u *faultUser) {
		for _, path := range []string{"a/plain", "a/hello", "indexed"} {
			u.with(path, func(in *Inode) {
				u.told("setxattr", in.Setxattr(ctx, "user.big", bytes.Repeat([]byte("v"), 150), 0, Root))
				mode := uint32(0o600)
				u.told("chmod", in.SetAttr(ctx, SetAttr{Mode: &mode}))
				u.told("fsync", in.Fsync(ctx))
				u.told("removexattr", in.Removexattr(ctx, "user.big", Root))
			})
		}
	}},
	{"orphan", func(u *faultUser) {
		in, err := u.root.Tmpfile(ctx, CreateOptions{Mode: disk.ModeReg | 0o600})
		if !u.told("tmpfile", err) {
			return
		}
		_, err = in.Write(ctx, make([]byte, 60_000), 0, WriteOptions{})
		u.told("write", err)
		u.with("a/plain", func(open *Inode) {
			u.with("a", func(dir *Inode) { u.told("unlink", dir.Unlink(ctx, "plain")) })
			u.told("sync", u.fs.Sync(ctx))
		})
		in.Put()
	}},
	{"names", func(u *faultUser) {
		u.with("a", func(a *Inode) {
			u.with("a/b", func(b *Inode) {
				open := make([]*Inode, 3) // the list of orphans has neighbours
				for i := range open {
					in, err := a.Tmpfile(ctx, CreateOptions{Mode: disk.ModeReg | 0o600})
					if u.told("tmpfile", err) {
						open[i] = in
					}
				}
				if in := open[1]; in != nil {
					u.told("link", a.Link(ctx, "linked", in, Root))
					u.told("link", b.Link(ctx, "linked-again", in, Root))
				}
				for _, in := range open {
					if in != nil {
						in.Put()
					}
				}
				target := string(bytes.Repeat([]byte("long/"), 40))
				in, err := b.Create(ctx, "symlink", CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: target})
				if u.told("symlink", err) {
					in.Put()
				}
				u.told("rename", a.Rename(ctx, "plain", b, "moved", RenameWhiteout, Root))
				u.told("exchange", a.Rename(ctx, "hello", u.root, "indexed", RenameExchange, Root))
				u.told("rename", a.Rename(ctx, "hello", b, "directory", 0, Root))
			})
			u.told("unlink", a.Unlink(ctx, "linked"))
		})
		u.told("sync", u.fs.Sync(ctx))
		u.with("a/b/directory", func(dir *Inode) {
			for i := range 20 { // leaves of an htree are split by names that change
				u.told("rename", dir.Rename(ctx, fmt.Sprint("a-name-of-some-length-", i+1), dir, fmt.Sprint("a-name-that-is-longer-than-it-was-before-", i), 0, Root))
			}
		})
	}},
	{"index", func(u *faultUser) {
		for i := range 40 {
			u.with("indexed", func(dir *Inode) {
				u.told("link", func() error {
					in, err := dir.Create(ctx, fmt.Sprint("another-long-name-for-the-index-", i), CreateOptions{Mode: disk.ModeFIFO | 0o644})
					if err == nil {
						in.Put()
					}
					return err
				}())
			})
		}
		u.told("sync", u.fs.Sync(ctx))
	}},
}

// faultRun carries out a workload on a copy of the image with one rule for failures.
type faultRun struct {
	*faultUser
	dev   *blockiotest.Mem
	fault *blockiotest.Fault
	log   bytes.Buffer
}

func runFaults(im *hostile.Image, do func(u *faultUser), cache int64, rule *blockiotest.Rule, discard bool) *faultRun {
	defer hangs(fmt.Sprintf("%s with %+v", im.Name, rule))()
	r := &faultRun{faultUser: &faultUser{promise: map[string]uint64{}}, dev: im.Device()}
	r.fault = blockiotest.NewFault(r.dev)
	if rule != nil {
		r.fault.Fail(*rule)
	}
	never := func(time.Duration, func()) func() { return func() {} }
	fs, err := New(ctx, r.fault, Options{Logger: testLogger(&r.log), Discard: discard, CacheBytes: cache, testing: testhook.Hooks{After: never}})
	if !r.told("mount", err) {
		return r
	}
	r.fs = fs
	root, err := fs.Root()
	if r.told("root", err) {
		r.root = root
		do(r.faultUser)
		r.serves()
		root.Put()
	}
	r.told("close", fs.Close())
	r.dev = r.dev.Clone() // which is not closed
	if all, idle := inodesInMemory(fs); all != idle {
		r.wrong = append(r.wrong, fmt.Sprintf("%d references leaked", all-idle))
	}
	return r
}

// serves tells whether a file system whose device has failed and works again still
// answers: reads give what is there, and writes an answer.
func (r *faultRun) serves() {
	failed := r.fault.Failed() > 0
	if !failed {
		return
	}
	r.fault.Heal()
	in, err := r.fs.InodeByPath("a/b/sparse", false)
	if err != nil {
		r.wrong = append(r.wrong, fmt.Sprintf("a file that nobody touched: %v", err))
		return
	}
	defer in.Put()
	p := make([]byte, 10)
	if _, err := in.Read(ctx, p, 300<<10); err != nil || string(p) != "piece at 3" {
		r.wrong = append(r.wrong, fmt.Sprintf("a file that nobody touched has %q, %v", p, err))
	}
	made, err := r.root.Create(ctx, "afterwards", CreateOptions{Mode: disk.ModeFIFO | 0o644})
	if err == nil {
		made.Put()
	}
	if err != nil && !errors.Is(err, ErrReadOnly) && Errno(err) != syscall.EIO && !errors.Is(err, ErrNoSpace) {
		r.wrong = append(r.wrong, fmt.Sprintf("creating afterwards: %v", err))
	}
}

// tree is what an image has, by path, without times and numbers.
func tree(m *blockiotest.Mem) (map[string]string, error) {
	fs, err := New(ctx, m, Options{ReadOnly: true, NoLoad: true, Logger: quiet})
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	var walk func(in *Inode, path string) error
	walk = func(in *Inode, path string) error {
		a := in.Attr()
		what := fmt.Sprintf("%o %d", a.Mode, a.Nlink)
		names, err := in.Listxattr()
		if err != nil {
			return err
		}
		slices.Sort(names)
		what += fmt.Sprint(names)
		switch {
		case in.IsReg():
			p := make([]byte, min(a.Size, 1<<20))
			if n, err := in.Read(ctx, p, 0); err != nil || n != len(p) {
				return fmt.Errorf("%s: %d of %d bytes: %w", path, n, len(p), err)
			}
			what += fmt.Sprintf(" %d bytes %x", a.Size, sum(p))
		case in.IsDir():
			var list []string
			if err := in.ReadDir(ctx, 0, func(e DirEntry) bool { list = append(list, string(e.Name)); return true }); err != nil {
				return err
			}
			for _, name := range list {
				if name == "." || name == ".." {
					continue
				}
				child, err := in.Lookup(name)
				if err != nil {
					return err
				}
				err = walk(child, path+name+"/")
				child.Put()
				if err != nil {
					return err
				}
			}
		}
		all[strings.TrimSuffix(path, "/")] = what
		return nil
	}
	root, err := fs.Root()
	if err != nil {
		return nil, err
	}
	defer root.Put()
	return all, walk(root, "")
}

// promised tells of a file that fsync had called durable and that is not there.
func promised(m *blockiotest.Mem, promise map[string]uint64) error {
	fs, err := New(ctx, m, Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		return err
	}
	for path, want := range promise {
		in, err := fs.InodeByPath(path, false)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		p := make([]byte, in.Attr().Size)
		_, err = in.Read(ctx, p, 0)
		in.Put()
		if err != nil || sum(p) != want {
			return fmt.Errorf("%s: %d bytes of other content, %w", path, len(p), err)
		}
	}
	return nil
}

// TestIOFaults fails the reads, writes, syncs and discards of each workload in turn: once, or
// all from then on; with EIO and ENOSPC; after nothing, or a part, was transferred. What
// is lost was told of, and what recovery makes of the image is whole. Reads fail with a cache
// that keeps nothing, too: then each operation reads what it goes by and what it changes.
func TestIOFaults(t *testing.T) {
	seeds := map[string]*hostile.Image{}
	for _, im := range seedImages(t) {
		seeds[im.Name] = im
	}
	for _, name := range []string{"room", "journal", "1k"} { // a borrowed journal, its own, none
		for _, w := range faultWork {
			t.Run(name+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				failEach(t, seeds[name], w.do, name != "1k", 0, failures)
			})
			t.Run(name+"/"+w.name+"/small", func(t *testing.T) {
				t.Parallel()
				failEach(t, seeds[name], w.do, name != "1k", 1, readFailures)
			})
		}
	}
}

// failures are the ways in which the k-th request of a kind fails.
var failures = []blockiotest.Rule{
	{Op: blockio.Read, Times: 1},
	{Op: blockio.Read},
	{Op: blockio.Write, Times: 1},
	{Op: blockio.Write, Err: syscall.ENOSPC, Short: 1024},
	{Op: blockio.Write, Times: 1, Short: 700},
	{Op: blockio.Sync, Times: 1},
	{Op: blockio.Sync, Err: syscall.ENOSPC},
	{Op: blockio.Discard},
}

// readFailures are those of them that a smaller cache has more of.
var readFailures = failures[:2]

var everyFault = flag.Bool("every-fault", false, "TestIOFaults fails each request, not one in three")

// everyNth: of so many failures one is judged by e2fsck, the others by package check and
// our own recovery, which takes a tenth of the time.
const everyNth = 11

func failEach(t *testing.T, im *hostile.Image, do func(u *faultUser), journaled bool, cache int64, rules []blockiotest.Rule) {
	clean := runFaults(im, do, cache, nil, true)
	if len(clean.errs) > 0 || len(clean.wrong) > 0 {
		t.Fatalf("without failures: %v, %v", clean.errs, clean.wrong)
	}
	want, err := tree(clean.dev)
	if err != nil {
		t.Fatal(err)
	}
	points, step := 0, 3
	switch {
	case *everyFault:
		step = 1
	case raceEnabled: // everything takes ten times as long
		step = 15
	}
	for i, rule := range rules {
		for k := 1 + i%step; k <= int(clean.fault.Seen(rule.Op)); k += step {
			rule.From = int64(k)
			r := runFaults(im, do, cache, &rule, rule.Op == blockio.Discard)
			if r.fault.Failed() == 0 {
				break // there are no discards, which take writes with them
			}
			points++
			where := fmt.Sprintf("%v %d of %d fails with %v, times %d, after %d bytes", rule.Op, k, clean.fault.Seen(rule.Op), rule.Err, rule.Times, rule.Short)
			for _, wrong := range r.wrong {
				t.Errorf("%s: %s", where, wrong)
			}
			r.judge(t, where, want, journaled, points%everyNth == 0)
			if t.Failed() {
				t.Fatalf("what was said: %v\n%s", r.errs, r.log.String())
			}
		}
	}
	t.Logf("%d failures", points)
}

// judge has the image recovered and looks for what was lost without a word.
func (r *faultRun) judge(t *testing.T, where string, want map[string]string, journaled, byTool bool) {
	state := superOf(t, r.dev).State
	var problems []string
	if byTool || state != disk.StateValid || !journaled {
		code, out := fsckInPlace(t, r.dev, "-p")
		if code > 1 && journaled {
			t.Errorf("%s: e2fsck -p: %d\n%s", where, code, out)
			return
		}
		if code, out := fsck(t, r.dev, "-f", "-n"); code != 0 {
			problems = append(problems, out)
		}
	} else {
		fs, err := New(ctx, r.dev, Options{Logger: quiet})
		if err == nil {
			err = fs.Close()
		}
		r.dev = r.dev.Clone()
		problems = check.Image(r.dev, check.Options{}).Problems
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	if len(problems) > 0 && (journaled || len(r.errs) == 0) {
		t.Errorf("%s: what is left: %v", where, problems)
		return
	}
	if len(r.errs) == 0 {
		got, err := tree(r.dev)
		if err != nil {
			t.Errorf("%s: %v", where, err)
		}
		for _, path := range slices.Sorted(maps.Keys(want)) {
			if path != "" && got[path] != want[path] {
				t.Errorf("%s: nobody was told, but %q is %q, not %q", where, path, got[path], want[path])
			}
		}
	}
	if journaled {
		if err := promised(r.dev.Clone(), r.promise); err != nil {
			t.Errorf("%s: what fsync had called durable: %v", where, err)
		}
	}
}
