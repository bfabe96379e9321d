//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// debugger reads an image with debugfs: inodes, attributes and block maps are what
// debugfs says, content and directory entries are read from the image at the blocks
// it names. It needs neither root nor a mount, and takes all block sizes.
type debugger struct {
	ctx       context.Context
	image     *os.File
	window    window
	blockSize int64
	scratch   string
	tree      *tree
	inodes    map[uint32]*debugInode
	seen      map[uint32]bool // directories: each has one name, or the walk would not end
}

// debugInode is an inode as debugfs shows it.
type debugInode struct {
	node
	ino    uint32
	mode   uint32
	size   int64
	flags  uint32
	fast   bool // symlink whose target is in the inode
	blocks []blockRun
	eas    []string // names of extended attributes
}

// blockRun is a run of mapped blocks of a file, in blocks.
type blockRun struct{ logical, physical, count int64 }

// readDebugfs looks at everything in the image.
func readDebugfs(ctx context.Context, image string, win window) (*tree, error) {
	f, err := os.Open(image)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	scratch, err := os.MkdirTemp("", "mount-compare-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	d := &debugger{ctx: ctx, image: f, window: win, scratch: scratch, inodes: map[uint32]*debugInode{}, seen: map[uint32]bool{rootIno: true},
		tree: &tree{label: "debugfs", nodes: map[string]*node{}}}
	if err := d.super(); err != nil {
		return nil, err
	}
	if err := d.load([]uint32{rootIno}); err != nil {
		return nil, err
	}
	// Level by level, so that debugfs is started once for each.
	d.tree.nodes["/"] = &d.inodes[rootIno].node
	for level := []debugDir{{"/", rootIno}}; len(level) > 0; {
		if level, err = d.level(level); err != nil {
			return nil, err
		}
	}
	return d.tree, nil
}

// debugDir is a directory to look into.
type debugDir struct {
	path string
	ino  uint32
}

// level enters what is in directories into the tree and returns the directories
// among it.
func (d *debugger) level(dirs []debugDir) (next []debugDir, err error) {
	var wanted []uint32
	lists := make([][]dirent, len(dirs))
	for i, at := range dirs {
		if lists[i], err = d.directory(at.ino); err != nil {
			return nil, fmt.Errorf("%s: %w", at.path, err)
		}
		for _, e := range lists[i] {
			wanted = append(wanted, uint32(e.ino))
		}
	}
	if err := d.load(wanted); err != nil {
		return nil, err
	}
	w := walker{tree: d.tree}
	for i, at := range dirs {
		found := make([]*node, len(lists[i]))
		for j, e := range lists[i] {
			if e.name == "." || e.name == ".." {
				continue
			}
			in := d.inodes[uint32(e.ino)]
			n := in.node // a copy: the entry's fields differ between links
			n.fields[fDtype], n.fields[fDino] = dtypeName(e.dtype), fmt.Sprint(e.ino)
			found[j] = &n
			if in.mode&unix.S_IFMT == unix.S_IFDIR {
				if d.seen[in.ino] {
					return nil, fmt.Errorf("%s: directory %d has two names, or is its own parent", at.path, in.ino)
				}
				d.seen[in.ino] = true
				next = append(next, debugDir{path.Join(at.path, e.name), in.ino})
			}
		}
		d.tree.nodes[at.path].fields[fList] = w.file(at.path, lists[i], found)
	}
	return next, nil
}

const rootIno = 2

// run has debugfs carry out commands and returns the output of each.
func (d *debugger) run(commands []string) ([]string, error) {
	script := filepath.Join(d.scratch, "commands")
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	image := d.image.Name()
	if d.window.offset != 0 {
		image += fmt.Sprintf("?offset=%d", d.window.offset)
	}
	cmd := exec.CommandContext(d.ctx, findTool("debugfs"), "-f", script, image)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C", "DEBUGFS_PAGER=__none__")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("debugfs %s: %w: %s", image, err, strings.TrimSpace(errs.String()))
	}
	return splitOutput(string(out), commands)
}

