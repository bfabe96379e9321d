//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// mixer does random operations of all kinds on a file system, for tests of what must
// hold whatever is done. Every regular file gets content of one byte value, not 0, so
// that a byte of somebody else's shows.
type mixer struct {
	t    testing.TB
	fs   *FS
	rnd  *rand.Rand
	root *Inode
	dirs []*Inode // referenced
	open []*Inode // referenced files, some without a name
	done map[string]int

	damaged bool // the image is: errors may say so
}

func newMixer(t testing.TB, fs *FS, seed uint64) *mixer {
	root, err := fs.Root()
	if err != nil {
		t.Fatal(err)
	}
	return &mixer{t: t, fs: fs, rnd: rand.New(rand.NewPCG(seed, 77)), root: root, done: map[string]int{}}
}

// close gives all references back.
func (m *mixer) close() {
	for _, in := range append(append(m.dirs, m.open...), m.root) {
		in.Put()
	}
	m.dirs, m.open = nil, nil
}

func (m *mixer) dir() *Inode {
	if len(m.dirs) == 0 || m.rnd.IntN(4) == 0 {
		return m.root
	}
	return m.dirs[m.rnd.IntN(len(m.dirs))]
}

func (m *mixer) name() string {
	n := m.rnd.IntN(24)
	return fmt.Sprintf("n%d%s", n, strings.Repeat("x", n*n/3))
}

// file is a file that is open, or one found under a random name.
func (m *mixer) file() *Inode {
	if len(m.open) > 0 && m.rnd.IntN(2) == 0 {
		in := m.open[m.rnd.IntN(len(m.open))]
		in.Ref()
		return in
	}
	in, err := m.dir().Lookup(m.name())
	if err != nil {
		return nil
	}
	return in
}

// content is n bytes for the file, always of the same value.
func content(in *Inode, n int) []byte {
	return bytes.Repeat([]byte{byte(1 + in.Generation()%127)}, n)
}

// expected are the errors that random operations may meet.
var expected = []*Error{ErrExist, ErrNotExist, ErrNoSpace, ErrNotDir, ErrIsDir, ErrNotEmpty, ErrInvalid, ErrPerm,
	ErrTooBig, ErrNotSupported, ErrNoAttr, ErrAccess, ErrNoDevice, ErrStale, ErrNameTooLong, ErrTooManyLinks}

// step does one operation.
func (m *mixer) step() {
	ops := []struct {
		name string
		do   func() error
	}{
		{"create", m.create}, {"create", m.create}, {"mkdir", m.mkdir}, {"symlink", m.symlink}, {"mknod", m.mknod}, {"tmpfile", m.tmpfile},
		{"link", m.link}, {"unlink", m.unlink}, {"unlink", m.unlink}, {"rmdir", m.rmdir}, {"rename", m.rename}, {"rename", m.rename},
		{"write", m.write}, {"write", m.write}, {"write", m.write}, {"truncate", m.truncate}, {"fallocate", m.fallocate},
		{"setxattr", m.setxattr}, {"setxattr", m.setxattr}, {"removexattr", m.removexattr}, {"acl", m.acl}, {"setattr", m.setattr},
		{"chattr", m.chattr}, {"release", m.release},
	}
	op := ops[m.rnd.IntN(len(ops))]
	err := op.do()
	if err == nil {
		m.done[op.name]++
	}
	m.check(op.name, err)
}

// check takes the error of an operation.
func (m *mixer) check(what string, err error) {
	var known *Error
	switch {
	case err == nil:
	case m.damaged && isCorrupt(err):
	case !errors.As(err, &known):
		m.t.Errorf("%s: %v", what, err)
	case known == ErrReadOnly && m.damaged: // errors=remount-ro
	case !slices.Contains(expected, known):
		m.t.Errorf("%s: %v", what, err)
	}
}

func (m *mixer) keep(in *Inode, list *[]*Inode, most int) {
	if len(*list) < most && m.rnd.IntN(2) == 0 {
		*list = append(*list, in)
		return
	}
	in.Put()
}

func (m *mixer) create() error {
	in, err := m.dir().Create(ctx, m.name(), CreateOptions{Mode: disk.ModeReg | 0o644})
	if err == nil {
		m.keep(in, &m.open, 10)
	}
	return err
}

func (m *mixer) mkdir() error {
	in, err := m.dir().Create(ctx, m.name(), CreateOptions{Mode: disk.ModeDir | 0o755})
	if err == nil {
		m.keep(in, &m.dirs, 8)
	}
	return err
}

func (m *mixer) symlink() error {
	in, err := m.dir().Create(ctx, m.name(), CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: strings.Repeat("t", 1+m.rnd.IntN(200))})
	if err == nil {
		in.Put()
	}
	return err
}

func (m *mixer) mknod() error {
	mode := []uint32{disk.ModeChar, disk.ModeBlock, disk.ModeFIFO, disk.ModeSocket}[m.rnd.IntN(4)]
	in, err := m.dir().Create(ctx, m.name(), CreateOptions{Mode: mode | 0o600, Major: 8, Minor: 300})
	if err == nil {
		in.Put()
	}
	return err
}

