//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// writers are the words of the worker that write, in the current directory.
var writers = map[string]func(n int) error{
	makeWord: makeNames, removeWord: removeNames, fsyncWord: syncedFiles, patchWord: patchFile,
}

// writeWorker does what a word says: bench worker WORD COUNT.
func writeWorker(args []string) (known bool, err error) {
	if len(args) != 2 || writers[args[0]] == nil {
		return false, nil
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return true, err
	}
	return true, writers[args[0]](n)
}

const namesDir = "names"

func nameOf(i int) string { return filepath.Join(namesDir, fmt.Sprintf("file-number-%07d", i)) }

// makeNames creates n empty files in one directory.
func makeNames(n int) error {
	if err := os.Mkdir(namesDir, 0o755); err != nil {
		return err
	}
	for i := range n {
		f, err := os.OpenFile(nameOf(i), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// removeNames unlinks what makeNames made, in random order, the same each time.
func removeNames(n int) error {
	for _, i := range rand.New(rand.NewPCG(4, recipe)).Perm(n) {
		if err := os.Remove(nameOf(i)); err != nil {
			return err
		}
	}
	return nil
}

// syncedFiles writes n files of 4 KiB, each made durable before the next.
func syncedFiles(n int) error {
	buf := make([]byte, blockSize)
	for i := range n {
		f, err := os.Create(fmt.Sprintf("synced-%04d", i))
		if err != nil {
			return err
		}
		if _, err := f.Write(buf); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// patchFile overwrites n random blocks of the file "file" and makes it durable.
func patchFile(n int) error {
	f, err := os.OpenFile("file", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(5, recipe))
	buf := make([]byte, blockSize)
	for range n {
		if _, err := f.WriteAt(buf, random.Int64N(info.Size()/blockSize)*blockSize); err != nil {
			return err
		}
	}
	return f.Sync()
}
