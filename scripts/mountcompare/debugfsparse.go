//go:build linux

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// super reads the superblock as debugfs shows it.
func (d *debugger) super() error {
	out, err := d.run([]string{"show_super_stats -h"})
	if err != nil {
		return err
	}
	values := map[string]string{}
	for _, line := range strings.Split(out[0], "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok {
			values[key] = strings.TrimSpace(value)
		}
	}
	number := func(key string) (uint64, bool) {
		n, err := strconv.ParseUint(values[key], 10, 64)
		return n, err == nil
	}
	bs, ok := number("Block size")
	if !ok || bs == 0 {
		return fmt.Errorf("debugfs shows no block size in:\n%s", out[0])
	}
	d.blockSize = int64(bs)
	d.tree.filetype = strings.Contains(" "+values["Filesystem features"]+" ", " filetype ")
	d.tree.statfs = map[string]uint64{"bsize": bs, "frsize": bs, "namelen": 255}
	for key, from := range map[string]string{"files": "Inode count", "ffree": "Free inodes", "bfree": "Free blocks"} {
		if n, ok := number(from); ok {
			d.tree.statfs[key] = n
		}
	}
	free, _ := number("Free blocks")
	if reserved, ok := number("Reserved block count"); ok {
		d.tree.statfs["bavail"] = free - min(free, reserved)
	}
	blocks, _ := number("Block count")
	if overhead, ok := number("Overhead clusters"); ok && overhead > 0 && overhead < blocks {
		d.tree.statfs["blocks"] = blocks - overhead
	}
	return nil
}

var (
	statHead   = regexp.MustCompile(`^Inode: (\d+)\s+Type: (.+?)\s+Mode:\s+([0-7]+)\s+Flags: 0x([0-9a-f]+)`)
	statGen    = regexp.MustCompile(`(?m)^Generation: (\d+)`)
	statUser   = regexp.MustCompile(`(?m)^User:\s+(-?\d+)\s+Group:\s+(-?\d+)\s.*?Size: (\d+)`)
	statLinks  = regexp.MustCompile(`(?m)^Links: (\d+)\s+Blockcount: (\d+)`)
	statTime   = regexp.MustCompile(`(?m)^ ?(ctime|atime|mtime|crtime): 0x([0-9a-f]{8})(?::([0-9a-f]{8}))?`)
	statDevice = regexp.MustCompile(`(?m)^(?:\(New-style\) )?Device major/minor number: (\d+):(\d+)`)
	statEA     = regexp.MustCompile(`(?m)^  ((?:[0-9a-f]{2} )+|[a-z]+\..+?) \((\d+)\)(?: = .*)?$`)
	statRun    = regexp.MustCompile(`\((\d+)(?:-(\d+))?\):(\d+)(?:-(\d+))?`)
)

var statTypes = map[string]uint32{
	"regular": unix.S_IFREG, "directory": unix.S_IFDIR, "symlink": unix.S_IFLNK, "FIFO": unix.S_IFIFO,
	"socket": unix.S_IFSOCK, "character special": unix.S_IFCHR, "block special": unix.S_IFBLK,
}

// parse decodes the output of debugfs' stat.
func (in *debugInode) parse(out string) error {
	head := statHead.FindStringSubmatch(out)
	if head == nil {
		return errors.New("no inode")
	}
	perm, _ := strconv.ParseUint(head[3], 8, 32)
	kind, ok := statTypes[head[2]]
	if !ok {
		return fmt.Errorf("unknown type %q", head[2])
	}
	flags, _ := strconv.ParseUint(head[4], 16, 32)
	in.mode, in.flags = kind|uint32(perm), uint32(flags)
	user, links, gen := statUser.FindStringSubmatch(out), statLinks.FindStringSubmatch(out), statGen.FindStringSubmatch(out)
	if user == nil || links == nil || gen == nil {
		return errors.New("no user, link count or generation")
	}
	in.size, _ = strconv.ParseInt(user[3], 10, 64)
	in.fields[fType], in.fields[fMode] = typeName(in.mode), fmt.Sprintf("%04o", in.mode&0o7777)
	in.fields[fIno], in.fields[fSize] = fmt.Sprint(in.ino), user[3]
	in.fields[fUID], in.fields[fGID] = unsigned(user[1]), unsigned(user[2])
	in.fields[fLinks], in.fields[fBlocks] = links[1], links[2]
	if kind == unix.S_IFREG || kind == unix.S_IFDIR {
		in.fields[fFlags] = flagNames(in.flags & userVisible)
		in.fields[fVersion] = gen[1]
	}
	in.times(out)
	if dev := statDevice.FindStringSubmatch(out); dev != nil {
		major, _ := strconv.Atoi(dev[1])
		minor, _ := strconv.Atoi(dev[2])
		in.fields[fDevice] = fmt.Sprintf("%d:%d", major, minor)
	}
	in.fast = strings.Contains(out, "\nFast link dest: ")
	if _, list, ok := strings.Cut(out, "\nExtended attributes:\n"); ok {
		list, _, _ = strings.Cut(list, "\nBLOCKS:")
		for _, ea := range statEA.FindAllStringSubmatch(list, -1) {
			in.eas = append(in.eas, unescape(ea[1]))
		}
	}
	return in.blockMap(out)
}

