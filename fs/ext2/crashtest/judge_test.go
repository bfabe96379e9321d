//go:build linux

package crashtest

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"sort"
	"strings"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/check"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// judge knows what a workload did, and tells of an image whether it is what may be left
// of it.
type judge struct {
	film     *film
	root     *object
	ops      []op
	byDigest map[uint64][]int
	trees    map[int]tree
}

func newJudge(d *driver, f *film) *judge {
	j := &judge{film: f, root: d.root, ops: d.ops, byDigest: map[uint64][]int{}, trees: map[int]tree{}}
	for k, o := range d.ops {
		j.byDigest[o.digest] = append(j.byDigest[o.digest], k)
	}
	return j
}

// bounds are the first and the last operation whose state may be what is found when the
// power fails with n events submitted: all up to the last that was made durable are in it,
// none that had not begun.
func (j *judge) bounds(n int) (lo, hi int) {
	hi = max(sort.Search(len(j.ops), func(k int) bool { return j.ops[k].begin >= n })-1, 0)
	for lo = hi; lo > 0 && !(j.ops[lo].durable && j.ops[lo].end <= n); lo-- {
	}
	return lo, hi
}

func (j *judge) tree(k int) tree {
	t := j.trees[k]
	if t == nil {
		t = j.root.treeAt(k)
		j.trees[k] = t
	}
	return t
}

// found is an image after recovery.
type found struct {
	*check.Result
	image  *blockiotest.Mem
	byPath map[string]*check.Node
	facts  map[string]*facts // by the first path
	noise  []*check.Node     // what the model does not know
}

// replay recovers the journal as a mount does that then does no more, and looks at what
// is there. Files without a name may still be on the orphan list.
func replay(image *blockiotest.Mem) (*found, error) {
	m := image.Clone()
	fs, err := ext2.New(ctx, keepOpen{m}, ext2.Options{ReadOnly: true, Logger: quiet, CacheBytes: 1 << 20})
	if err != nil {
		return nil, fmt.Errorf("mounting read-only: %w", err)
	}
	if err := fs.Close(); err != nil {
		return nil, err
	}
	return look(m, true)
}

// look checks an image, which is not changed afterwards.
func look(m *blockiotest.Mem, orphans bool) (*found, error) {
	f := &found{Result: check.Image(m, check.Options{Orphans: orphans}), image: m}
	if len(f.Problems) > 0 {
		return nil, fmt.Errorf("the image is damaged:\n\t%s", strings.Join(f.Problems[:min(8, len(f.Problems))], "\n\t"))
	}
	f.byPath, f.facts = make(map[string]*check.Node, len(f.Nodes)), make(map[string]*facts, len(f.Nodes))
	for _, n := range f.Nodes {
		if len(n.Paths) == 0 {
			continue
		}
		slices.Sort(n.Paths)
		if isNoise(n.Paths[0]) {
			f.noise = append(f.noise, n)
			continue
		}
		f.byPath[n.Paths[0]], f.facts[n.Paths[0]] = n, factsOf(n)
	}
	return f, nil
}

// factsOf are the facts of what was found, in the words of the model.
func factsOf(n *check.Node) *facts {
	f := &facts{paths: n.Paths, mode: uint32(n.Inode.Mode), uid: n.Inode.UID, size: int64(n.Inode.Size), target: n.Target}
	for _, e := range n.Xattrs {
		name, _ := disk.XattrFullName(e.Index, e.Name)
		value := e.Value
		if e.Index == disk.XattrACLAccess || e.Index == disk.XattrACLDefault {
			value, _ = disk.ACLToPosix(value)
		}
		if f.xattrs == nil {
			f.xattrs = map[string]string{}
		}
		f.xattrs[name] = string(value)
	}
	if f.mode&disk.ModeFmt != disk.ModeReg && f.mode&disk.ModeFmt != disk.ModeSymlink {
		f.size = 0
	}
	return f
}

func (f *found) digest() (sum uint64) {
	for _, x := range f.facts {
		sum += x.digest()
	}
	return sum
}

// content is a number for the content of all files.
func (f *found) content() (sum uint64) {
	bs := uint64(f.Super.BlockSize())
	for p, n := range f.byPath {
		if !n.Inode.IsReg() {
			continue
		}
		var h maphash.Hash
		h.SetSeed(hashSeed)
		h.WriteString(p)
		for _, m := range n.Content {
			if at := m.Logical * bs; at < n.Inode.Size {
				var b [8]byte
				binary.LittleEndian.PutUint64(b[:], m.Logical)
				h.Write(b[:])
				h.Write(f.image.View(int64(m.Block)*int64(bs), int64(min(bs, n.Inode.Size-at))))
			}
		}
		sum += h.Sum64()
	}
	return sum
}

// same tells what another recovery of the same image has different, "" for nothing.
func (f *found) same(g *found) string {
	switch {
	case f.digest() != g.digest():
		return "names or attributes differ:\n" + diff(f.facts, g.facts)
	case f.content() != g.content():
		return "content differs"
	}
	return ""
}

// verdict tells what is wrong with what was recovered, "" for nothing, if the power failed
// between operations lo and hi.
func (j *judge) verdict(f *found, lo, hi int) string {
	for _, n := range f.noise {
		if n.Inode.IsReg() {
			if complaint := f.noiseContent(n); complaint != "" {
				return complaint
			}
		}
	}
	sum := f.digest()
	all := j.byDigest[sum]
	complaint := ""
	for i := len(all) - 1; i >= 0; i-- {
		if k := all[i]; k >= lo && k <= hi {
			if complaint = j.contents(f, k, lo, hi); complaint == "" {
				return ""
			}
		}
	}
	for k := hi; complaint == "" && k > lo; k-- { // k stopped half-way
		if o := j.ops[k].touched; o != nil && j.halfWay(f, sum, k, o) {
			return j.contents(f, k-1, lo, hi)
		}
	}
	if complaint == "" {
		complaint = j.explain(f, lo, hi)
	}
	return complaint
}

