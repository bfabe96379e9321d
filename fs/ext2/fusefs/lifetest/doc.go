//go:build linux && !386 && !arm && !mips && !mipsle

// Package lifetest watches over the beginning and the end of a mount: daemons that are
// killed at random moments, and unmounts after which the image must be complete at once.
//
// The daemon is a process of its own. What was made durable is recorded in the test's
// process, which survives. -rounds and -seed make the runs longer and repeatable
// (`make soak`), -options gives mount options.
package lifetest
