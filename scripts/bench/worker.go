//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
)

// workerWord makes this program a reader at random places: bench worker FILE COUNT.
// There is no such program among the standard tools, and a run has to be a process of
// its own like the others.
const workerWord = "worker"

func workerMain(args []string, errs io.Writer) int {
	if err := worker(args); err != nil {
		fmt.Fprintln(errs, "bench worker:", err)
		return exitTrouble
	}
	return exitDone
}

func worker(args []string) error {
	if known, err := writeWorker(args); known {
		return err
	}
	if len(args) != 2 {
		return errors.New("want FILE COUNT, or WORD COUNT")
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return readAtRandom(int(f.Fd()), info.Size()/blockSize, count)
}

// readAtRandom reads count different blocks of a file of the given number of blocks,
// the same ones each time.
func readAtRandom(fd int, blocks int64, count int) error {
	if int64(count) > blocks {
		return fmt.Errorf("%d different blocks out of %d", count, blocks)
	}
	random := rand.New(rand.NewPCG(3, recipe))
	seen := make([]bool, blocks)
	buf := make([]byte, blockSize)
	for range count {
		block := random.Int64N(blocks)
		for seen[block] {
			block = random.Int64N(blocks)
		}
		seen[block] = true
		if n, err := pread(fd, buf, block*blockSize); err != nil || n != len(buf) {
			return fmt.Errorf("block %d: %d bytes, %w", block, n, errOr(err, io.ErrUnexpectedEOF))
		}
	}
	return nil
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
