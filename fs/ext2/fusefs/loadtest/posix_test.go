//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"os"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// All of go-fuse's own suite but one: FcntlFlockLocksFile wants a process to be kept out
// by its own lock, which POSIX forbids; go-fuse's own tests leave it out as well. What two
// processes see of each other's locks is TestLocks' matter. With the write-back cache
// FallocateKeepSize is left out, too: the daemon has not heard of the data yet that makes
// the range lie inside the file, and refuses it (docs/COMPATIBILITY.md).
func TestPosix(t *testing.T) {
	bothModes(t, func(t *testing.T, word string) {
		m := newMount(t, ext2test.Options{BlockSize: 4096, Size: 64 << 20}, word)
		large := newMount(t, ext2test.Options{BlockSize: 64 << 10, Size: 64 << 20}, word)
		for name, f := range posixtest.All {
			m := m
			if name == "XAttrLarge" { // an attribute lies in one block, and this one is large
				m = large
			}
			if name == "FcntlFlockLocksFile" || name == "FallocateKeepSize" && word == "writeback_cache" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				if err := os.Mkdir(m.path(name), 0o755); err != nil {
					t.Fatal(err)
				}
				f(t, m.path(name))
			})
		}
	})
}
