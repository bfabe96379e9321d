//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// recipe is part of the seed image's name: count it up when the image changes.
const recipe = 2

// blockSize is the seed image's, in bytes.
const blockSize = 4096

// sizes say how much of everything there is. File sizes are in bytes.
type sizes struct {
	image      int64 // the image
	sequential int64 // seq.bin, for sequential and random reads
	contiguous int64 // contig.bin, for counting requests
	fragmented int64 // frag.bin, in runs of 1 to 16 blocks
	small      int   // files under tree/, 100 to a directory
	names      int   // files in flat/
	random     int   // random reads with the image cached
	coldRandom int   // and with the image cold
}

var (
	fullSizes  = sizes{2 << 30, 1 << 30, 64 << 20, 128 << 20, 10_000, 20_000, 20_000, 2_000}
	quickSizes = sizes{256 << 20, 64 << 20, 64 << 20, 8 << 20, 500, 1_000, 2_000, 200}
)

// Files of the seed image.
const (
	sequentialFile = "seq.bin"
	contiguousFile = "contig.bin"
	fragmentedFile = "frag.bin"
	treeDir        = "tree"
	flatDir        = "flat"
	treeFanout     = 100 // files per directory of tree/
)

// seedImage gives the path of the seed image in keep, made there if it is not there
// yet. The same recipe and the same e2fsprogs give the same image, block for block.
func seedImage(ctx context.Context, keep, scratch string, s sizes, say func(string, ...any)) (string, error) {
	path := filepath.Join(keep, fmt.Sprintf("seed-%d-%dm.img", recipe, s.image>>20))
	if _, err := os.Stat(path); err == nil {
		say("seed image %s", path)
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	// The image, its sources while it is made, and the large sparse image after it.
	if err := enoughRoom(keep, s.image+s.sequential+s.fragmented+s.contiguous+512<<20); err != nil {
		return "", err
	}
	say("making the seed image %s", path)
	m := &seedMaker{ctx: ctx, sizes: s, dir: filepath.Join(scratch, "seed"), image: filepath.Join(scratch, "seed.img")}
	if err := m.make(); err != nil {
		return "", err
	}
	return path, os.Rename(m.image, path)
}

// enoughRoom tells whether dir's file system can take n bytes.
func enoughRoom(dir string, n int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < n {
		return fmt.Errorf("%s has %d MiB free and %d MiB are needed; choose another place with -dir or BENCH_DIR", dir, free>>20, n>>20)
	}
	return nil
}

// seedMaker makes one seed image. It needs no root: debugfs writes it.
type seedMaker struct {
	ctx   context.Context
	sizes sizes
	dir   string // the files to write
	image string
}

func (m *seedMaker) make() error {
	defer os.RemoveAll(m.dir)
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	if err := m.sources(); err != nil {
		return err
	}
	if err := os.WriteFile(m.image, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(m.image, m.sizes.image); err != nil {
		return err
	}
	const uuid = "6578743f-7573-4e65-8265-6e6368000001"
	_, err := command(m.ctx, "mke2fs", "-q", "-F", "-t", "ext2", "-b", fmt.Sprint(blockSize), "-I", "256", "-m", "0",
		"-U", uuid, "-E", "hash_seed="+uuid, "-L", "bench", m.image)
	if err != nil {
		return err
	}
	if err := m.debugfs(m.files()); err != nil {
		return err
	}
	// debugfs makes plain directories; the kernel's have an index.
	if err := fsck(m.ctx, "-f", "-y", "-D", m.image); err != nil {
		return err
	}
	comb, err := m.comb()
	if err != nil {
		return err
	}
	if err := m.debugfs(comb); err != nil {
		return err
	}
	if err := fsck(m.ctx, "-f", "-n", m.image); err != nil {
		return err
	}
	return m.complete()
}

// sources writes the files that go into the image: the large ones, and 64 small ones
// of 1 byte to 16 KiB that are used over and over. No block is all zeros, which
// debugfs would leave out.
func (m *seedMaker) sources() error {
	var key [32]byte
	copy(key[:], "ext2fuse bench seed")
	random := rand.NewChaCha8(key)
	write := func(name string, size int64) error {
		f, err := os.Create(filepath.Join(m.dir, name))
		if err != nil {
			return err
		}
		buf := make([]byte, 1<<20)
		for size > 0 && err == nil && m.ctx.Err() == nil {
			n := min(size, int64(len(buf)))
			_, _ = random.Read(buf[:n]) // never fails
			_, err = f.Write(buf[:n])
			size -= n
		}
		return errors.Join(err, m.ctx.Err(), f.Close())
	}
	err := errors.Join(
		write(contiguousFile, m.sizes.contiguous),
		write(sequentialFile, m.sizes.sequential),
		write(fragmentedFile, m.sizes.fragmented))
	for i := range smallSources {
		err = errors.Join(err, write(smallSource(i), 1+int64(random.Uint64()%(16<<10))))
	}
	return err
}

const smallSources = 64

func smallSource(i int) string { return fmt.Sprintf("small%02d", i%smallSources) }

// files is the debugfs script that writes everything but the fragmented file.
func (m *seedMaker) files() []string {
	script := []string{
		"sif lost+found mode 040755", // so that a plain user can walk everything
		"write " + contiguousFile + " " + contiguousFile,
		"write " + sequentialFile + " " + sequentialFile,
		"mkdir " + treeDir,
	}
	for i := range m.sizes.small {
		if i%treeFanout == 0 {
			dir := fmt.Sprintf("/%s/dir%03d", treeDir, i/treeFanout)
			script = append(script, "mkdir "+dir, "cd "+dir)
		}
		script = append(script, fmt.Sprintf("write %s file-%05d", smallSource(i*7), i))
	}
	script = append(script, "cd /", "mkdir "+flatDir, "cd "+flatDir)
	for i := range m.sizes.names {
		script = append(script, fmt.Sprintf("write %s entry-number-%06d.dat", smallSource(i*11), i))
	}
	return script
}

// comb is the debugfs script that writes the fragmented file: every second run of 1 to
// 16 free blocks is marked as in use while it is written, and is free again after it.
func (m *seedMaker) comb() ([]string, error) {
	text, err := command(m.ctx, "dumpe2fs", m.image)
	if err != nil {
		return nil, err
	}
	need := 2 * m.sizes.fragmented / blockSize
	random := rand.New(rand.NewPCG(2, recipe))
	var hide, show []string
	for _, r := range freeRuns(text) {
		for at := r.first; at <= r.last && need > 0; {
			gap := 1 + random.Int64N(16)
			gap = min(gap, r.last-at+1)
			hide = append(hide, fmt.Sprintf("setb %d %d", at, gap))
			show = append(show, fmt.Sprintf("freeb %d %d", at, gap))
			run := 1 + random.Int64N(16)
			at += gap + run
			need -= gap + run
		}
	}
	if need > 0 {
		return nil, fmt.Errorf("the image has no room for %s", fragmentedFile)
	}
	script := append(hide, "write "+fragmentedFile+" "+fragmentedFile)
	return append(script, show...), nil
}

// debugfs runs a script. debugfs exits 0 whatever happens, so an error is what it
// complains of, below the line that tells its version.
func (m *seedMaker) debugfs(script []string) error {
	path := filepath.Join(m.dir, "script")
	if err := os.WriteFile(path, []byte(strings.Join(script, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(m.ctx, "debugfs", "-w", "-f", path, m.image)
	cmd.Dir = m.dir
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("debugfs: %w: %s", err, lastLines(complaint.String(), 3))
	}
	if _, rest, _ := strings.Cut(complaint.String(), "\n"); rest != "" {
		return fmt.Errorf("debugfs: %s", lastLines(rest, 3))
	}
	return nil
}

// complete looks whether everything arrived in the image.
func (m *seedMaker) complete() error {
	text, err := command(m.ctx, "dumpe2fs", "-h", m.image)
	if err != nil {
		return err
	}
	dirs := (m.sizes.small + treeFanout - 1) / treeFanout
	want := int64(11 + 3 + m.sizes.small + m.sizes.names + dirs + 2) // reserved, files, files under and directories
	got, err := usedInodes(text)
	if err == nil && got != want {
		err = fmt.Errorf("debugfs left something out: %d inodes in use, %d expected", got, want)
	}
	return err
}
