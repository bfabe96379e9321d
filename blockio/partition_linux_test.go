package blockio_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// sfdisk makes a partitioned image and gives it with what sfdisk says of it.
func sfdisk(t testing.TB, size int64, script string) (image string, want []blockio.Partition) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "disk.img")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "--quiet", image)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	out, err := exec.Command("sfdisk", "--json", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	var dump struct {
		PartitionTable struct {
			Label      string
			Partitions []struct {
				Node, Type, Name string
				Start, Size      int64
			}
		}
	}
	if err := json.Unmarshal(out, &dump); err != nil {
		t.Fatal(err)
	}
	table := map[string]string{"dos": "mbr", "gpt": "gpt"}[dump.PartitionTable.Label]
	for _, p := range dump.PartitionTable.Partitions {
		number := 0
		for _, digit := range strings.TrimPrefix(p.Node, image) {
			number = number*10 + int(digit-'0')
		}
		if table == "mbr" {
			p.Type = "0x" + strings.Repeat("0", 2-len(p.Type)) + p.Type
		}
		want = append(want, blockio.Partition{
			Number: number, Start: p.Start * 512, Size: p.Size * 512, Table: table, Type: p.Type, Name: p.Name,
		})
	}
	return image, want
}

const (
	gptScript = "label: gpt\nstart=2048,size=2048,type=L,name=first\n" +
		"start=8192,size=100,type=S,name=\"swäp room\"\nstart=16384,type=L\n"
	dosScript = "label: dos\nsize=2048,type=83\nsize=20480,type=5\n" +
		"5: size=1024,type=83\n6: size=2048,type=82\n7: size=3000,type=83\n"
)

func TestPartitionsAsSfdisk(t *testing.T) {
	for name, script := range map[string]string{"GPT": gptScript, "DOSWithLogical": dosScript} {
		t.Run(name, func(t *testing.T) {
			image, want := sfdisk(t, 20<<20, script)
			got, err := blockio.Partitions(open(t, image, blockio.OpenOptions{ReadOnly: true}))
			if err != nil || len(got) != len(want) || len(got) < 3 {
				t.Fatalf("%v\n got %+v\nwant %+v", err, got, want)
			}
			for i := range got {
				if got[i] != want[i] {
					t.Errorf("got %+v\nwant %+v", got[i], want[i])
				}
			}
		})
	}
}

func TestOpenPartition(t *testing.T) {
	image, parts := sfdisk(t, 20<<20, gptScript)
	for _, p := range parts {
		dev, err := blockio.Open(context.Background(), image, blockio.OpenOptions{Part: p.Number})
		if err != nil {
			t.Fatal(err)
		}
		if dev.Size() != p.Size {
			t.Errorf("partition %d: %d bytes, want %d", p.Number, dev.Size(), p.Size)
		}
		if _, err := dev.WritevAt([][]byte{{byte(p.Number)}}, 7); err != nil {
			t.Error(err)
		}
		_ = dev.Close()
	}
	all, _ := os.ReadFile(image)
	for _, p := range parts {
		if all[p.Start+7] != byte(p.Number) {
			t.Errorf("partition %d was written elsewhere", p.Number)
		}
	}
	_, err := blockio.Open(context.Background(), image, blockio.OpenOptions{Part: 9})
	if !errors.Is(err, blockio.ErrNoPartition) || !strings.Contains(err.Error(), "there are: 1, 2, 3") {
		t.Errorf("partition 9: %v", err)
	}
	if err := os.Truncate(image, 10<<20); err != nil {
		t.Fatal(err)
	}
	_, err = blockio.Open(context.Background(), image, blockio.OpenOptions{Part: 3})
	if !errors.Is(err, blockio.ErrPastEnd) || !strings.Contains(err.Error(), "partition 3") {
		t.Errorf("a partition that a truncated image lacks: %v", err)
	}
	dev := open(t, image, blockio.OpenOptions{Part: 2})
	if dev.Size() != 100*512 {
		t.Errorf("partition 2: %d bytes", dev.Size())
	}
}

