//go:build linux

package jbd2

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// rawFile makes a file of n random blocks, every third of which looks like a journal's.
func rawFile(t testing.TB, seed uint64, n, blockSize int) string {
	t.Helper()
	b := ext2test.Content(seed, n*blockSize)
	for i := 0; i < n; i += 3 {
		header{kind: uint32(1 + i%5), sequence: uint32(i)}.encode(b[i*blockSize:])
	}
	path := filepath.Join(t.TempDir(), fmt.Sprintf("raw%d", seed))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func list(blocks []uint64) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(blocks), " ", ","), "[]")
}

// TestDebugfsJournals: journals that debugfs wrote, in each form it can.
func TestDebugfsJournals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options ext2test.Options
		open    string
	}{
		{"none", ext2test.Options{Type: "ext3", Size: 24 << 20}, "journal_open"},
		{"v1", ext2test.Options{Type: "ext3", Size: 24 << 20}, "journal_open -c -v 1"},
		{"v2", ext2test.Options{Type: "ext3", Size: 24 << 20, Features: []string{"metadata_csum"}}, "journal_open -c -v 2"},
		{"v3", ext2test.Options{Type: "ext3", Size: 24 << 20, Features: []string{"metadata_csum"}}, "journal_open -c -v 3"},
		{"wide", ext2test.Options{Type: "ext4", Size: 24 << 20, Features: []string{"64bit", "^metadata_csum"}}, "journal_open"},
		{"wide v2", ext2test.Options{Type: "ext4", Size: 24 << 20, Features: []string{"64bit", "metadata_csum"}}, "journal_open -c -v 2"},
		{"wide v3", ext2test.Options{Type: "ext4", Size: 24 << 20, Features: []string{"64bit", "metadata_csum"}}, "journal_open -c -v 3"},
		{"4k", ext2test.Options{Type: "ext3", Size: 48 << 20, BlockSize: 4096}, "journal_open"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := ext2test.Make(t, tt.options)
			size := superOf(t, img).BlockSize()
			free := freeBlocks(t, img, 300)
			one := rawFile(t, 1, 300, size)
			two := rawFile(t, 2, 300, size)
			revokes := "journal_write -r " + list(free[3:7])
			if tt.name == "v1" {
				// debugfs has revoke blocks in its checksum; who replays has not.
				revokes = "journal_write -b " + list(free[:2]) + " " + two
			}
			ext2test.DebugfsWrite(t, img, tt.open,
				"journal_write -b "+list(free[:10])+" "+one,
				"journal_write -b "+list(free[5:20])+" "+two,
				revokes,
				"journal_write -b "+list(free[6:9])+" "+one,
				"journal_write -b "+list(free)+" "+two,
				"journal_write -c -b "+list(free[:30])+" "+one,
				"journal_close")
			if !strings.Contains(ext2test.Debugfs(t, img, "logdump -a"), "(commit block) at block") {
				t.Fatal("debugfs wrote no transaction")
			}
			setRecover(t, img)
			res := replayAll(t, img)
			t.Logf("%s (%s)", res, res.Stop)
			if res.Transactions == 0 || res.Blocks == 0 {
				t.Errorf("%+v", res)
			}
		})
	}
}

