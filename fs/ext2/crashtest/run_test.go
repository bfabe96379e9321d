//go:build linux

package crashtest

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

// setup is a workload on a kind of image, mounted in some way, and how thoroughly what may
// be left of it is looked at.
type setup struct {
	work  workload
	name  string // of the rest of the setup: what -crash.setup takes
	image ext2test.Options
	opts  ext2.Options
	hooks testhook.Hooks
	seed  uint64
	scale int // of the workload

	prefixes int // moments with all that was submitted, at most
	cuts     int // moments with a random choice of it
	// Every so many moments, another kind of recovery has to come to the same end.
	mountEvery, tornEvery, fsckEvery, kernelEvery int

	killed  bool // the daemon dies, the host does not
	second  bool // the image is one that a power cut left in the midst of another load
	settled bool // only moments right behind a sync, at which a plain mount is whole, too

	// Rules that are broken to see that it is found out.
	device func(blockio.Device) blockio.Device // comes between the file system and its image
	edit   func(log []blockiotest.Event)       // of the log, before anything is looked at
	quiet  bool                                // violations are only counted

	only *moment // this one alone, looked at in every way
	keep string  // directory for images that failed
}

// row is what came of a setup.
type row struct {
	work, name                string
	block                     int
	ops, events, syncs        int
	prefixes, cuts            int
	mounts, torn, fscks, kern int
	violations                int
}

const rowFormat = "%-14s %5v %-10s %6v %7v %6v %9v %8v %8v %8v %8v %8v %10v\n"

func header() string {
	return fmt.Sprintf(rowFormat, "workload", "block", "mode", "ops", "events", "syncs", "prefixes", "cuts", "mounted", "cut again", "e2fsck", "kernel", "violations")
}

func (r row) String() string {
	return fmt.Sprintf(rowFormat, r.work, r.block, r.name, r.ops, r.events, r.syncs, r.prefixes, r.cuts, r.mounts, r.torn, r.fscks, r.kern, r.violations)
}

func (r *row) add(s row) {
	r.ops, r.events, r.syncs = r.ops+s.ops, r.events+s.events, r.syncs+s.syncs
	r.prefixes, r.cuts, r.mounts, r.torn = r.prefixes+s.prefixes, r.cuts+s.cuts, r.mounts+s.mounts, r.torn+s.torn
	r.fscks, r.kern, r.violations = r.fscks+s.fscks, r.kern+s.kern, r.violations+s.violations
}

// maxViolations ends a run: the first ones say it all.
const maxViolations = 3

// begin is the image that the workload finds.
func (s *setup) begin(t testing.TB) *blockiotest.Mem {
	if !s.second {
		return Image(t, s.image)
	}
	first := *s
	first.second, first.seed, first.work = false, s.seed+1000, workload{"mix", mixed}
	_, f := first.record(t)
	for n := len(f.log) * 3 / 4; n > 0; n-- {
		if image, _ := f.image(moment{n, min(f.open(n), 1)}); !between(image) {
			return image
		}
	}
	t.Fatal("the first load never had a journal")
	return nil
}

// record carries out the workload.
func (s *setup) record(t testing.TB) (*driver, *film) {
	t.Helper()
	d := newDriver(t, s)
	s.work.run(d)
	d.unmount()
	f := newFilm(d.dev, s.seed)
	if s.edit != nil {
		s.edit(f.log)
	}
	return d, f
}

// runner looks at the moments of one film.
type runner struct {
	t   testing.TB
	s   *setup
	j   *judge
	dir string
	row row
	k   int // counts moments

	first string // violation, when they are only counted
}

// run carries out the workload and looks at what may be left of it.
func (s *setup) run(t testing.TB) *runner {
	t.Helper()
	d, f := s.record(t)
	r := &runner{t: t, s: s, j: newJudge(d, f), dir: t.TempDir()}
	for _, c := range s.work.name + s.name {
		r.k += int(c) // so that short runs do not all leave out the same
	}
	r.row = row{work: s.work.name, name: s.name, block: s.image.BlockSize, ops: len(d.ops), events: len(f.log)}
	for _, e := range f.log {
		if e.Op == blockio.Sync {
			r.row.syncs++
		}
	}
	t.Logf("seed %d:%s", s.seed, d.kinds())
	if s.only != nil {
		s.mountEvery, s.tornEvery, s.fsckEvery = 1, 1, 1
		r.moment(*s.only)
		return r
	}
	events, open := len(f.log)+1, 0
	for n := range events {
		if f.open(n) > 0 {
			open++
		}
	}
	s.cuts += max(s.prefixes-events, 0) // there are no more
	if s.killed {
		s.prefixes, s.cuts = s.prefixes+s.cuts, 0
	}
	perEvent := float64(s.cuts) / float64(max(open, 1))
	prefix, cut := 0.0, 0.0
	for n := 0; n < events && r.row.violations < maxViolations; n++ {
		if s.settled {
			s.tornEvery = 0 // a mount that is cut off promises no more than this one
			if n > 0 && f.open(n) == 0 {
				r.row.prefixes++
				r.moment(moment{n, 0})
			}
			continue
		}
		if prefix += float64(s.prefixes) / float64(events); prefix >= 1 || s.prefixes >= events {
			prefix--
			r.row.prefixes++
			r.moment(moment{n, 0})
		}
		if f.open(n) == 0 {
			continue
		}
		for cut += perEvent; cut >= 1 && r.row.violations < maxViolations; cut-- {
			r.row.cuts++
			r.moment(moment{n, 1 + int(cut)})
		}
	}
	return r
}

