package blockio

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/internal/shell"
)

// busy is a refusal because of a holder.
func busy(who string) error { return fmt.Errorf("%w: %s", ErrBusy, who) }

// holders refuses an image that the kernel uses in a way that does not go together
// with ours: nobody else may have an image that we write, and nobody else may write
// an image that we read. size bytes at off of the image are what we are going to use.
func (f *File) holders(st *unix.Stat_t, off, size int64) error {
	if who := loopHolder(st, off, size, f.readOnly); who != "" {
		return fmt.Errorf("%s is %w", f.path, busy(who))
	}
	if f.block && f.readOnly { // for writing, O_EXCL has seen to it
		for _, d := range blockFamily(st.Rdev) {
			if d.start >= off+size || off >= d.start+d.size {
				continue
			}
			if m := findMount(d.id); m != nil && !m.readOnly {
				return fmt.Errorf("%s is %w", f.path, busy(d.mounted(m)))
			}
		}
	}
	return nil
}

// busyDevice names who keeps a block device from being claimed.
func busyDevice(st *unix.Stat_t, readOnly bool) error {
	for _, d := range blockFamily(st.Rdev) {
		if m := findMount(d.id); m != nil {
			return busy(d.mounted(m))
		}
		if above, _ := os.ReadDir(filepath.Join("/sys/dev/block", d.id, "holders")); len(above) > 0 {
			return busy(fmt.Sprintf("/dev/%s is part of /dev/%s", d.name, above[0].Name()))
		}
		if isSwap(d.name) {
			return busy(fmt.Sprintf("/dev/%s is swap space; turn it off with: swapoff /dev/%s", d.name, d.name))
		}
	}
	if who := loopHolder(st, 0, 1<<62, readOnly); who != "" {
		return busy(who)
	}
	return locked(st)
}

// locked names the process that holds a lock on the image.
func locked(st *unix.Stat_t) error {
	pid, write, found := lockHolder(st)
	if !found {
		return fmt.Errorf("%w by another process", ErrLocked)
	}
	how := "reading"
	if write {
		how = "writing"
	}
	return fmt.Errorf("%w for %s by %s", ErrLocked, how, processName(pid))
}

func processName(pid int) string {
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil || pid <= 0 {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(comm)), pid)
}

// lockHolder finds a flock on the image in /proc/locks. The process that took the
// lock may be gone, its descriptor with a child: then whoever has the lock among his
// descriptors is named.
func lockHolder(st *unix.Stat_t) (pid int, write, found bool) {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return 0, false, false
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
		if pid, write, found = parseLock(strings.Fields(sc.Text()), st); found {
			break
		}
	}
	if !found {
		return 0, false, false
	}
	if pid <= 0 || unix.Kill(pid, 0) == unix.ESRCH {
		if other := descriptorHolder(st); other != 0 {
			pid = other
		}
	}
	return pid, write, true
}

// parseLock reads one lock in the form /proc/locks and fdinfo share.
func parseLock(field []string, st *unix.Stat_t) (pid int, write, ok bool) {
	if len(field) < 6 || field[1] != "FLOCK" {
		return 0, false, false
	}
	id := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	if field[5] != id {
		return 0, false, false
	}
	pid, err := strconv.Atoi(field[4])
	return pid, field[3] == "WRITE", err == nil
}

// descriptorHolder looks through the descriptors of all processes we may look at.
func descriptorHolder(st *unix.Stat_t) int {
	infos, _ := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	for _, info := range infos {
		b, err := os.ReadFile(info)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			lock, ok := strings.CutPrefix(line, "lock:")
			if !ok {
				continue
			}
			if _, _, ok := parseLock(strings.Fields(lock), st); ok {
				pid, _ := strconv.Atoi(strings.Split(info, "/")[2])
				return pid
			}
		}
	}
	return 0
}

