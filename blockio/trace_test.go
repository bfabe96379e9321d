package blockio_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// traced runs one bio of each kind through a trace of a window.
func traced(t *testing.T, below blockio.Device, trace func(blockio.Device) (*blockio.Trace, error)) {
	t.Helper()
	win, err := blockio.Window(below, 8192, 256<<10)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := trace(win)
	if err != nil {
		t.Fatal(err)
	}
	dev.Submit(bio(blockio.Read, blockio.Super, 1024, 1024))
	dev.SetBlockSize(4096)
	dev.Submit(
		bio(blockio.Read, blockio.Indirect, 4096*12, 4096),
		bio(blockio.Write, blockio.Data, 4096*20, 12288),
		bio(blockio.Sync, blockio.Journal, 0, 0),
		bio(blockio.Discard, blockio.Data, 4096*30, 8192),
		bio(blockio.Read, blockio.Data, 1<<30, 4096), // past the end: does not reach the image
	)
	if err := dev.Sync(); err != nil {
		t.Error(err)
	}
	if _, err := dev.ReadvAt([][]byte{make([]byte, 100)}, 0); err != nil {
		t.Error(err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

func TestTraceLines(t *testing.T) {
	var out bytes.Buffer
	traced(t, blockiotest.NewMem(1<<20), func(dev blockio.Device) (*blockio.Trace, error) {
		return blockio.NewTrace(dev, &out), nil
	})
	var got []string
	err := blockio.ReadTrace(&out, func(l blockio.TraceLine) error {
		got = append(got, fmt.Sprintf("%v %d %d block %d %v", l.Op, l.Off, l.Len, l.Block, l.For))
		return nil
	})
	want := []string{
		"read 9216 1024 block -1 super", "read 57344 4096 block 12 indirect", "write 90112 12288 block 20 data",
		"sync 0 0 block -1 journal", "discard 131072 8192 block 30 data", "sync 0 0 block -1 unknown", "read 8192 100 block 0 unknown",
	}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v; the trace has\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

// TestTraceDiskFull: a trace that cannot be written must not keep the bios.
func TestTraceDiskFull(t *testing.T) {
	dev := blockio.NewTrace(blockiotest.NewMem(1<<20), &failingWriter{left: 300})
	for range 20 {
		if _, err := dev.WritevAt([][]byte{{1}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := dev.Close(); err == nil || !strings.Contains(err.Error(), "trace is incomplete: disk full") {
		t.Errorf("Close: %v", err)
	}
}

func TestTraceShowsFailures(t *testing.T) {
	var out bytes.Buffer
	f := blockiotest.NewFault(blockiotest.NewMem(1 << 20))
	f.Fail(blockiotest.Rule{Op: blockio.Write})
	dev := blockio.NewTrace(f, &out)
	dev.Submit(bio(blockio.Write, blockio.Data, 0, 512), bio(blockio.Discard, blockio.Data, 0, 512))
	_ = dev.Close()
	failed := 0
	if err := blockio.ReadTrace(&out, func(l blockio.TraceLine) error {
		if l.Failed {
			failed++
		}
		if l.Failed != (l.Op == blockio.Write) {
			t.Errorf("%+v", l)
		}
		return nil
	}); err != nil || failed != 1 {
		t.Errorf("%d failures, %v", failed, err)
	}
}

func TestTraceHugeDiscard(t *testing.T) {
	var out bytes.Buffer
	dev := blockio.NewTrace(blockiotest.NewMem(1<<40), &out)
	if err := errors.Join(dev.Discard(0, 5<<30+1), dev.Close()); err != nil {
		t.Fatal(err)
	}
	var sum, lines int64
	if err := blockio.ReadTrace(&out, func(l blockio.TraceLine) error {
		if l.Off != sum || l.Len > 1<<32-1 {
			t.Errorf("%+v", l)
		}
		sum += l.Len
		lines++
		return nil
	}); err != nil || sum != 5<<30+1 || lines != 6 {
		t.Errorf("%d bytes in %d lines, %v", sum, lines, err)
	}
}

// FuzzReadTrace: any text is read or refused with the number of the line.
func FuzzReadTrace(f *testing.F) {
	f.Add("fio version 2 iolog\n/disk.img add\n/disk.img open\n/disk.img read 0 4096 t=0.5 block=3 for=data cold err\n/disk.img close\n")
	f.Add("fio version 2 iolog\n/x datasync 0 0\n/x trim 5 99999999999 t=NaN\n\n/x wait 100 0\n")
	f.Add("fio version 2 iolog\n/x read -1 2\n")
	f.Add("fio version 3 iolog\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines := 0
		err := blockio.ReadTrace(strings.NewReader(text), func(l blockio.TraceLine) error {
			lines++
			if l.Off < 0 || l.Len < 0 || l.Time < 0 || l.Path == "" {
				t.Errorf("nonsense: %+v", l)
			}
			return nil
		})
		if err == nil && lines > strings.Count(text, "\n") {
			t.Errorf("%d bios in fewer lines", lines)
		}
	})
}
