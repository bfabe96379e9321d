//go:build linux

package crashtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// workload is something that programs do. It works on /, leaves the file system mounted,
// and does what it does d.scale times as long.
type workload struct {
	name string
	run  func(d *driver)
}

var workloads = []workload{
	{"write-fsync", writeFsync},
	{"save", save},
	{"renames", renames},
	{"trees", trees},
	{"names", names},
	{"truncate", truncates},
	{"holes", holes},
	{"links", links},
	{"xattrs", xattrs},
	{"full", full},
	{"tmpfile", tmpfiles},
	{"open-unlinked", openUnlinked},
	{"reuse", reuse},
	{"small", smallFiles},
	{"mix", mixed},
	{"mounts", mounts},
	{"parallel", parallel},
}

// sometimes lets what the background has to do come, or a commit, in three of n cases.
func (d *driver) sometimes(n int) {
	switch d.rnd.IntN(n) {
	case 0:
		d.syncAll()
	case 1:
		d.tick()
	case 2:
		d.rest()
	}
}

// rest is a pause so long that nothing is left to do for the background.
func (d *driver) rest() {
	for range 6 {
		d.tick()
	}
}

// writeFsync: files are made, written to, synced, appended to, overwritten.
func writeFsync(d *driver) {
	for i := range 8 * d.scale {
		p := fmt.Sprintf("/file%d", i%10)
		if d.lookup(p) == nil {
			d.file(p)
		}
		d.write(p, d.rnd.Int64N(30_000), 1+d.rnd.Int64N(40_000))
		if i%2 == 0 {
			d.fsync(p)
		}
		d.write(p, d.lookup(p).now().size, 1+d.rnd.Int64N(5_000))
		d.tick()
		if i%3 == 0 {
			d.fsync(p)
		}
		d.write(p, d.rnd.Int64N(10_000), 1+d.rnd.Int64N(3_000))
	}
}

// save: what an editor does to a document.
func save(d *driver) {
	d.mkdir("/doc")
	for i := range 8 * d.scale {
		p, tmp := fmt.Sprintf("/doc/text%d", i%3), fmt.Sprintf("/doc/.text%d.swp", i%3)
		d.file(tmp)
		d.write(tmp, 0, 1+d.rnd.Int64N(30_000))
		if i%4 != 3 {
			d.fsync(tmp)
		}
		if i%5 == 4 && d.lookup(p) != nil {
			d.unlink(p + "~")
			d.link(p, p+"~")
		}
		d.rename(tmp, p, 0)
		d.sometimes(4)
	}
}

// renames: chains and cycles, within and across directories, over files and directories.
func renames(d *driver) {
	dirs := []string{"/a", "/b", "/b/c"}
	for _, dir := range dirs {
		d.mkdir(dir)
		d.mkdir(dir + "/sub")
		for i := range 3 {
			p := fmt.Sprint(dir, "/f", i)
			d.file(p)
			d.write(p, 0, 500+d.rnd.Int64N(3000))
		}
	}
	d.syncAll()
	pick := func() string {
		dir := dirs[d.rnd.IntN(3)]
		if d.rnd.IntN(4) == 0 {
			return dir + "/sub"
		}
		return fmt.Sprint(dir, "/f", d.rnd.IntN(4))
	}
	for range 14 * d.scale {
		flags := []uint32{0, 0, ext2.RenameExchange}[d.rnd.IntN(3)]
		d.rename(pick(), pick(), flags)
		d.sometimes(6)
	}
	for i := range 6 * d.scale { // a cycle by way of a free name
		for _, step := range [][2]string{{"/a/f0", "/tmp"}, {"/b/f0", "/a/f0"}, {"/b/c/f0", "/b/f0"}, {"/tmp", "/b/c/f0"}} {
			d.rename(step[0], step[1], 0)
		}
		d.rename("/a/sub", fmt.Sprint("/b/c/moved", i), 0)
		d.rename(fmt.Sprint("/b/c/moved", i), "/a/sub", 0)
		d.sometimes(3)
	}
}

// trees: directories are made in depth and in breadth, and removed.
func trees(d *driver) {
	for i := range 4 * d.scale {
		p := fmt.Sprint("/tree", i)
		d.mkdir(p)
		for j := range 4 {
			p += fmt.Sprint("/d", j)
			d.mkdir(p)
			d.file(p + "/f")
			d.write(p+"/f", 0, d.rnd.Int64N(4000))
			d.sometimes(8)
		}
		if i%2 == 1 {
			for j := 3; j >= 0; j-- {
				d.unlink(p + "/f")
				d.rmdir(p)
				p = strings.TrimSuffix(p, fmt.Sprint("/d", j))
				d.sometimes(8)
			}
			d.rmdir(p)
		}
	}
}