// TestEncoded: what Encode makes is read by debugfs's logdump and replayed by e2fsck
// and the kernel as by ourselves, in every format, through the end of the ring.
func TestEncoded(t *testing.T) {
	for i, f := range allFormats() {
		if f.Wide { // no ext3; 64-bit tags are in TestDebugfsJournals
			continue
		}
		t.Run(fmt.Sprintf("%s async=%t", f.Checksum, f.Async), func(t *testing.T) {
			size := []int{1024, 4096}[i/2%2]
			img := ext2test.Make(t, ext2test.Options{Type: "ext3", Size: int64(size) * 16384, BlockSize: size,
				Args: []string{"-J", fmt.Sprintf("size=%d", size*1024>>20)}})
			free := freeBlocks(t, img, 400)
			p := placeOf(t, img)
			defer p.Dev.Close()
			j, err := Open(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.SetFormat(f); err != nil {
				t.Fatal(err)
			}
			seq, head := uint32(1000+i), j.Superblock().MaxLen-30 // wraps around within the first
			submit := func(bios ...*blockio.Bio) {
				t.Helper()
				for _, b := range bios {
					if p.Dev.Submit(b); b.Err != nil {
						t.Fatal(b.Err)
					}
				}
			}
			submit(j.Tail(head, seq))
			data := ext2test.Content(uint64(i), 400*size)
			var want []string
			for k, part := range []struct{ blocks, revokes []uint64 }{
				{free[:100], nil}, {free[50:60], free[90:95]}, {nil, free[:3]}, {free, nil}, {free[20:90], free[15:40]},
			} {
				tx := &Transaction{Sequence: seq, Time: time.Unix(1700000000+int64(k), 0), Revokes: part.revokes}
				for n, home := range part.blocks {
					b := slices.Clone(data[(n+k)%400*size:][:size])
					if n%5 == 0 {
						header{kind: uint32(1 + n%4), sequence: seq}.encode(b)
					}
					tx.Blocks = append(tx.Blocks, Block{home, b})
					want = append(want, fmt.Sprintf("FS block %d logged", home))
				}
				e, err := j.Encode(tx, head)
				if err != nil {
					t.Fatal(err)
				}
				submit(append(e.Body, e.Commit)...)
				want = append(want, fmt.Sprintf("Found expected sequence %d, type 2 (commit block)", seq))
				head, seq = e.Next, seq+1
			}
			p.Dev.Close()
			setRecover(t, img)
			dump := ext2test.Debugfs(t, img, "logdump -a")
			for _, line := range want {
				at := strings.Index(dump, line)
				if at < 0 {
					t.Fatalf("logdump does not say %q next:\n%s", line, dump)
				}
				dump = dump[at+len(line):]
			}
			res := replayAll(t, img)
			if res.Transactions != 5 || res.Next != seq+1 {
				t.Errorf("%+v", res)
			}
		})
	}
}

// TestCreated: a journal of our own making, with what stood in its blocks before, is a
// good one for e2fsck and the kernel, empty and with a transaction.
func TestCreated(t *testing.T) {
	for _, f := range []Format{{Revoke: true}, {Checksum: ChecksumV1, Async: true, Revoke: true}, {Checksum: ChecksumV3, Revoke: true}} {
		t.Run(f.Checksum.String(), func(t *testing.T) {
			img := ext2test.Make(t, ext2test.Options{Type: "ext3", Size: 16 << 20})
			free := freeBlocks(t, img, 20)
			p := placeOf(t, img)
			defer p.Dev.Close()
			old, err := Open(p)
			if err != nil {
				t.Fatal(err)
			}
			for i := range old.blocks.blocks { // stale content
				home, _ := old.blocks.run(i)
				b := ext2test.Content(uint64(i), p.BlockSize)
				if i%3 == 0 {
					header{kind: 1 + i%5, sequence: i}.encode(b)
				}
				if _, err := p.Dev.WritevAt([][]byte{b}, int64(home)*int64(p.BlockSize)); err != nil {
					t.Fatal(err)
				}
			}
			j, err := Create(p, f, [16]byte{1, 2, 3}, 0xFFFFFFFE)
			if err != nil {
				t.Fatal(err)
			}
			if b := j.Tail(0, 0xFFFFFFFE); true {
				p.Dev.Submit(b)
			}
			empty := ext2test.Copy(t, img)
			runTool(t, "0", "e2fsck", "-f", "-n", empty)
			seq := uint32(0xFFFFFFFE)
			head := j.First()
			p.Dev.Submit(j.Tail(head, seq))
			for range 4 {
				tx := &Transaction{Sequence: seq, Time: time.Unix(1700000000, 0)}
				for _, home := range free {
					b := make([]byte, p.BlockSize)
					binary.BigEndian.PutUint32(b, Magic)
					tx.Blocks = append(tx.Blocks, Block{home, b})
				}
				e, err := j.Encode(tx, head)
				if err != nil {
					t.Fatal(err)
				}
				p.Dev.Submit(append(e.Body, e.Commit)...)
				head, seq = e.Next, seq+1
			}
			p.Dev.Close()
			setRecover(t, img)
			if res := replayAll(t, img); res.Transactions != 4 || res.Blocks != len(free) {
				t.Errorf("%+v", res)
			}
		})
	}
}