func (m *mixer) tmpfile() error {
	in, err := m.dir().Tmpfile(ctx, CreateOptions{Mode: disk.ModeReg | 0o600})
	if err == nil {
		_, err = in.Write(ctx, content(in, m.rnd.IntN(5000)), 0, WriteOptions{})
		m.keep(in, &m.open, 10)
	}
	return err
}

func (m *mixer) link() error {
	in := m.file()
	if in == nil {
		return ErrNotExist
	}
	defer in.Put()
	return m.dir().Link(ctx, m.name(), in, Root)
}

func (m *mixer) unlink() error { return m.dir().Unlink(ctx, m.name()) }
func (m *mixer) rmdir() error  { return m.dir().Rmdir(ctx, m.name()) }

func (m *mixer) rename() error {
	flags := []uint32{0, 0, 0, RenameNoReplace, RenameExchange, RenameWhiteout}[m.rnd.IntN(6)]
	return m.dir().Rename(ctx, m.name(), m.dir(), m.name(), flags, Root)
}

func (m *mixer) write() error {
	in := m.file()
	if in == nil {
		return ErrNotExist
	}
	defer in.Put()
	if !in.IsReg() {
		return ErrInvalid
	}
	off := int64(m.rnd.IntN(40_000))
	switch m.rnd.IntN(8) {
	case 0:
		off = int64(m.rnd.IntN(30)) << 19 // needs tables of its own
	case 1:
		off = in.Attr().Size
	}
	_, err := in.Write(ctx, content(in, 1+m.rnd.IntN(60_000)), off, WriteOptions{})
	return err
}

func (m *mixer) truncate() error {
	in := m.file()
	if in == nil {
		return ErrNotExist
	}
	defer in.Put()
	size := int64(m.rnd.IntN(80_000))
	if m.rnd.IntN(4) == 0 {
		size = 0
	}
	return in.SetAttr(ctx, SetAttr{Size: &size})
}

func (m *mixer) fallocate() error {
	in := m.file()
	if in == nil {
		return ErrNotExist
	}
	defer in.Put()
	mode := []uint32{0, FallocPunchHole | FallocKeepSize, FallocZeroRange}[m.rnd.IntN(3)]
	return in.Fallocate(ctx, mode, int64(m.rnd.IntN(60_000)), 1+int64(m.rnd.IntN(60_000)), WriteOptions{})
}

func (m *mixer) anything() *Inode {
	if m.rnd.IntN(4) == 0 {
		in := m.dir()
		in.Ref()
		return in
	}
	return m.file()
}

func (m *mixer) setxattr() error {
	in := m.anything()
	if in == nil {
		return ErrNotExist
	}
	defer in.Put()
	value := []byte(strings.Repeat("v", []int{0, 5, 40, 300, 600}[m.rnd.IntN(5)])) // equal ones are shared
	return in.Setxattr(ctx, fmt.Sprint("user.", m.rnd.IntN(4)), value, 0, Root)
}

func (m *mixer) removexattr() error {
	in := m.anything()
	if in == nil {
		return ErrNotExist
	}
	defer in.Put()
	return in.Removexattr(ctx, fmt.Sprint("user.", m.rnd.IntN(4)), Root)
}

func (m *mixer) acl() error {
	in := m.anything()
	if in == nil {
		return ErrNotExist
	}
	defer in.Put()
	acl := disk.PosixACL([]disk.ACLEntry{{Tag: disk.ACLUserObj, Perm: 7}, {Tag: disk.ACLUser, Perm: 5, ID: m.rnd.Uint32N(3)},
		{Tag: disk.ACLGroupObj, Perm: 5}, {Tag: disk.ACLMask, Perm: 7}, {Tag: disk.ACLOther, Perm: 1}})
	name := []string{"system.posix_acl_access", "system.posix_acl_default"}[m.rnd.IntN(2)]
	if m.rnd.IntN(3) == 0 {
		return in.Removexattr(ctx, name, Root)
	}
	return in.Setxattr(ctx, name, acl, 0, Root)
}

func (m *mixer) setattr() error {
	in := m.anything()
	if in == nil {
		return ErrNotExist
	}
	defer in.Put()
	mode, uid, size := m.rnd.Uint32N(0o10000), m.rnd.Uint32(), int64(m.rnd.IntN(3000))
	s := SetAttr{Mode: &mode, UID: &uid, MtimeNow: true}
	if in.IsReg() {
		s.Size = &size
	}
	return in.SetAttr(ctx, s)
}

func (m *mixer) chattr() error {
	in := m.anything()
	if in == nil {
		return ErrNotExist
	}
	defer in.Put()
	return in.SetFlags(ctx, disk.InodeNoDump, Root)
}

func (m *mixer) release() error {
	if len(m.open) > 0 {
		i := m.rnd.IntN(len(m.open))
		m.open[i].Put()
		m.open = append(m.open[:i], m.open[i+1:]...)
	}
	if len(m.dirs) > 0 {
		i := m.rnd.IntN(len(m.dirs))
		m.dirs[i].Put()
		m.dirs = append(m.dirs[:i], m.dirs[i+1:]...)
	}
	return nil
}