// unescape reads the name of an attribute; debugfs prints one that is not ASCII as
// bytes in hexadecimal.
func unescape(s string) string {
	if raw, err := hex.DecodeString(strings.ReplaceAll(s, " ", "")); err == nil {
		return string(raw)
	}
	return s
}

// userVisible is the inode flags that FS_IOC_GETFLAGS shows (FS_FL_USER_VISIBLE and
// ext4's own).
const userVisible = 0x705bdfff

// unsigned takes an id that debugfs prints as a signed number.
func unsigned(s string) string {
	n, _ := strconv.ParseInt(s, 10, 64)
	return fmt.Sprint(uint32(n))
}

// times decodes the time stamps: 32 bits of seconds, signed, then 30 bits of
// nanoseconds above 2 bits that go on top of the seconds.
func (in *debugInode) times(out string) {
	fields := map[string]field{"atime": fAtime, "mtime": fMtime, "ctime": fCtime, "crtime": fBtime}
	in.fields[fBtime] = "none"
	for _, m := range statTime.FindAllStringSubmatch(out, -1) {
		low, _ := strconv.ParseUint(m[2], 16, 32)
		extra, _ := strconv.ParseUint("0"+m[3], 16, 64)
		in.fields[fields[m[1]]] = stamp(int64(int32(low))+int64(extra&3)<<32, uint32(extra>>2))
	}
}

// blockMap decodes the list of blocks; indirect blocks are left out.
func (in *debugInode) blockMap(out string) error {
	_, list, ok := strings.Cut(out, "\nBLOCKS:\n")
	if !ok {
		return nil // a device, or a symlink without blocks
	}
	list, _, _ = strings.Cut(list, "\nTOTAL:")
	for _, m := range statRun.FindAllStringSubmatch(list, -1) {
		first, _ := strconv.ParseInt(m[1], 10, 64)
		last := first
		if m[2] != "" {
			last, _ = strconv.ParseInt(m[2], 10, 64)
		}
		physical, _ := strconv.ParseInt(m[3], 10, 64)
		if last < first {
			return fmt.Errorf("block range %s", m[0])
		}
		in.blocks = append(in.blocks, blockRun{first, physical, last - first + 1})
	}
	return nil
}

// parseHexDump decodes debugfs' dump: octal offset, groups of two bytes in
// hexadecimal, characters; "*" stands for lines equal to the one before.
func parseHexDump(out string) ([]byte, error) {
	var all, last []byte
	for _, line := range strings.Split(out, "\n") {
		switch {
		case line == "":
			continue
		case line == "*":
			for len(all) < 60 && len(last) > 0 {
				all = append(all, last...)
			}
			continue
		}
		offset, rest, ok := strings.Cut(line, "  ")
		if _, err := strconv.ParseUint(offset, 8, 32); !ok || err != nil {
			return nil, fmt.Errorf("dump line %q", line)
		}
		groups, _, _ := strings.Cut(rest, "  ")
		row, err := hex.DecodeString(strings.ReplaceAll(groups, " ", ""))
		if err != nil {
			return nil, fmt.Errorf("dump line %q: %w", line, err)
		}
		all, last = append(all, row...), row
	}
	return all, nil
}
