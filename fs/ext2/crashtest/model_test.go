//go:build linux

package crashtest

import (
	"hash/maphash"
	"maps"
	"slices"
	"sort"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// object is a file, directory or whatever from its creation on, under any name or none.
// What it is like after each operation that changed it is kept.
type object struct {
	id      int
	history []version // ascending by op
}

// version is an object as of an operation, never changed afterwards.
type version struct {
	op     int
	mode   uint32
	uid    uint32
	size   int64
	target string
	xattrs map[string]string
	kids   map[string]*object // of a directory
	pages  map[int64][]byte   // content by number of the page; no page is zeros
}

// pageSize is the unit in which content is kept, in bytes.
const pageSize = 1024

// at is the object as of operation k; nil when it was not there yet.
func (o *object) at(k int) *version {
	i := sort.Search(len(o.history), func(i int) bool { return o.history[i].op > k })
	if i == 0 {
		return nil
	}
	return &o.history[i-1]
}

func (o *object) now() *version { return &o.history[len(o.history)-1] }

// change adds a version for operation op, a copy of the last one with f applied.
func (o *object) change(op int, f func(v *version)) {
	v := version{op: op}
	if len(o.history) > 0 {
		v = *o.now()
		v.op = op
	}
	f(&v)
	if n := len(o.history); n > 0 && o.history[n-1].op == op {
		o.history[n-1] = v
		return
	}
	o.history = append(o.history, v)
}

// setKid makes name stand for o, or for nothing.
func (v *version) setKid(name string, o *object) {
	v.kids = maps.Clone(v.kids)
	if v.kids == nil {
		v.kids = map[string]*object{}
	}
	if o == nil {
		delete(v.kids, name)
	} else {
		v.kids[name] = o
	}
}

var zeroPage [pageSize]byte

// page is the content of page i.
func (v *version) page(i int64) []byte {
	if p := v.pages[i]; p != nil {
		return p
	}
	return zeroPage[:]
}

// put puts bytes at off; nil stands for n zeros.
func (v *version) put(p []byte, off, n int64) {
	v.pages = maps.Clone(v.pages)
	if v.pages == nil {
		v.pages = map[int64][]byte{}
	}
	for done := int64(0); done < n; {
		i, at := (off+done)/pageSize, (off+done)%pageSize
		part := min(n-done, pageSize-at)
		if p == nil && part == pageSize {
			delete(v.pages, i)
		} else if p != nil || v.pages[i] != nil {
			page := slices.Clone(v.page(i))
			if p == nil {
				clear(page[at : at+part])
			} else {
				copy(page[at:], p[done:done+part])
			}
			v.pages[i] = page
		}
		done += part
	}
}

// resize sets the size; what is cut off is gone.
func (v *version) resize(size int64) {
	if size < v.size {
		if at := size % pageSize; at != 0 {
			v.put(nil, size, pageSize-at)
		}
		v.pages = maps.Clone(v.pages)
		maps.DeleteFunc(v.pages, func(i int64, _ []byte) bool { return i*pageSize >= size })
	}
	v.size = size
}

var hashSeed = maphash.MakeSeed()

// facts are what the names of an object and its attributes are, of which a tree's digest
// is made up. Sizes of directories are the driver's own affair.
type facts struct {
	paths  []string // sorted
	mode   uint32
	uid    uint32
	size   int64
	target string
	xattrs map[string]string
}

// digest is a number for the facts.
func (f *facts) digest() uint64 {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	for _, p := range f.paths {
		h.WriteString(p)
		h.WriteByte(0)
	}
	size := f.size
	if f.mode&disk.ModeFmt == disk.ModeDir {
		size = 0
	}
	for _, n := range []uint64{uint64(f.mode), uint64(f.uid), uint64(size)} {
		for i := range 8 {
			h.WriteByte(byte(n >> (8 * i)))
		}
	}
	h.WriteString(f.target)
	if len(f.xattrs) > 0 {
		for _, name := range slices.Sorted(maps.Keys(f.xattrs)) {
			h.WriteString("\x00" + name + "\x00" + f.xattrs[name])
		}
	}
	return h.Sum64()
}

// tree is the whole file system as of one operation.
type tree map[*object]*facts

// treeAt walks the model as of operation k.
func (o *object) treeAt(k int) tree {
	t := tree{}
	var walk func(o *object, path string)
	walk = func(o *object, path string) {
		v := o.at(k)
		f := t[o]
		if f == nil {
			f = &facts{mode: v.mode, uid: v.uid, size: v.size, target: v.target, xattrs: v.xattrs}
			t[o] = f
		}
		f.paths = append(f.paths, path)
		if path == "/" {
			path = ""
		}
		for name, kid := range v.kids {
			walk(kid, path+"/"+name)
		}
	}
	walk(o, "/")
	for _, f := range t {
		slices.Sort(f.paths)
	}
	return t
}

// digest is the sum of the digests of the objects.
func (t tree) digest() (sum uint64) {
	for _, f := range t {
		sum += f.digest()
	}
	return sum
}
