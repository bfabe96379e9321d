//go:build linux

package crashtest

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// damage is what became of a file system without a journal, in how many states.
type damage struct {
	states int
	manual int // e2fsck -p gave up: a person has to decide
	stale  int // a file shows what was never written to it
	lost   int // a file is missing, or shorter, that was fsynced
}

func (d damage) String() string {
	return fmt.Sprintf("%6d states: %5d need a person, %5d show foreign bytes, %5d lost something fsynced", d.states, d.manual, d.stale, d.lost)
}

func (d *damage) add(e damage) {
	d.states, d.manual, d.stale, d.lost = d.states+e.states, d.manual+e.manual, d.stale+e.stale, d.lost+e.lost
}

// assess has e2fsck repair an image, and counts.
func (j *judge) assess(t testing.TB, dir string, image *blockiotest.Mem, n int, d *damage) {
	t.Helper()
	path := filepath.Join(dir, "plain.img")
	if err := store(image, path); err != nil {
		t.Fatal(err)
	}
	d.states++
	if err := cycle(image.Clone()); err != nil {
		t.Errorf("our own next mount: %v", err)
	}
	if code, _ := e2fsck(path, "-p"); code > 1 {
		d.manual++
	}
	if code, out := e2fsck(path, "-f", "-y"); code > 1 {
		t.Fatalf("e2fsck -f -y: %d\n%s", code, out)
	}
	m, err := loadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := look(m, false)
	if err != nil {
		t.Fatalf("after e2fsck -f -y: %v", err)
	}
	lo, hi := j.bounds(n)
	stale, lost := j.damaged(f, lo, hi)
	if stale {
		d.stale++
	}
	if lost {
		d.lost++
	}
}

// damaged looks at the files that were under one name all the time from operation lo on,
// which was durable, to hi.
func (j *judge) damaged(f *found, lo, hi int) (stale, lost bool) {
	for o, x := range j.tree(lo) {
		stays, least := x.mode&disk.ModeFmt == disk.ModeReg, x.size
		for k := lo; k <= hi && stays; k++ {
			y := j.tree(k)[o]
			stays = y != nil && y.paths[0] == x.paths[0]
			if stays {
				least = min(least, y.size)
			}
		}
		if !stays {
			continue
		}
		n := f.byPath[x.paths[0]]
		switch {
		case n == nil || int64(n.Inode.Size) < least:
			lost = true
		case j.fileContent(f, n, o, lo, lo, hi) != "":
			stale = true
		}
	}
	return stale, lost
}

// TestPlain counts what happens to a file system that is written without a journal: nothing
// is promised but that e2fsck -y makes a file system of it again, that our own mount takes
// it, and that right behind a sync all is well (TestCrash looks at these moments).
func TestPlain(t *testing.T) {
	states := max(*flagStates/20, 1)
	var killed, cut damage
	for _, s := range setups() {
		if !s.settled {
			continue
		}
		for _, w := range workloads {
			s.work, s.seed, s.scale = w, *flagSeed, *flagScale
			d, f := s.record(t)
			j, dir := newJudge(d, f), t.TempDir()
			var k, c damage
			for i := range states {
				n := len(f.log) * (i + 1) / (states + 1)
				image, _ := f.image(moment{n, 0})
				j.assess(t, dir, image, n, &k)
				if f.open(n) > 0 {
					image, _ = f.image(moment{n, 1 + i})
					j.assess(t, dir, image, n, &c)
				}
			}
			killed.add(k)
			cut.add(c)
		}
	}
	if testing.Verbose() {
		fmt.Printf("without a journal, daemon killed: %v\nwithout a journal, power cut:     %v\n", killed, cut)
	}
	if killed.manual > killed.states/2 {
		t.Error("more than half of the states need a person")
	}
}
