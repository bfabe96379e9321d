//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/internal/shell"
)

// openTarget opens what is copied to: name in k.target, or, if into, the directory that name
// is there. Without a target it is a pipe or a device of the host.
func (k *copier) openTarget(to place, from []place) (name string, into bool, err error) {
	var image *imageTree
	var m *fileMeta
	if to.image != "" {
		if image, err = k.image(to.image, true); err != nil {
			return "", false, err
		}
		m, err = image.meta(to.path, true, false)
	} else {
		m, err = hostTree{}.meta(to.path, true, false)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", false, fmt.Errorf("%s: %w", to, reason(err))
	}
	there := err == nil
	into = there && m.is(unix.S_IFDIR)
	switch {
	case !into && (len(from) > 1 || to.slash):
		return "", false, fmt.Errorf("%s is not a directory, and has to be one for this; make it first", to)
	case image != nil:
		k.target = image
		return to.path, into, nil
	}
	dir, name := to.path, "."
	if !into {
		regular, err := k.regular(from[0])
		if err != nil {
			return "", false, err
		}
		// As cp has it, the copy of a regular file goes into what is named, and to where a
		// symbolic link leads that is. One that is come upon in a directory may be from an
		// image, and is not followed.
		if regular && there && m.isStream() {
			return to.path, false, nil
		}
		if at, err := filepath.EvalSymlinks(to.path); regular && err == nil {
			dir = at
		}
		dir, name = filepath.Dir(dir), filepath.Base(dir)
	}
	h, err := openHostDir(dir)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", dir, reason(err))
	}
	k.target = h
	return name, into, nil
}

// regular tells whether it is a regular file that is copied from a place.
func (k *copier) regular(p place) (bool, error) {
	from, err := k.source(p)
	if err != nil {
		return false, err
	}
	m, err := from.meta(p.path, !k.recursive(), false)
	return err == nil && m.is(unix.S_IFREG), nil // what is wrong with it the copying tells
}

// base is the name that a copy of a place gets in a directory; empty where what is in it
// is copied: "." and the root of an image.
func (p place) base() string {
	switch {
	case p.dot || p.image != "" && p.path == ".":
		return ""
	case p.image == "" && path.Base(p.path) == "..":
		return ""
	}
	return path.Base(p.path)
}

// source is where a place lies that is copied from.
func (k *copier) source(p place) (source, error) {
	if p.image == "" {
		return hostTree{}, nil
	}
	return k.image(p.image, false)
}

// image opens an image, once, whatever it is called.
func (k *copier) image(name string, write bool) (*imageTree, error) {
	id, err := fileID(name)
	if err != nil {
		return nil, err
	}
	for _, t := range k.images {
		if t.id == id {
			return t, nil
		}
	}
	fs, err := k.c.open(name, write)
	if err != nil {
		return nil, err
	}
	t := newImageTree(name, fs, id)
	k.images = append(k.images, t)
	return t, nil
}

// onDevice stands for the device in the imageID of a block device.
const onDevice = ^uint64(0)

// imageID tells images of the host apart whatever they are called: devices by their number.
func (m *fileMeta) imageID() [2]uint64 {
	if m.is(unix.S_IFBLK) {
		return [2]uint64{onDevice, unix.Mkdev(m.major, m.minor)}
	}
	return m.id
}

// storageOf is where the bytes of what has an imageID lie.
func storageOf(id [2]uint64) blockio.Storage {
	if id[0] == onDevice {
		return blockio.DeviceStorage(id[1])
	}
	return blockio.FileStorage(id[0], id[1])
}

// inTarget tells whether a file of the host has bytes of the image that is copied to.
func (k *copier) inTarget(from source, id [2]uint64) bool {
	t, ok := k.target.(*imageTree)
	return ok && from == (hostTree{}) && t.lies.Overlaps(storageOf(id))
}

// checkInUse fails where a file of the host is an image that is open here, or a device has some of
// its bytes: written over, it would be lost, and what is copied with it.
func (k *copier) checkInUse(name string, m *fileMeta) error {
	id := m.imageID()
	for _, t := range k.images {
		switch {
		case t.id == id:
			return fmt.Errorf("is an image that this reads; write %s:/ to copy into it, or name another target", shell.Quote(name))
		case t.lies.Overlaps(storageOf(id)):
			return fmt.Errorf("has the same bytes as %s, an image that this reads; name another target", t.image)
		}
	}
	return nil
}
