package blockio

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Storage is where the bytes of a file or device of the host lie: in itself, in the file behind
// a loop device, on the disk of a partition, in what a mapped device is made of.
type Storage []extent

// extent is some of the bytes of a file or block device.
type extent struct {
	in        storageID
	off, size int64
	somewhere bool // in there: which of them it is is not known
}

// storageID tells files and devices apart, whatever they are called.
type storageID struct {
	block    bool
	dev, ino uint64 // of a file; dev is the number of a block device
}

// everything is the size of what is as large as it is.
const everything = math.MaxInt64

// maxExtents bounds how far storage is followed: further than anybody stacks devices.
const maxExtents = 256

// FileStorage is the storage of a regular file, whose device and inode number stat(2) gives.
func FileStorage(dev, ino uint64) Storage {
	return Storage{{in: storageID{dev: dev, ino: ino}, size: everything}}
}

// DeviceStorage is the storage of a block device, whose number stat(2) gives.
func DeviceStorage(rdev uint64) Storage {
	var s Storage
	s.add(extent{in: storageID{block: true, dev: rdev}, size: everything})
	return s
}

// StorageOf is the storage of what Open opened. There is none of a device of another kind.
func StorageOf(dev Device) Storage {
	off, size := int64(0), dev.Size()
	for {
		switch d := dev.(type) {
		case *window:
			off += d.off
			dev = d.dev
		case *File:
			var st unix.Stat_t
			if unix.Fstat(d.number(), &st) != nil {
				return nil
			}
			var s Storage
			s.add(extent{in: idOf(&st), off: off, size: size})
			return s
		case interface{ Unwrap() Device }:
			dev = d.Unwrap()
		default:
			return nil
		}
	}
}

// Overlaps tells whether what is written to the one may be read from the other.
func (s Storage) Overlaps(other Storage) bool {
	for _, a := range s {
		for _, b := range other {
			if a.in == b.in && !(a.somewhere && b.somewhere) && a.off < b.end() && b.off < a.end() {
				return true
			}
		}
	}
	return false
}

func (e *extent) end() int64 { return e.off + min(e.size, everything-e.off) }

// part is the bytes of e that lie at off of another file or device, of which that has size.
func (e *extent) part(in storageID, off, size int64) extent {
	return extent{in, off + e.off, min(e.size, max(0, size-e.off)), e.somewhere}
}

func idOf(st *unix.Stat_t) storageID {
	if isBlock(st) {
		return storageID{block: true, dev: uint64(st.Rdev)}
	}
	return storageID{dev: uint64(st.Dev), ino: st.Ino}
}

// sysBlock is where sysfs has block devices by their numbers.
var sysBlock = "/sys/dev/block"

// add adds an extent, and where that lies.
func (s *Storage) add(e extent) {
	if len(*s) == maxExtents {
		return
	}
	*s = append(*s, e)
	if !e.in.block {
		return
	}
	number := fmt.Sprintf("%d:%d", unix.Major(e.in.dev), unix.Minor(e.in.dev))
	dir, err := filepath.EvalSymlinks(filepath.Join(sysBlock, number))
	if err != nil {
		return // a device that is not there, or a host without sysfs
	}
	size := sysfsNumber(dir+"/size") * 512
	if _, err := os.Stat(dir + "/partition"); err == nil {
		if disk, ok := sysfsDevice(filepath.Dir(dir)); ok {
			s.add(e.part(disk, sysfsNumber(dir+"/start")*512, size))
		}
		return
	}
	if back, ok := loopBacking(dir, e.in.dev); ok {
		s.add(e.part(back, sysfsNumber(dir+"/loop/offset"), size))
	}
	made, _ := filepath.Glob(dir + "/slaves/*")
	for _, m := range made {
		if of, ok := sysfsDevice(m); ok {
			s.add(extent{in: of, size: everything, somewhere: true})
		}
	}
}

// loopBacking is what lies behind the loop device of a directory of sysfs. The device itself
// tells, whatever its file is called by now, or here: a container has paths of its own. Who may not
// open it has the name.
func loopBacking(dir string, rdev uint64) (storageID, bool) {
	name := sysfsLine(dir + "/loop/backing_file")
	if name == "" {
		return storageID{}, false
	}
	var st unix.Stat_t
	fd, err := unix.Open("/dev/"+filepath.Base(dir), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		if unix.Fstat(fd, &st) == nil && isBlock(&st) && uint64(st.Rdev) == rdev {
			if info, err := unix.IoctlLoopGetStatus64(fd); err == nil {
				if info.Rdevice != 0 {
					return storageID{block: true, dev: info.Rdevice}, true
				}
				return storageID{dev: info.Device, ino: info.Inode}, true
			}
		}
	}
	if unix.Stat(name, &st) != nil {
		return storageID{}, false
	}
	return idOf(&st), true
}

// sysfsDevice is the block device of a directory of sysfs.
func sysfsDevice(dir string) (storageID, bool) {
	var major, minor uint32
	if _, err := fmt.Sscanf(sysfsLine(dir+"/dev"), "%d:%d", &major, &minor); err != nil {
		return storageID{}, false
	}
	return storageID{block: true, dev: unix.Mkdev(major, minor)}, true
}

// sysfsNumber reads a file of one number; 0 if there is none.
func sysfsNumber(path string) int64 {
	n, _ := strconv.ParseInt(sysfsLine(path), 10, 64)
	return n
}
