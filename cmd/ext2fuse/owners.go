//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// ownerWords are the -o words about the owners of files.
type ownerWords struct {
	uid, gid int64 // that all files show; negative is as stored
	fakeRoot bool
}

func (w *ownerWords) apply(o *fusefs.Options) {
	for _, id := range []struct {
		from int64
		to   **uint32
	}{{w.uid, &o.UID}, {w.gid, &o.GID}} {
		if id.from >= 0 {
			v := uint32(id.from)
			*id.to = &v
		}
	}
	if w.fakeRoot {
		o.FakeRoot, o.AllowOther = true, false
	}
}

// mknodVerb makes what the kernel lets no plain user make, not even on his own mount.
var mknodVerb = verb{
	name: "mknod", operands: "IMAGE:PATH b|c MAJOR MINOR", least: 4, most: 4,
	doc: "make a device file in an image, owned by root. It needs no rights but to write the image, which is not mounted meanwhile",
	flags: func(f *pflag.FlagSet) {
		f.StringP("mode", "m", "660", "permissions, as an octal `MODE`")
		f.Uint32("uid", 0, "owner")
		f.Uint32("gid", 0, "group")
	},
	run: func(c *call) error {
		o, err := c.device()
		if err != nil {
			return err
		}
		p := parsePlace(c.args[0])
		if p.image == "" {
			return usagef("%q is no place in an image, IMAGE:PATH", c.args[0])
		}
		fs, err := c.open(p.image, true)
		if err != nil {
			return err
		}
		err = makeNode(fs, p.path, o)
		if fs.Failure() != nil {
			return errors.Join(writeEnded(p.image, fs), fs.Close())
		}
		if cerr := fs.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p, reason(err))
		}
		return nil
	},
}

// device reads what kind of device is wanted.
func (c *call) device() (o ext2.CreateOptions, err error) {
	mode, err := strconv.ParseUint(c.flags.Lookup("mode").Value.String(), 8, 12)
	if err != nil {
		return o, usagef("the mode is not an octal number up to 7777")
	}
	major, err1 := strconv.ParseUint(c.args[2], 0, 12)
	minor, err2 := strconv.ParseUint(c.args[3], 0, 20)
	if err1 != nil || err2 != nil {
		return o, usagef("%q, %q: expected a major number below 4096 and a minor one below 1048576", c.args[2], c.args[3])
	}
	typ, ok := map[string]uint32{"b": unix.S_IFBLK, "c": unix.S_IFCHR, "u": unix.S_IFCHR}[c.args[1]]
	if !ok {
		return o, usagef("%q: expected b or c", c.args[1])
	}
	uid, _ := c.flags.GetUint32("uid")
	gid, _ := c.flags.GetUint32("gid")
	return ext2.CreateOptions{Mode: typ | uint32(mode), Major: uint32(major), Minor: uint32(minor),
		Cred: ext2.Cred{UID: uid, GID: gid}}, nil
}

func makeNode(fs *ext2.FS, name string, o ext2.CreateOptions) error {
	dir, err := fs.InodeByPath(path.Dir(name), true)
	if err != nil {
		return err
	}
	defer dir.Put()
	in, err := dir.Create(context.Background(), path.Base(name), o)
	if err != nil {
		return err
	}
	in.Put()
	return nil
}