// loopHolder describes a loop device attached to the image whose part overlaps
// ours. Readers may share with readers.
func loopHolder(st *unix.Stat_t, off, size int64, readOnly bool) string {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range files {
		dir := filepath.Dir(filepath.Dir(file))
		loop, ok := sysfsDevice(dir)
		if !ok {
			continue
		}
		if back, ok := loopBacking(dir, loop.dev); !ok || back != idOf(st) {
			continue
		}
		start, _ := strconv.ParseInt(sysfsLine(dir+"/loop/offset"), 10, 64)
		sectors, _ := strconv.ParseInt(sysfsLine(dir+"/size"), 10, 64)
		if start >= off+size || off >= start+sectors*512 {
			continue
		}
		loopReadOnly := sysfsLine(dir+"/ro") == "1"
		if readOnly && loopReadOnly {
			continue
		}
		how := "read-write"
		if loopReadOnly {
			how = "read-only"
		}
		name := filepath.Base(dir)
		where, undo := "", "losetup -d /dev/"+name
		for _, d := range familyOf(dir) {
			if m := findMount(d.id); m != nil {
				where, undo = " and mounted on "+m.point, "umount "+shell.Quote(m.point)
				break
			}
		}
		return fmt.Sprintf("attached %s to /dev/%s%s; free it with: %s", how, name, where, undo)
	}
	return ""
}

// blockDev is a disk or a partition as sysfs shows it.
type blockDev struct {
	name        string
	id          string // major:minor
	start, size int64  // bytes on the device that was asked about
}

func (d *blockDev) mounted(m *mountPoint) string {
	how := "read-write"
	if m.readOnly {
		how = "read-only"
	}
	return fmt.Sprintf("/dev/%s is mounted %s on %s; free it with: umount %s", d.name, how, m.point, shell.Quote(m.point))
}

// blockFamily lists a block device, its partitions, and the disk it is a partition
// of: whose being used means that the device is used.
func blockFamily(rdev uint64) []blockDev {
	id := fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev))
	dir, err := filepath.EvalSymlinks(filepath.Join("/sys/dev/block", id))
	if err != nil {
		return []blockDev{{name: id, id: id, size: 1 << 62}}
	}
	family := familyOf(dir)
	if _, err := os.Stat(dir + "/partition"); err == nil {
		whole := filepath.Dir(dir)
		family = append(family, blockDev{name: filepath.Base(whole), id: sysfsLine(whole + "/dev"), size: 1 << 62})
	}
	return family
}

// familyOf lists the device of a sysfs directory and its partitions.
func familyOf(dir string) []blockDev {
	family := []blockDev{{name: filepath.Base(dir), id: sysfsLine(dir + "/dev"), size: 1 << 62}}
	parts, _ := filepath.Glob(dir + "/*/partition")
	for _, p := range parts {
		p = filepath.Dir(p)
		start, _ := strconv.ParseInt(sysfsLine(p+"/start"), 10, 64)
		size, _ := strconv.ParseInt(sysfsLine(p+"/size"), 10, 64)
		family = append(family, blockDev{
			name: filepath.Base(p), id: sysfsLine(p + "/dev"), start: start * 512, size: size * 512,
		})
	}
	return family
}

// mountPoint is where the kernel has mounted a device.
type mountPoint struct {
	point    string
	readOnly bool // the file system, not only this view of it
}

// findMount looks for a mount of the device major:minor.
func findMount(id string) *mountPoint {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		same := id == fmt.Sprintf("%d:%d", m.Major, m.Minor)
		return !same, same
	})
	if err != nil || len(mounts) == 0 {
		return nil
	}
	options := strings.Split(mounts[0].VFSOptions, ",")
	return &mountPoint{point: mounts[0].Mountpoint, readOnly: slices.Contains(options, "ro")}
}

func isSwap(name string) bool {
	b, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if first, _, _ := strings.Cut(line, " "); filepath.Base(first) == name {
			return true
		}
	}
	return false
}

// sysfsLine reads a one-line file; empty if there is none.
func sysfsLine(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSuffix(string(b), "\n")
}