// due tells whether it is the turn of what comes every so many moments.
func (r *runner) due(every int) bool { return every > 0 && r.k%every == 0 }

// moment judges one moment.
func (r *runner) moment(m moment) {
	r.k++
	image, lost := r.j.film.image(m)
	lo, hi := r.j.bounds(m.n)
	complaint := r.look(image, lo, hi)
	if complaint == "" {
		return
	}
	r.row.violations++
	if r.s.quiet {
		r.first = cmp.Or(r.first, complaint)
		return
	}
	if m.cut > 0 {
		lost = r.j.film.least(m, func(image *blockiotest.Mem) bool { return r.replayed(image, lo, hi) != "" })
	}
	r.report(m, image, lost, lo, hi, complaint)
}

// replayed is what is wrong after the replay of the journal.
func (r *runner) replayed(image *blockiotest.Mem, lo, hi int) string {
	f, err := r.recovered(image)
	if err != nil {
		return err.Error()
	}
	return r.j.verdict(f, lo, hi)
}

// recovered is what the replay of the journal gives, and where there is none yet, or none
// any more, what the next mount makes of the image.
func (r *runner) recovered(image *blockiotest.Mem) (*found, error) {
	if between(image) && !r.s.settled {
		return mountAndUnmount(image.Clone())
	}
	return replay(image)
}

// look recovers an image in all ways whose turn it is. All have to come to the same end.
func (r *runner) look(image *blockiotest.Mem, lo, hi int) string {
	f, err := r.recovered(image)
	if err != nil {
		return err.Error()
	}
	if complaint := r.j.verdict(f, lo, hi); complaint != "" {
		return complaint
	}
	if r.due(r.s.mountEvery) {
		r.row.mounts++
		g, err := mountAndUnmount(image.Clone())
		if complaint := r.compare("mounting and unmounting", f, g, err); complaint != "" {
			return complaint
		}
	}
	if r.due(r.s.tornEvery) {
		if complaint := r.recoveryCut(image, f); complaint != "" {
			return complaint
		}
	}
	if r.due(r.s.fsckEvery) || between(image) && r.due((r.s.fsckEvery+9)/10) {
		r.row.fscks++
		g, err := preen(image, r.dir, f.forgetful())
		if complaint := r.compare("e2fsck -p", f, g, err); complaint != "" {
			return complaint
		}
	}
	if r.due(r.s.kernelEvery) && !between(image) {
		r.row.kern++
		g, err := kernelRecover(image, r.dir)
		if complaint := r.compare("the kernel", f, g, err); complaint != "" {
			return complaint
		}
	}
	return ""
}

func (r *runner) compare(who string, f, g *found, err error) string {
	if err != nil {
		return who + ": " + err.Error()
	}
	if d := f.same(g); d != "" {
		return who + " recovers something else: " + d
	}
	return ""
}

// recoveryCut lets the power fail while a mount recovers the image, and while its unmount
// gives back what it borrowed: the next recovery comes to the same end.
func (r *runner) recoveryCut(image *blockiotest.Mem, f *found) string {
	const cuts = 4
	dev := blockiotest.NewRecorder(image.Clone())
	if err := cycle(dev); err != nil {
		return err.Error()
	}
	again := newFilm(dev, r.s.seed+uint64(r.k))
	for i := range cuts {
		m := moment{n: len(again.log) * (i + 1) / cuts}
		if i%2 == 0 && again.open(m.n) > 0 {
			m.cut = 1
		}
		r.row.torn++
		left, lost := again.image(m)
		g, err := r.recovered(left)
		if complaint := r.compare(fmt.Sprintf("a recovery after one that was cut off at %v of %d, losing\n\t%s\n", m, len(again.log), strings.Join(lost, "\n\t")), f, g, err); complaint != "" {
			return complaint
		}
	}
	return ""
}

// report tells of a violation all that is needed to look into it.
func (r *runner) report(m moment, image *blockiotest.Mem, lost []string, lo, hi int, complaint string) {
	var b strings.Builder
	complaint = complaint[:min(len(complaint), 4000)]
	fmt.Fprintf(&b, "%s, %s, at %v of %d events, %d of them at risk:\n%s\n", r.s.work.name, r.s.name, m, len(r.j.film.log), r.j.film.open(m.n), complaint)
	if len(lost) > 0 {
		fmt.Fprintf(&b, "with no more lost than\n\t%s\n", strings.Join(lost[:min(len(lost), 20)], "\n\t"))
	}
	fmt.Fprintf(&b, "operations, the first of them durable:\n")
	for k := max(lo, hi-25); k <= hi; k++ {
		fmt.Fprintf(&b, "\t%d [%d,%d) %.150s\n", k, r.j.ops[k].begin, r.j.ops[k].end, r.j.ops[k].name)
	}
	fmt.Fprintf(&b, "again: go test ./fs/ext2/crashtest -run TestCrash -crash.workload %s -crash.setup %s -crash.seed %d -crash.scale %d -crash.at %v -v",
		r.s.work.name, r.s.name, r.s.seed, *flagScale, m)
	if r.s.keep != "" {
		path := filepath.Join(r.s.keep, fmt.Sprintf("%s-%s-%d-%d.img", r.s.work.name, r.s.name, m.n, m.cut))
		if err := store(image, path); err == nil {
			fmt.Fprintf(&b, "\nthe image: %s", path)
		}
	}
	r.t.Error(b.String())
}