// names: a directory grows past one block, its index past one level, and shrinks.
func names(d *driver) {
	d.mkdir("/many")
	name := func(i int) string { return fmt.Sprintf("/many/%s-%d", strings.Repeat("n", 60+i*37%150), i) }
	for i := range 40 * d.scale {
		d.file(name(i))
		if i%4 == 3 {
			d.unlink(name(i - d.rnd.IntN(3)))
		}
		d.sometimes(25)
	}
	for i := range 20 * d.scale {
		d.unlink(name(i))
		d.sometimes(25)
	}
}

// truncates: files lose their content and get other, with tables of two levels.
func truncates(d *driver) {
	for i := range 6 * d.scale {
		p := fmt.Sprint("/file", i%3)
		if d.lookup(p) == nil {
			d.file(p)
		}
		d.write(p, d.rnd.Int64N(200_000), 1+d.rnd.Int64N(300_000))
		d.sometimes(4)
		d.truncate(p, d.rnd.Int64N(100_000))
		d.sometimes(4)
		d.write(p, d.rnd.Int64N(20_000), 1+d.rnd.Int64N(60_000))
		if i%2 == 0 {
			d.truncate(p, 0)
			d.write(p, 0, 1+d.rnd.Int64N(20_000))
			d.fsync(p)
		}
		d.truncate(p, d.rnd.Int64N(1_000_000)) // longer, mostly
	}
}

// holes: punched, zeroed, filled.
func holes(d *driver) {
	d.file("/f")
	d.write("/f", 0, 400_000)
	d.syncAll()
	for range 12 * d.scale {
		off, n := d.rnd.Int64N(350_000), 1+d.rnd.Int64N(100_000)
		switch d.rnd.IntN(4) {
		case 0, 1:
			d.fallocate("/f", ext2.FallocPunchHole|ext2.FallocKeepSize, off, n)
		case 2:
			d.fallocate("/f", []uint32{0, ext2.FallocZeroRange}[d.rnd.IntN(2)], off, n)
		default:
			d.write("/f", off, n)
		}
		d.sometimes(5)
	}
}

// links: hard links, short, long symbolic ones, special files.
func links(d *driver) {
	d.mkdir("/d")
	for i := range 6 * d.scale {
		p := fmt.Sprint("/f", i)
		d.file(p)
		d.write(p, 0, d.rnd.Int64N(3000))
		for j := range 3 {
			d.link(p, fmt.Sprint("/d/l", i, "-", j))
		}
		d.create(fmt.Sprint("/short", i), disk.ModeSymlink|0o777, "to/nowhere")
		d.create(fmt.Sprint("/long", i), disk.ModeSymlink|0o777, strings.Repeat("far/", 30+i))
		d.create(fmt.Sprint("/fifo", i), disk.ModeFIFO|0o600, "")
		d.create(fmt.Sprint("/dev", i), disk.ModeBlock|0o600, "")
		d.sometimes(4)
		if i >= 2 {
			for _, p := range []string{"/f", "/short", "/long", "/fifo"} {
				d.unlink(fmt.Sprint(p, i-2))
			}
			d.unlink(fmt.Sprint("/d/l", i-2, "-1"))
			d.sometimes(4)
		}
	}
}

// xattrs: blocks of attributes are shared, and part again.
func xattrs(d *driver) {
	for i := range 6 {
		d.file(fmt.Sprint("/f", i))
	}
	d.mkdir("/d")
	for range 30 * d.scale {
		p := fmt.Sprint("/f", d.rnd.IntN(7))
		if p == "/f6" {
			p = "/d"
		}
		switch d.rnd.IntN(8) {
		case 0:
			d.removexattr(p, fmt.Sprint("user.", d.rnd.IntN(3)))
		case 1:
			if p != "/d" {
				d.unlink(p)
				d.file(p)
			}
		case 2:
			d.attr("acl", p, func(in *ext2.Inode) error {
				acl := disk.PosixACL([]disk.ACLEntry{{Tag: disk.ACLUserObj, Perm: 7}, {Tag: disk.ACLUser, Perm: 5, ID: d.rnd.Uint32N(3)},
					{Tag: disk.ACLGroupObj, Perm: 5}, {Tag: disk.ACLMask, Perm: 7}, {Tag: disk.ACLOther, Perm: 1}})
				return in.Setxattr(ctx, "system.posix_acl_access", acl, 0, ext2.Root)
			})
		default: // few values, so that blocks have several users
			value := strings.Repeat(string(rune('a'+d.rnd.IntN(2))), []int{10, 200, 400}[d.rnd.IntN(3)])
			d.setxattr(p, fmt.Sprint("user.", d.rnd.IntN(3)), value)
		}
		d.sometimes(8)
	}
}

