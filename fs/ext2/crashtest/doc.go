//go:build linux

// Package crashtest finds out what is left of a file system when the daemon is killed or
// the power fails. It has tests only.
//
// A workload runs in this process on a file system in memory whose device keeps a log of
// all writes, discards and syncs (blockiotest.Recorder), and beside it on a model that
// knows the tree and every byte as of each operation. From the log the image is built as
// of any moment: as of every prefix, which is what a killed daemon leaves, and for what was
// written since the last completed sync with any part of it missing, sector by sector of
// 512 bytes, which is what a power cut may leave. Then the image is recovered: by the
// replay of the journal alone, and now and then by a whole mount, by a mount that is
// itself cut off, by e2fsck -p and by the kernel's driver. Each must end by itself with the
// same tree, which must be that of one operation, not before the last one that was made
// durable; package check must find nothing wrong with the image; and every byte of every
// file must be one that was written there.
//
//	go test ./fs/ext2/crashtest                       some thousand moments
//	make crash                                        a hundred thousand
//	… -run TestCrash -crash.workload W -crash.setup S -crash.seed N -crash.scale N -crash.at M
//	                                                  one moment, as a failure prints it
//
// Background work is started by the workload instead of by timers, so that a seed gives
// the same log each time; only where an epoch closes because it is full do its writes
// and the next operation's take turns as the scheduler has it.
package crashtest
