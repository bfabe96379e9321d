package ext2

import "strings"

// maxLinks is how many symbolic links one path may lead through.
const maxLinks = 40

// InodeByPath is the inode that a path leads to, with a reference taken. Paths begin at the
// root, with a slash or without; names may be any bytes. Symbolic links are followed as in a
// process whose root directory is the image's root; one at the path's end only with follow.
func (fs *FS) InodeByPath(name string, follow bool) (*Inode, error) {
	root, err := fs.Root()
	if err != nil {
		return nil, err
	}
	// All directories on the way stay referenced, so that Lookup notices one that comes up
	// again below itself, and ".." needs no look at the image.
	rest, way := name, []*Inode{root}
	defer func() {
		for _, in := range way {
			in.Put()
		}
	}()
	cut := func(n int) {
		for _, in := range way[n:] {
			in.Put()
		}
		way = way[:n]
	}
	for links, more := 0, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		at := way[len(way)-1]
		switch {
		case !at.IsDir():
			return nil, ErrNotDir
		case name == "" || name == ".":
			continue
		case name == "..":
			cut(max(len(way)-1, 1))
			continue
		}
		child, err := at.Lookup(name)
		if err != nil {
			return nil, err
		}
		if !child.IsSymlink() || !more && !follow {
			way = append(way, child)
			continue
		}
		target, err := child.Readlink()
		child.Put()
		if err != nil {
			return nil, err
		}
		if links++; links > maxLinks {
			return nil, ErrLoop
		}
		if strings.HasPrefix(target, "/") {
			cut(1)
		}
		if more {
			target += "/" + rest
		}
		rest, more = target, true
	}
	last := way[len(way)-1]
	last.Ref()
	return last, nil
}
