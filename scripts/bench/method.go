//go:build linux

package main

import "fmt"

// method says how everyone is treated, for the report.
func (b *runner) method() []string {
	lines := []string{
		"Every driver mounts the same image, for reading read-only, one at a time, in turns; each round begins with another one. The first round is not counted; a driver that takes more than 10 s in it has that one run only, and it is counted.",
		"A run is one program (dd, find, cat, ls; a small reader for random places), timed from outside from before its start until its end, output to /dev/null. Given are medians with the smallest and the largest of the rounds.",
		"cached: a fresh mount, so that the kernel holds no name, attribute or data of it; every page of the image is in the host's page cache (looked at with mincore).",
		"warm: the same program once more on the same mount, nothing dropped in between.",
		"cold: the image is dropped from the page cache (fadvise; as root also drop_caches, which empties all caches of the machine), mincore shows it gone, the programs are read in again, then comes a fresh mount and the run. What a driver reads in order to mount, it has.",
		"written: an empty image made anew for each run, mounted read-write; the time ends when the unmount is through and the server gone; e2fsck -f -n then has to find nothing. Memory is the most the server had in any of them.",
		"The empty FUSE server answers READ from one buffer, with the read-ahead and request size of ext2fuse: no FUSE driver in Go can be faster here.",
	}
	if b.readAhead != 0 {
		lines = append(lines, fmt.Sprintf("All mounts have a read-ahead of %d KiB (-readahead).", b.readAhead))
	} else {
		text := "Each driver runs with its own defaults; the kernel's read-ahead of its mounts:"
		for _, d := range b.report.Drivers {
			if d.ReadAhead > 0 {
				text += fmt.Sprintf(" %s %d KiB,", d.Name, d.ReadAhead)
			}
		}
		lines = append(lines, text[:len(text)-1]+".")
	}
	return append(lines, fmt.Sprintf("The image: %s, blocks of %d bytes, dir_index, no extended attributes; %s of file data, %d small files in directories of %d, %d names in one directory; written with debugfs, the same each time.",
		mib(b.sizes.image), blockSize, mib(b.sizes.sequential+b.sizes.contiguous+b.sizes.fragmented), b.sizes.small, treeFanout, b.sizes.names))
}