// splitOutput cuts what debugfs printed into one piece per command, at the echo of
// each.
func splitOutput(out string, commands []string) ([]string, error) {
	pieces := make([]string, len(commands))
	for i, c := range commands {
		echo := "debugfs: " + c + "\n"
		rest, ok := strings.CutPrefix(out, echo)
		if !ok {
			return nil, fmt.Errorf("debugfs: expected the echo of %q, found %.80q", c, out)
		}
		end := len(rest)
		if i+1 < len(commands) {
			if end = strings.Index(rest, "debugfs: "+commands[i+1]+"\n"); end < 0 {
				return nil, fmt.Errorf("debugfs: no echo of %q", commands[i+1])
			}
		}
		pieces[i], out = rest[:end], rest[end:]
	}
	return pieces, nil
}

// load asks for inodes, their xattrs, targets and content.
func (d *debugger) load(inos []uint32) error {
	sort.Slice(inos, func(i, j int) bool { return inos[i] < inos[j] })
	var commands []string
	var fresh []*debugInode
	for _, ino := range inos {
		if d.inodes[ino] == nil {
			in := &debugInode{ino: ino}
			d.inodes[ino] = in
			fresh = append(fresh, in)
			commands = append(commands, fmt.Sprintf("stat <%d>", ino))
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	out, err := d.run(commands)
	if err != nil {
		return err
	}
	for i, in := range fresh {
		if err := in.parse(out[i]); err != nil {
			return fmt.Errorf("debugfs stat <%d>: %w in:\n%s", in.ino, err, out[i])
		}
		in.fields[fBlksize] = fmt.Sprint(d.blockSize)
	}
	if err := d.details(fresh); err != nil {
		return err
	}
	for _, in := range fresh {
		if err := d.content(in); err != nil {
			return fmt.Errorf("inode %d: %w", in.ino, err)
		}
	}
	return nil
}

// details asks for what stat does not show exactly: values of xattrs, and targets
// of symlinks that lie in the inode.
func (d *debugger) details(inodes []*debugInode) error {
	var commands []string
	var take []func(out string) error
	for _, in := range inodes {
		in.xattrs = map[string]string{}
		for i, name := range in.eas {
			if !visible(name) {
				continue
			}
			file := filepath.Join(d.scratch, fmt.Sprintf("%d.%d", in.ino, i))
			commands = append(commands, fmt.Sprintf(`ea_get -f %s <%d> "%s"`, file, in.ino, strings.ReplaceAll(name, `"`, `""`)))
			take = append(take, func(string) error {
				value, err := os.ReadFile(file)
				if errors.Is(err, os.ErrNotExist) {
					value, err = nil, nil // debugfs makes no file for an empty value
				}
				in.xattrs[name] = string(withoutIDs(name, value))
				os.Remove(file)
				return err
			})
		}
		if in.fast {
			commands = append(commands, fmt.Sprintf("inode_dump -b <%d>", in.ino))
			take = append(take, func(out string) error {
				raw, err := parseHexDump(out)
				if err != nil || int64(len(raw)) < in.size {
					return fmt.Errorf("inode %d: %d bytes of %d in the dump of its symlink: %v", in.ino, len(raw), in.size, err)
				}
				in.fields[fTarget] = quote(string(raw[:in.size]))
				return nil
			})
		}
	}
	if len(commands) > 0 {
		out, err := d.run(commands)
		if err != nil {
			return err
		}
		for i := range take {
			if err := take[i](out[i]); err != nil {
				return err
			}
		}
	}
	for _, in := range inodes {
		in.nameXattrs()
	}
	return nil
}

// withoutIDs makes of the ACLs that debugfs gives what the system calls give: 0 as id
// of the entries that have none becomes -1. Layout: version 4, then tag 2, perm 2,
// id 4 for each entry.
func withoutIDs(name string, value []byte) []byte {
	if !strings.HasPrefix(name, "system.posix_acl_") {
		return value
	}
	const user, group = 2, 8 // the tags with ids
	for off := 4; off+8 <= len(value); off += 8 {
		if tag := binary.LittleEndian.Uint16(value[off:]); tag != user && tag != group {
			binary.LittleEndian.PutUint32(value[off+4:], 1<<32-1)
		}
	}
	return value
}

// visible tells whether the system calls show an attribute to this user.
func visible(name string) bool {
	switch {
	case strings.HasPrefix(name, "user."), strings.HasPrefix(name, "security."), strings.HasPrefix(name, "system.posix_acl_"):
		return true
	case strings.HasPrefix(name, "trusted."):
		return os.Geteuid() == 0
	}
	return false
}