func TestDamagedGPT(t *testing.T) {
	image, want := sfdisk(t, 20<<20, gptScript)
	good, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	last := len(good) - 512
	seal := func(b []byte, at int) { // a header whose own checksum is right
		clear(b[at+16 : at+20])
		binary.LittleEndian.PutUint32(b[at+16:], crc32.ChecksumIEEE(b[at:at+92]))
	}
	for _, c := range []struct {
		name string
		harm func(b []byte)
		says string // empty: the backup saves it
	}{
		{"PrimaryGone", func(b []byte) { clear(b[512:1024]) }, ""},
		{"PrimaryChecksum", func(b []byte) { b[512+40] ^= 1 }, ""},
		{"PrimaryEntries", func(b []byte) { b[1024+40] ^= 1 }, ""},
		{"PrimaryHugeCount", func(b []byte) { binary.LittleEndian.PutUint32(b[512+80:], 1<<31); seal(b, 512) }, ""},
		{"BackupGone", func(b []byte) { clear(b[last:]) }, ""},
		{"BackupHugeCount", func(b []byte) { binary.LittleEndian.PutUint32(b[last+80:], 1<<31); seal(b, last) }, ""},
		{"BothChecksums", func(b []byte) { b[512+40] ^= 1; b[last+40] ^= 1 }, "checksum"},
		{"BothEntrySizeZero", func(b []byte) {
			for _, at := range []int{512, last} {
				binary.LittleEndian.PutUint32(b[at+84:], 0)
				seal(b, at)
			}
		}, "entries of 0 bytes"},
		{"BothHugeCounts", func(b []byte) {
			for _, at := range []int{512, last} {
				binary.LittleEndian.PutUint32(b[at+80:], 1<<32-1)
				seal(b, at)
			}
		}, "4294967295 partition entries"},
		{"BothEntriesFarAway", func(b []byte) {
			for _, at := range []int{512, last} {
				binary.LittleEndian.PutUint64(b[at+72:], 1<<63)
				seal(b, at)
			}
		}, "past the end"},
		{"BothEntriesDamaged", func(b []byte) { b[1024+40] ^= 1; b[last-128*128+40] ^= 1 }, "hecksum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(good)
			c.harm(b)
			got, err := blockio.Partitions(blockiotest.MemOf(b))
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if err != nil || len(got) != len(want) || got[1] != want[1] {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestNoTable(t *testing.T) {
	for name, image := range map[string][]byte{
		"Zeros": make([]byte, 1<<20), "Tiny": make([]byte, 100), "OneSector": make([]byte, 512),
		"Text": bytes.Repeat([]byte("no table here "), 1000),
	} {
		if parts, err := blockio.Partitions(blockiotest.MemOf(image)); !errors.Is(err, blockio.ErrNoPartition) {
			t.Errorf("%s: %v, %v", name, parts, err)
		}
	}
}

func TestLogicalLoop(t *testing.T) {
	image, _ := sfdisk(t, 20<<20, dosScript)
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	ext := int(binary.LittleEndian.Uint32(b[446+16+8:])) * 512
	binary.LittleEndian.PutUint32(b[ext+446+16+8:], 0) // the first link leads to itself
	if _, err := blockio.Partitions(blockiotest.MemOf(b)); err == nil || !strings.Contains(err.Error(), "never ends") {
		t.Errorf("a chain that bites its tail: %v", err)
	}
}

func TestPartitionsReadError(t *testing.T) {
	f := blockiotest.NewFault(blockiotest.NewMem(1 << 20))
	f.Fail(blockiotest.Rule{Op: blockio.Read})
	var e *blockio.Error
	if _, err := blockio.Partitions(f); !errors.As(err, &e) {
		t.Errorf("an unreadable device: %v", err)
	}
}

// FuzzPartitions changes good tables: hostile ones neither crash nor hang nor take
// memory, and what is listed makes sense.
func FuzzPartitions(f *testing.F) {
	var images []*blockiotest.Mem
	for _, script := range []string{gptScript, dosScript} {
		image, _ := sfdisk(f, 20<<20, script)
		b, err := os.ReadFile(image)
		if err != nil {
			f.Fatal(err)
		}
		images = append(images, blockiotest.MemOf(b))
	}
	for which := range images {
		f.Add(which, 512+72, []byte{2}, 512+84, []byte{0, 1}, true)
		f.Add(which, 446+16, []byte{0x80}, 1024+32, bytes.Repeat([]byte{0xff}, 16), true)
		f.Add(which, 512, []byte("EFI PART"), -512, []byte("EFI PART"), false)
		f.Add(which, 446+4, []byte{0xee}, 446+8, []byte{1, 0, 0, 0}, false)
	}
	f.Fuzz(func(t *testing.T, which, at1 int, patch1 []byte, at2 int, patch2 []byte, seal bool) {
		m := images[uint(which)%2].Clone()
		change(m, int64(at1), patch1)
		change(m, int64(at2), patch2)
		if seal {
			sealGPT(m)
		}
		parts, err := blockio.Partitions(m)
		if err != nil {
			return
		}
		for _, p := range parts {
			if p.Start < 0 || p.Size <= 0 || p.Start+p.Size < 0 || p.Number < 1 {
				t.Errorf("nonsense: %+v", p)
			}
		}
	})
}

// change puts the patch where it says, from the end where that is below 0, as far as m goes.
func change(m *blockiotest.Mem, at int64, patch []byte) {
	if at < 0 {
		at += m.Size()
	}
	if at >= 0 && at < m.Size() {
		blockiotest.Apply(m, blockiotest.Event{Op: blockio.Write, Data: patch[:min(int64(len(patch)), m.Size()-at)], Off: at})
	}
}

// sealGPT makes the checksums of both headers right, whatever they say.
func sealGPT(m *blockiotest.Mem) {
	for _, at := range []int64{512, m.Size() - 512} {
		h := m.Bytes(at, 92)
		entries := binary.LittleEndian.Uint64(h[72:])
		bytes := uint64(binary.LittleEndian.Uint32(h[80:])) * uint64(binary.LittleEndian.Uint32(h[84:]))
		if n := uint64(m.Size()); entries < n/512 && bytes <= n-entries*512 {
			binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(m.Bytes(int64(entries)*512, int64(bytes))))
		}
		clear(h[16:20])
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		change(m, at, h)
	}
}