// full: the disk fills up, files go, and others take their place at once.
func full(d *driver) {
	free := int64(d.fs.Statfs().FreeBlocks) * int64(d.fs.BlockSize())
	for i := range 2 * d.scale {
		for j := 0; j < 12; j++ {
			p := fmt.Sprintf("/big%d", j)
			d.file(p)
			if !d.write(p, 0, free/8) {
				break
			}
			d.sometimes(8)
		}
		for j := range 12 {
			if d.rnd.IntN(3) > 0 {
				d.unlink(fmt.Sprintf("/big%d", j))
			}
		}
		p := fmt.Sprint("/after", i)
		d.file(p)
		d.write(p, 0, free/4)
		d.fsync(p)
		d.mkdir(fmt.Sprint("/dir", i))
		d.unlink(p)
		d.tick()
	}
}

// tmpfiles: files without names, some of which get one.
func tmpfiles(d *driver) {
	for i := range 10 * d.scale {
		h := d.tmpfile("/")
		if h == nil {
			continue
		}
		d.writeHandle(h, 0, 1+d.rnd.Int64N(40_000))
		d.sometimes(6)
		if i%2 == 0 {
			d.linkHandle(h, fmt.Sprint("/named", i))
		}
		if len(d.open) > 3 {
			d.release(d.rnd.IntN(len(d.open)))
		}
		d.sometimes(6)
	}
}

// openUnlinked: files and directories that are gone, but in use.
func openUnlinked(d *driver) {
	for i := range 8 * d.scale {
		p := fmt.Sprint("/f", i)
		if i%4 == 3 {
			d.mkdir(p)
		} else {
			d.file(p)
			d.write(p, 0, 1+d.rnd.Int64N(50_000))
			if i%2 == 0 {
				d.setxattr(p, "user.a", strings.Repeat("v", 300))
			}
		}
		h := d.hold(p)
		d.sometimes(6)
		if i%4 == 3 {
			d.rmdir(p)
		} else if h != nil {
			d.unlink(p)
			d.writeHandle(h, d.rnd.Int64N(40_000), 1+d.rnd.Int64N(10_000))
		}
		d.sometimes(6)
		if len(d.open) > 3 {
			d.release(d.rnd.IntN(len(d.open)))
		}
	}
}

// reuse: blocks change their role: directory, table, attributes, content.
func reuse(d *driver) {
	for i := range 6 * d.scale {
		dir := fmt.Sprint("/dir", i)
		d.mkdir(dir)
		for j := range 4 {
			d.file(fmt.Sprintf("%s/%s%d", dir, strings.Repeat("n", 240), j))
			d.setxattr(fmt.Sprintf("%s/%s%d", dir, strings.Repeat("n", 240), j), "user.a", strings.Repeat("v", 300+j))
		}
		d.file("/table")
		d.write("/table", 100_000, 70_000)
		d.sometimes(4)
		for j := range 4 {
			d.unlink(fmt.Sprintf("%s/%s%d", dir, strings.Repeat("n", 240), j))
		}
		d.rmdir(dir)
		d.unlink("/table")
		d.sometimes(3)
		p := fmt.Sprint("/content", i%3)
		d.file(p)
		d.write(p, 0, 200_000)
		d.fsync(p)
		d.unlink(fmt.Sprint("/content", (i+1)%3))
	}
}

// smallFiles: what a mail or a database server does: little files, each synced, and patched
// in place, with and without a sync, or by more than the journal takes; their blocks become
// other files', tables, directories, targets of links.
func smallFiles(d *driver) {
	d.file("/big")
	for i := range 24 * d.scale {
		p := fmt.Sprint("/s", i%7)
		switch step := d.rnd.IntN(10); {
		case d.lookup(p) == nil || step == 0:
			d.unlink(p)
			d.file(p)
			d.write(p, 0, 1+d.rnd.Int64N(12_000))
			d.fsync(p)
		case step == 1:
			d.unlink(p)
			d.syncAll()
			d.create(p+"-link", disk.ModeSymlink|0o777, strings.Repeat("to/", 30))
			d.mkdir(p + "-dir")
		case step == 2:
			d.unlink(p + "-link")
			d.rmdir(p + "-dir")
		case step == 3:
			d.write("/big", d.rnd.Int64N(20_000), 300_000)
		case step == 4:
			d.unlink("/big")
			d.file("/big")
		case step == 5:
			d.truncate(p, d.rnd.Int64N(9_000))
		case step == 6:
			d.fallocate(p, []uint32{ext2.FallocPunchHole | ext2.FallocKeepSize, ext2.FallocZeroRange}[d.rnd.IntN(2)], d.rnd.Int64N(6_000), 1+d.rnd.Int64N(6_000))
		default: // the log has copies of what is overwritten
			d.write(p, d.rnd.Int64N(8_000), 1+d.rnd.Int64N(3_000))
		}
		switch d.rnd.IntN(8) {
		case 0, 1, 2:
			d.fsync(p)
		case 3:
			d.tick()
		case 4:
			d.sometimes(3)
		}
	}
}

