//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// owners is how the owners of files are presented, and who those are that ask.
type owners struct {
	// uid and gid, if set, are the owners that all files show. What is stored stays.
	uid, gid *uint32
	// fakeRoot: whoever asks is root.
	fakeRoot bool
}

// shown gives the owner and the group that a file shows.
func (o *owners) shown(at *ext2.Attr) (uid, gid uint32) {
	uid, gid = at.UID, at.GID
	if o.uid != nil {
		uid = *o.uid
	}
	if o.gid != nil {
		gid = *o.gid
	}
	return uid, gid
}

// settable tells whether owners can be changed like that. Where all files show one owner,
// that is the only one to change to, and nothing changes.
func (o *owners) settable(s *ext2.SetAttr) bool {
	for _, id := range []struct{ all, to **uint32 }{{&o.uid, &s.UID}, {&o.gid, &s.GID}} {
		if *id.all == nil || *id.to == nil {
			continue
		}
		if **id.to != **id.all {
			return false
		}
		*id.to = nil
	}
	return true
}

// cred is on whose behalf a request comes. Supplementary groups are not in the message;
// they are looked up when somebody asks, which is seldom.
func (a *Adapter) cred(h *fuse.InHeader) ext2.Cred {
	if a.owners.fakeRoot {
		return ext2.Root
	}
	c := ext2.Cred{UID: h.Uid, GID: h.Gid}
	if pid := h.Pid; pid != 0 {
		c.Groups = func(gid uint32) bool { return inGroup(pid, gid) }
	}
	return c
}

// inGroup tells whether a process is in a supplementary group.
func inGroup(pid, gid uint32) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		groups, ok := strings.CutPrefix(s.Text(), "Groups:")
		if !ok {
			continue
		}
		for g := range strings.FieldsSeq(groups) {
			if n, err := strconv.ParseUint(g, 10, 32); err == nil && uint32(n) == gid {
				return true
			}
		}
		return false
	}
	return false
}
