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

// cred is on whose behalf a request comes. Supplementary groups are not in the message;
// they are looked up when somebody asks, which is seldom.
func cred(h *fuse.InHeader) ext2.Cred {
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