// mixed: anything, at random.
func mixed(d *driver) {
	for range 60 * d.scale {
		d.randomStep()
		d.sometimes(12)
	}
}

// paths are the names in the model that a filter takes, in order.
func (d *driver) paths(want func(o *object) bool) (all []string) {
	for o, f := range d.root.treeAt(d.now()) {
		if want(o) {
			for _, p := range f.paths {
				if !strings.HasPrefix(p, "/lost+found") {
					all = append(all, p)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

func (d *driver) pick(all []string) string { return all[d.rnd.IntN(len(all))] }

func isDir(o *object) bool { return o.now().mode&disk.ModeFmt == disk.ModeDir }
func isReg(o *object) bool { return o.now().mode&disk.ModeFmt == disk.ModeReg }

// fresh is a name that may be there already, in some directory.
func (d *driver) fresh() string {
	dir := d.pick(d.paths(isDir))
	i := d.rnd.IntN(16)
	return strings.TrimSuffix(dir, "/") + fmt.Sprintf("/%s%d", strings.Repeat("x", i*i), i)
}

// randomStep does one operation of any kind.
func (d *driver) randomStep() {
	regs := d.paths(isReg)
	if len(regs) == 0 || d.rnd.IntN(5) == 0 {
		d.file(d.fresh())
		return
	}
	named := d.paths(func(o *object) bool { return o != d.root })
	switch p := d.pick(regs); d.rnd.IntN(14) {
	case 0, 1, 2:
		d.write(p, d.rnd.Int64N(60_000), 1+d.rnd.Int64N(40_000))
	case 3:
		d.truncate(p, d.rnd.Int64N(80_000))
	case 4:
		d.fallocate(p, []uint32{0, ext2.FallocPunchHole | ext2.FallocKeepSize, ext2.FallocZeroRange}[d.rnd.IntN(3)], d.rnd.Int64N(60_000), 1+d.rnd.Int64N(30_000))
	case 5:
		d.mkdir(d.fresh())
	case 6:
		d.rename(d.pick(named), d.fresh(), []uint32{0, 0, 0, ext2.RenameNoReplace, ext2.RenameExchange}[d.rnd.IntN(5)])
	case 7:
		d.link(p, d.fresh())
	case 8:
		d.unlink(p)
	case 9:
		d.rmdir(d.pick(named))
	case 10:
		d.setxattr(d.pick(d.paths(func(o *object) bool { return isReg(o) || isDir(o) })), fmt.Sprint("user.", d.rnd.IntN(3)), strings.Repeat("v", []int{5, 300, 600}[d.rnd.IntN(3)]))
	case 11:
		d.create(d.fresh(), disk.ModeSymlink|0o777, strings.Repeat("t", 1+d.rnd.IntN(200)))
	case 12:
		d.hold(p)
		d.unlink(p)
		if len(d.open) > 3 {
			d.release(0)
		}
	default:
		d.chmod(d.pick(named), d.rnd.Uint32N(0o1000))
	}
}

// mounts: the file system is mounted and unmounted, with a little work in between.
func mounts(d *driver) {
	for i := range 3 * d.scale {
		for range 6 {
			d.randomStep()
			d.sometimes(6)
		}
		d.remount()
		if i%2 == 0 {
			d.remount()
		}
	}
}

// kinds counts the operations that succeeded, by their first word: a workload that the
// file system refuses most of is no workload.
func (d *driver) kinds() string {
	n := map[string]int{}
	for _, o := range d.ops {
		if !strings.Contains(o.name, ": ") {
			word, _, _ := strings.Cut(o.name, " ")
			n[word]++
		}
	}
	var b strings.Builder
	for _, word := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(&b, " %s %d", word, n[word])
	}
	return b.String()
}
