//go:build linux

package jbd2

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// dirtyModel is a journal with some transactions on it.
func dirtyModel(t testing.TB, seed uint64) *model {
	m := newModel(t, Format{Checksum: ChecksumV3, Revoke: true}, seed, 1024)
	for range 4 {
		m.append(t, m.transaction(60, 20))
	}
	return m
}

// TestReplayCutShort: cut after every write, a replay that is done again comes to the
// same; the journal is clean only when everything is in place.
func TestReplayCutShort(t *testing.T) {
	m := dirtyModel(t, 21)
	want := m.after(m.log)
	rec := blockiotest.NewRecorder(m.dev.Clone())
	p := m.place
	p.Dev = rec
	j, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Replay(ctx); err != nil {
		t.Fatal(err)
	}
	log := rec.Log()
	syncs := 0
	for n := range len(log) + 1 {
		image := rec.ImageAt(n)
		p.Dev = image
		j, err := Open(p)
		if err != nil {
			t.Fatal(err)
		}
		if !j.Dirty() && syncs == 0 {
			t.Fatalf("after %d of %d steps the journal is clean, and nothing was made durable", n, len(log))
		}
		if _, err := j.Replay(ctx); err != nil {
			t.Fatal(err)
		}
		for home, data := range want {
			if got := image.Bytes(int64(home)*1024, 1024); !bytes.Equal(got, data) {
				t.Fatalf("cut after %d of %d steps: block %d is not what it must be", n, len(log), home)
			}
		}
		if n < len(log) && log[n].Op == blockio.Sync {
			syncs++
		}
	}
}

// TestReplayFaults: each read, write and sync fails in turn. The error comes out, and
// the same replay on a sound device comes to the right end.
func TestReplayFaults(t *testing.T) {
	for _, op := range []blockio.Op{blockio.Read, blockio.Write, blockio.Sync} {
		for k := int64(1); ; k++ {
			m := dirtyModel(t, 22)
			fault := blockiotest.NewFault(m.dev)
			fault.Fail(blockiotest.Rule{Op: op, From: k, Times: 1, Err: errSome})
			p := m.place
			p.Dev = fault
			j, err := Open(p)
			if err == nil {
				_, err = j.Replay(ctx)
			}
			failed := fault.Failed() > 0
			// A read ahead or a merged request that fails is done again in parts.
			if err != nil && !errors.Is(err, errSome) || err == nil && failed && op == blockio.Sync || err != nil && !failed {
				t.Fatalf("%s %d: %v, %d failed", op, k, err, fault.Failed())
			}
			again, rerr := Open(m.place)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if err != nil && again.Dirty() {
				m.check(t, m.log)
			}
			for home, data := range m.after(m.log) {
				if !bytes.Equal(m.get(home), data) {
					t.Fatalf("%s %d, %v, %d failed, dirty %t: block %d is not what it must be", op, k, err, fault.Failed(), again.Dirty(), home)
				}
			}
			if !failed {
				break
			}
		}
	}
}

var errSome = errors.New("some trouble")

// TestReadOnlyDevice: nothing can be replayed, and it is said why.
func TestReadOnlyDevice(t *testing.T) {
	m := dirtyModel(t, 23)
	m.dev.SetReadOnly(true)
	j, err := Open(m.place)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Replay(ctx); !errors.Is(err, blockio.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
}