// halfWay tells whether the tree is the one before operation k, but for the size of what
// k writes to, which lies between what it was and what it was to be.
func (j *judge) halfWay(f *found, sum uint64, k int, o *object) bool {
	before := j.tree(k - 1)[o]
	after := j.tree(k)[o]
	if before == nil || after == nil {
		return false
	}
	g := f.facts[before.paths[0]]
	if g == nil || g.size < min(before.size, after.size) || g.size > max(before.size, after.size) {
		return false
	}
	return sum-g.digest() == j.ops[k-1].digest-before.digest()
}

// contents looks at every byte of every file: it is the one of operation k, or, since
// content is written in place and without a transaction, of another one that was not yet
// durable or had begun.
func (j *judge) contents(f *found, k, lo, hi int) string {
	for o, x := range j.tree(k) {
		if x.mode&disk.ModeFmt != disk.ModeReg {
			continue
		}
		if complaint := j.fileContent(f, f.byPath[x.paths[0]], o, k, lo, hi); complaint != "" {
			return fmt.Sprintf("%s (object %d), as of operation %d: %s", x.paths[0], o.id, k, complaint)
		}
	}
	return ""
}

func (j *judge) fileContent(f *found, n *check.Node, o *object, k, lo, hi int) string {
	v, bs := o.at(k), int64(f.Super.BlockSize())
	size := int64(n.Inode.Size)
	seen := 0
	for _, m := range n.Content {
		b := f.image.View(int64(m.Block)*bs, bs)
		for at := int64(0); at < bs; at += pageSize {
			i := (int64(m.Logical)*bs + at) / pageSize
			want, page := v.pages[i], b[at:at+pageSize]
			if want != nil {
				seen++
			} else {
				want = zeroPage[:]
			}
			part := min(size-i*pageSize, pageSize)
			if part <= 0 || string(page[:part]) == string(want[:part]) {
				continue
			}
			if complaint := wrongByte(o, i, page[:part], lo, hi, bs); complaint != "" {
				return complaint
			}
		}
	}
	if seen == len(v.pages) {
		return ""
	}
	for i := range v.pages {
		part := min(size-i*pageSize, pageSize)
		if part > 0 && !mapped(n, uint64(i*pageSize/bs)) {
			if complaint := wrongByte(o, i, zeroPage[:part], lo, hi, bs); complaint != "" {
				return complaint
			}
		}
	}
	return ""
}

func mapped(n *check.Node, logical uint64) bool {
	_, ok := slices.BinarySearchFunc(n.Content, logical, func(m check.Mapping, l uint64) int {
		switch {
		case m.Logical < l:
			return -1
		case m.Logical > l:
			return 1
		}
		return 0
	})
	return ok
}

// wrongByte finds a byte of page i that the object had in no operation from lo to hi.
// Behind the end of the file as of one of them, in its last block, there are zeros.
func wrongByte(o *object, i int64, page []byte, lo, hi int, bs int64) string {
	versions := make([]*version, 0, 8)
	if v := o.at(lo); v != nil {
		versions = append(versions, v)
	}
	for h := range o.history {
		if v := &o.history[h]; v.op > lo && v.op <= hi {
			versions = append(versions, v)
		}
	}
	for x, got := range page {
		off := i*pageSize + int64(x)
		ok := false
		for _, v := range versions {
			if off < v.size {
				ok = ok || v.page(i)[x] == got
			} else if off < (v.size+bs-1)/bs*bs {
				ok = ok || got == 0
			}
		}
		if !ok {
			return fmt.Sprintf("byte %d is %#x%s, which it never was in operations %d to %d", off, got, stale(got), lo, hi)
		}
	}
	return ""
}

func stale(b byte) string {
	switch b {
	case staleByte:
		return " (from a block that was free)"
	case 0:
		return " (content that is missing)"
	}
	return " (somebody else's, or older)"
}

// explain says how the tree differs from the one, of those that may be, that is nearest.
func (j *judge) explain(f *found, lo, hi int) string {
	best, at := "", 0
	for k := hi; k >= lo; k-- {
		want := map[string]*facts{}
		for _, x := range j.tree(k) {
			want[x.paths[0]] = x
		}
		if d := diff(want, f.facts); best == "" || strings.Count(d, "\n") < strings.Count(best, "\n") {
			best, at = d, k
		}
	}
	return fmt.Sprintf("the tree is none that ever was between operations %d and %d; nearest is %d:\n%s", lo, hi, at, best)
}

// diff lists where two trees differ.
func diff(want, got map[string]*facts) string {
	var b strings.Builder
	for p, w := range want {
		g := got[p]
		if g == nil {
			fmt.Fprintf(&b, "\t%s is missing\n", p)
		} else if w.digest() != g.digest() {
			fmt.Fprintf(&b, "\t%s: expected %+v, found %+v\n", p, short(w), short(g))
		}
	}
	for p := range got {
		if want[p] == nil {
			fmt.Fprintf(&b, "\t%s is there\n", p)
		}
	}
	return b.String()
}

func short(f *facts) string {
	s := fmt.Sprintf("%v mode %o uid %d size %d target %.20q", f.paths, f.mode, f.uid, f.size, f.target)
	for name, value := range f.xattrs {
		s += fmt.Sprintf(" %s=%.10q(%d)", name, value, len(value))
	}
	return s
}
