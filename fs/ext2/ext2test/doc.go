//go:build linux

// Package ext2test makes ext2 images for tests, and asks the judges about them.
//
// Images come from mke2fs (Make), get their content from mke2fs -d (Options.Root)
// or from the kernel's own driver through a loop mount (KernelMount), and are
// checked by e2fsck (Fsck) and debugfs (Debugfs). Populate, Fragment, ManyNames and
// FarWrites fill a mounted image, or a plain directory, with what a driver gets
// wrong most easily; Recipes is the list of whole images that a reader of ext2 is
// held against.
//
// Everything a function makes lives in the test's temporary directory and goes away
// with it, mounts and loop devices too, also when the test fails. What needs root
// skips the test with the reason when there is none. Nothing here is random unless
// seeded: the same call makes the same tree.
package ext2test
