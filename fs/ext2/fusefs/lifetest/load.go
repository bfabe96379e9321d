//go:build linux && !386 && !arm && !mips && !mipsle

package lifetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
)

// filesOfWorker is how many names a worker uses again and again.
const filesOfWorker = 12

// work changes files under dir until it is told to stop, or a call fails, which it does
// when the daemon is dead.
func work(dir string, worker int, r *record, rng *rand.Rand, seq *uint32, stop *atomic.Bool) {
	for !stop.Load() {
		name := fmt.Sprintf("w%d-%d", worker, rng.IntN(filesOfWorker))
		*seq++
		var err error
		switch was := r.get(name); {
		case was.durable.seq == 0 || len(was.later) > 0 && rng.IntN(2) == 0:
			err = replace(dir, name, version{*seq, headerSize + rng.IntN(100<<10)}, r)
		case rng.IntN(6) == 0:
			err = remove(dir, name, r)
		case rng.IntN(2) == 0 && was.durable.size < 1<<20 && len(was.later) == 0:
			err = grow(dir, name, was.durable, 1+rng.IntN(60<<10), rng.IntN(3) > 0, r)
		default:
			err = replace(dir, name, version{*seq, headerSize + rng.IntN(100<<10)}, r)
		}
		if err != nil {
			return
		}
	}
}

// replace saves a file as an editor does: a new one, synced, is renamed over it.
func replace(dir, name string, v version, r *record) error {
	tmp := filepath.Join(dir, name+".tmp")
	if err := writeSynced(tmp, os.O_CREATE|os.O_TRUNC, content(name, v.seq, v.size)); err != nil {
		return err
	}
	r.intend(name, v)
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	r.promised(name, v)
	return nil
}

// grow appends to a file, and syncs it or not.
func grow(dir, name string, v version, n int, sync bool, r *record) error {
	now := version{v.seq, v.size + n}
	r.intend(name, now)
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(content(name, v.seq, now.size)[v.size:]); err != nil || !sync {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	r.promised(name, now)
	return nil
}

func remove(dir, name string, r *record) error {
	r.intend(name, version{})
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	r.promised(name, version{})
	return nil
}

func writeSynced(path string, flags int, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
